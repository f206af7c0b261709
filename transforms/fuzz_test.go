package transforms

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/guardlock/guardlock/transforms/state"
)

// FuzzInspect checks that the scan never panics, and that what it accepts is
// safe to give to the engine: compiling ends without a panic, and the rewritten
// module is valid wherever the module is.
func FuzzInspect(f *testing.F) {
	for _, c := range refusals {
		f.Add(c.wasm)
	}
	for _, name := range []string{"copy.wasm", "upper.wasm", "upper_simd.wasm", "parse.wasm"} {
		f.Add(testdata(f, name))
	}

	f.Add(asm{extra: controlFlow(), reasons: testReasons}.wasm())
	f.Add(exponential(5).wasm())
	lim := ScanLimits{ModuleBytes: 64 << 10, Functions: 200, Locals: 200, Nesting: 50, BranchTable: 50, Branches: 200}
	engine := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(256).WithDebugInfoEnabled(false))

	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := scan(wasm, lim)
		if err != nil {
			return
		}

		original, err := engine.CompileModule(t.Context(), withoutCustom(wasm))
		if err == nil {
			err = original.Close(t.Context())
		}

		valid := err == nil
		rewritten, err := engine.CompileModule(t.Context(), meter(m, defaultStackBytes))
		if valid && err != nil {
			t.Fatalf("the rewriter broke a valid module: %v", err)
		}
		if err == nil && !valid {
			t.Fatal("the rewriter made a valid module of an invalid one")
		}
		if err == nil {
			_ = rewritten.Close(t.Context())
		}
	})
}

// withoutCustom is a scanned module as it is, but for the custom sections.
func withoutCustom(file []byte) []byte {
	out := slices.Clone(file[:8])
	for rest := file[8:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest[1:])
		end := 1 + n + int(size)
		if rest[0] != 0 {
			out = append(out, rest[:end]...)
		}
		rest = rest[end:]
	}

	return out
}

// FuzzOutput lets a guest return arbitrary descriptors. Whatever they are, the
// host must not panic, and records must have views inside the batch.
func FuzzOutput(f *testing.F) {
	f.Add(int32(3), []byte{}, false)
	f.Add(int32(2), make([]byte, 96), true)
	f.Add(int32(-2), []byte{1, 2, 3}, false)
	f.Fuzz(func(t *testing.T, result int32, descs []byte, dirty bool) {
		i := fuzzInstance(descs, dirty)
		var err error
		if result < 0 {
			err = i.readRejection()
		} else {
			err = i.readOutput(uint32(result))
		}

		if err != nil {
			return
		}
		b := i.chunk.batch
		for n := range b.Records {
			r := &b.Records[n]
			_ = b.Bytes(r.Key)
			_ = b.Bytes(r.Value)
			if !validHeaders(b.Bytes(r.Headers)) {
				t.Fatalf("record %d has malformed headers", n)
			}
		}
	})
}

// fuzzInstance is an instance whose guest just returned descs, over what it was
// given.
func fuzzInstance(descs []byte, dirty bool) *instance {
	mem := make([]byte, 8192)
	m := &Module{info: Info{Reasons: []string{"a", "b"}}, routes: []string{"q"}, limits: Limits{}.withDefaults()}
	i := &instance{module: m, mem: fakeMemory{b: mem}, layout: layout{frame: 64, inDescs: 1024, outDescs: 2048, input: 4096, inputCap: 1024}}
	i.arm(0)
	i.chunk.begin(threeRecords(), Origin{}, 0, m.limits)
	i.chunk.take()
	i.chunk.fill(i.layout.input, mem[i.layout.input:])
	copy(mem[i.layout.outDescs:], i.chunk.descs)
	copy(mem[i.layout.outDescs:i.layout.input], descs)
	copy(mem[i.layout.frame+frameErrIndex:][:8], descs)

	if dirty {
		mem[i.layout.input+7]++
	}
	return i
}

// fakeMemory is a guest memory of fixed size.
type fakeMemory struct {
	api.Memory
	b []byte
}

func (m fakeMemory) Size() uint32 { return uint32(len(m.b)) }

func (m fakeMemory) Read(at, n uint32) ([]byte, bool) {
	return view(m.b, at, uint64(n))
}

func (m fakeMemory) ReadUint32Le(at uint32) (uint32, bool) {
	p, ok := view(m.b, at, 4)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint32(p), true
}

// answer is what a worker says.
func answer(messages ...message) []byte {
	var all []byte
	for _, m := range messages {
		var frame [messageSize]byte
		m.encode(&frame)
		all = append(all, frame[:]...)
	}
	return all
}

// FuzzWorker lets a worker answer with arbitrary bytes. Whatever they are, the host
// must not panic, and the guest's memory must have a size that it may have.
func FuzzWorker(f *testing.F) {
	f.Add(answer(message{kind: msgReturned, memory: wasmPage, time: 1}))
	f.Add(answer(message{kind: msgFailed, number: 3, memory: wasmPage}))
	for n := range hostFunctions() {
		asked := message{kind: msgAsked, number: uint32(n), memory: wasmPage, args: [maxHostParams]uint64{0, 64, 0, 64, 128, 4096, 4096}}
		f.Add(answer(asked, asked, message{kind: msgReturned, memory: 2 * wasmPage, time: -1}))
	}

	keys, err := newKeys([]Key{{"k", testSecret}})
	if err != nil {
		f.Fatal(err)
	}

	counting := state.New(state.DefaultLimits(), 0)
	limits := Limits{}.withDefaults()
	code := &Code{runtime: &Runtime{}, functions: append(hostFunctions(), alwaysGranted()...)}
	m := &Module{name: "m", code: code, limits: limits, resources: resources{keys: keys, state: counting}, apart: true, log: func(LogEvent) {}}
	view := make([]byte, 4*wasmPage)

	f.Fuzz(func(t *testing.T, answers []byte) {
		w := &worker{view: view, kill: func() {}, line: line{io.Discard, bytes.NewReader(answers), [messageSize]byte{}}}
		w.timer = time.AfterFunc(time.Hour, w.kill)
		defer w.timer.Stop()
		i := &instance{module: m, guest: w, mem: w, linear: linearMemory{limit: 3 * wasmPage}}
		i.clock.startBatch(t.Context(), limits, 0)
		i.clock.call = limits.Deadline
		i.state = counting.Begin(state.Place{}, state.BatchID{})
		i.chunk.batch = values("a")
		i.chunk.current = []uint32{0}

		err := i.call(workerFunction{worker: w}, i.stack[:1])
		if err == nil && w.failed {
			t.Error("a worker that failed has returned")
		}
		if w.size%wasmPage != 0 || uint64(w.size) > i.linear.limit {
			t.Errorf("the guest's memory has %d bytes", w.size)
		}
		if i.clock.spent < 0 {
			t.Errorf("it used %s", i.clock.spent)
		}
	})
}
