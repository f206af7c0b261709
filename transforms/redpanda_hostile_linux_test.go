package transforms

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/transforms/record"
)

// Guests that do what no SDK would do, byte by byte. Their main function is all there
// is of them. Memory has the batch header from 0 on and a record from 1024 on.
const (
	callMarker = iota
	callHeader
	callRecord
	callWrite
	callWriteTo
	callExit
	callPoll
)

// mainGuest assembles a module of Redpanda's ABI with one local, an i32.
func mainGuest(main []byte) []byte {
	types := vec(funcType0(0, 0), funcType0(10, 1), funcType0(5, 1), funcType0(2, 1), funcType0(4, 1), funcType0(1, 0))
	imports := vec(importFunc("redpanda_transform", "check_abi_version_2", 0), importFunc("redpanda_transform", "read_batch_header", 1),
		importFunc("redpanda_transform", "read_next_record", 2), importFunc("redpanda_transform", "write_record", 3),
		importFunc("redpanda_transform", "write_record_with_options", 4), importFunc("wasi_snapshot_preview1", "proc_exit", 5),
		importFunc("wasi_snapshot_preview1", "poll_oneoff", 4))
	return cat(asmMagic, sec(secType, types), sec(secImport, imports), sec(secFunction, vec(u32(0))), sec(secMemory, cat([]byte{1, 0}, u32(4))),
		sec(secExport, vec(exportEntry("memory", 2, 0), exportEntry("_start", 0, 7))), sec(secCode, vec(function(1, main))))
}

// next asks for a batch, and drops the answer.
func next() []byte {
	var code []byte
	for n := range int32(10) {
		code = append(code, i32c(8*n)...)
	}
	return cat(code, call(callHeader), op(0x1a))
}

// read reads a record into a buffer, and leaves the answer.
func read(at, size int32) []byte {
	return cat(i32c(100), i32c(104), i32c(112), i32c(at), i32c(size), call(callRecord))
}

func write(at, size int32) []byte { return cat(i32c(at), i32c(size), call(callWrite)) }

// unless traps if what is on the stack is not v.
func unless(v int32) []byte {
	return cat(i32c(v), op(0x47, opIf, 0x40, opUnreachable, opEnd))
}

// pass reads one record and writes it again, for ever.
func pass() []byte {
	return loopForever(cat(next(), read(1024, 4096), lset(0), i32c(1024), lget(0), call(callWrite), op(0x1a)))
}

// bytesAt stores text in memory.
func bytesAt(at int32, text string) []byte {
	var code []byte
	for n, c := range []byte(text) {
		code = cat(code, i32c(at+int32(n)), i32c(int32(c)), op(0x3a, 0, 0))
	}
	return code
}

// ownGoroutines is how many guests have a goroutine of their own.
func ownGoroutines() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "runMain(")
}

// wantNoGoroutine fails if a guest's goroutine is still there. One that has said its
// last word may need a moment to be gone.
func wantNoGoroutine(t *testing.T) {
	t.Helper()
	for began := time.Now(); ownGoroutines() > 0; runtime.Gosched() {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the goroutine of a guest is still there")
		}
	}
}

// pulling is a main function, and what is to become of it and of two records.
type pulling struct {
	main  []byte
	kind  Kind     // of the failure; 0 is none
	early bool     // it fails when it is started
	want  []string // what becomes of the records
}

// readBoth reads the two records and drops them.
func readBoth() []byte {
	return cat(next(), read(1024, 4096), op(0x1a), read(1024, 4096), op(0x1a))
}

var (
	bothDropped   = []string{"dropped redpanda.no_output", "dropped redpanda.no_output"}
	secondRefused = []string{"dropped redpanda.no_output", "rejected redpanda.write_refused"}
)

// What a guest does before it asks for a batch.
func pullingEarly() map[string]pulling {
	both := readBoth()
	return map[string]pulling{
		"loops at the start":            {loopForever(nil), Timeout, true, nil},
		"traps at the start":            {op(opUnreachable), Trap, true, nil},
		"returns at the start":          {nil, Trap, true, nil},
		"exits at the start":            {cat(i32c(0), call(callExit)), Trap, true, nil},
		"waits for files at the start":  {cat(bytesAt(8, "\x01"), i32c(0), i32c(64), i32c(1), i32c(128), call(callPoll), unless(0), loopForever(next())), OutputInvalid, false, nil},
		"calls itself without end":      {call(7), Trap, true, nil},
		"reads before there is a batch": {cat(read(1024, 4096), unless(-1), write(1024, 3), unless(-1), both, next()), 0, false, bothDropped},
	}
}

// What it does when it has one.
func pullingRecords() map[string]pulling {
	both := readBoth()
	return map[string]pulling{
		"never reads":                     {loopForever(next()), OutputInvalid, false, nil},
		"reads one of two":                {cat(next(), read(1024, 4096), op(0x1a), next()), OutputInvalid, false, nil},
		"reads too much":                  {cat(both, read(1024, 4096), unless(-1), read(1024, 4096), unless(-1), next()), 0, false, bothDropped},
		"has too little room":             {cat(next(), read(1024, 3), unless(-2), read(1024, 4096), op(0x1a), read(1024, 0), unless(-2), read(1024, 4096), op(0x1a), next()), 0, false, bothDropped},
		"loops in a batch":                {cat(next(), loopForever(nil)), Timeout, false, nil},
		"asks for records without end":    {cat(both, loopForever(cat(read(1024, 4096), op(0x1a)))), Timeout, false, nil},
		"traps in a batch":                {cat(next(), op(opUnreachable)), Trap, false, nil},
		"exits in a batch":                {cat(next(), i32c(0), call(callExit)), Trap, false, nil},
		"returns in a batch":              {next(), Trap, false, nil},
		"returns when all is read":        {both, Trap, false, nil},
		"header outside of memory":        {cat(slices.Concat(i32c(-1), i32c(0), i32c(0), i32c(0), i32c(0), i32c(0), i32c(0), i32c(0), i32c(0), i32c(0)), call(callHeader), op(0x1a)), OutputInvalid, false, nil},
		"buffer outside of memory":        {cat(next(), read(4*wasmPage-2, 4096), op(0x1a)), OutputInvalid, false, nil},
		"buffer around the end of memory": {cat(next(), read(-8, 4096), op(0x1a)), OutputInvalid, false, nil},
	}
}

// What it writes.
func pullingWrites() map[string]pulling {
	both := readBoth()
	return map[string]pulling{
		"writes before it reads":           {cat(next(), write(1024, 3), unless(-1), read(1024, 4096), op(0x1a), read(1024, 4096), op(0x1a), next()), 0, false, bothDropped},
		"writes without end":               {cat(both, loopForever(cat(write(1024, 3), op(0x1a)))), Timeout, false, nil},
		"record outside of memory":         {cat(both, write(4*wasmPage-2, 4096), op(0x1a)), OutputInvalid, false, nil},
		"record of all the address space":  {cat(both, write(0, -1), op(0x1a)), OutputInvalid, false, nil},
		"a record above the output limit":  {cat(both, write(0, 200_000), op(0x1a)), OutputInvalid, false, nil},
		"options outside of memory":        {cat(both, i32c(1024), i32c(3), i32c(-1), i32c(7), call(callWriteTo), op(0x1a)), OutputInvalid, false, nil},
		"writes garbage":                   {cat(both, bytesAt(1024, "\xff\xff\xff"), write(1024, 3), unless(-2), next()), 0, false, secondRefused},
		"writes nothing":                   {cat(both, write(1024, 0), unless(-2), next()), 0, false, secondRefused},
		"writes too few bytes":             {cat(both, bytesAt(1024, "\x7eabc"), write(1024, 4), unless(-2), next()), 0, false, secondRefused},
		"writes bytes behind the record":   {cat(both, bytesAt(1024, "\x01\x01\x00\x00"), write(1024, 4), unless(-2), next()), 0, false, secondRefused},
		"headers without a key":            {cat(both, bytesAt(1024, "\x01\x01\x02\x01\x01"), write(1024, 5), unless(-2), next()), 0, false, secondRefused},
		"an option that is not there":      {cat(both, bytesAt(64, "\x02\x02a"), bytesAt(1024, "\x01\x01\x00"), i32c(1024), i32c(3), i32c(64), i32c(3), call(callWriteTo), unless(-2), next()), 0, false, secondRefused},
		"a topic of another":               {cat(both, bytesAt(64, "\x01\x02x"), bytesAt(1024, "\x01\x01\x00"), i32c(1024), i32c(3), i32c(64), i32c(3), call(callWriteTo), unless(-3), next()), 0, false, secondRefused},
		"a tombstone without options":      {cat(both, bytesAt(1024, "\x01\x01\x00"), i32c(1024), i32c(3), i32c(0), i32c(0), call(callWriteTo), unless(3), next()), 0, false, []string{"dropped redpanda.no_output", "modified redpanda.changed"}},
		"a refused write that is made up":  {cat(both, write(1024, 0), unless(-2), bytesAt(1024, "\x01\x01\x00"), write(1024, 3), unless(3), next()), 0, false, []string{"dropped redpanda.no_output", "modified redpanda.changed"}},
		"writes two records for the first": {cat(next(), read(1024, 4096), op(0x1a), bytesAt(1024, "\x01\x01\x00"), write(1024, 3), unless(3), write(1024, 3), unless(3), read(1024, 4096), op(0x1a), next()), 0, false, []string{"rejected redpanda.several_outputs", "dropped redpanda.no_output"}},
	}
}

// Whatever a guest does when it is started or given a batch of two records, it is
// an error or a decision, and its goroutine is gone when its module is.
func TestGuestsThatPullWrongFailClosedAndLeaveNoGoroutine(t *testing.T) {
	cases := pullingEarly()
	maps.Copy(cases, pullingRecords())
	maps.Copy(cases, pullingWrites())
	for name, c := range cases {
		for _, apart := range []bool{false, true} {
			if apart && c.early && c.kind != Timeout {
				continue // the same code ends both
			}
			t.Run(name, func(t *testing.T) { c.run(t, apart) })
		}
	}
}

func (c pulling) run(t *testing.T, apart bool) {
	r := newRuntime(t, withWorkers)
	spec := does(mainGuest(c.main), "")
	spec.Apart = apart
	spec.Grant.Limits = ample
	if c.kind == Timeout {
		spec.Grant.Limits = quick
	}
	m, err := r.Load(t.Context(), spec)
	if c.early {
		wantKind(t, err, c.kind)
		wantNoGoroutine(t)
		return
	}
	if err != nil {
		t.Fatal(err)
	}

	b := values("one", "two")
	err = NewChain(m).Run(t.Context(), b, Origin{Topic: "orders"})
	if c.kind != 0 {
		wantKind(t, err, c.kind)
	} else if got := became(m, b); err != nil || !slices.Equal(got, c.want) {
		t.Errorf("%q, %v, want %q", got, err, c.want)
	}

	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantNoGoroutine(t)
}

// A batch that is given up takes its guest with it.
func TestABatchThatIsGivenUpEndsItsPullingGuest(t *testing.T) {
	spec := does(mainGuest(cat(next(), loopForever(nil))), "")
	spec.Grant.Limits = Limits{Deadline: time.Hour}
	m := load(t, newRuntime(t, Config{}), spec)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := NewChain(m).Run(ctx, values("x"), Origin{Topic: "orders"})
	if wantKind(t, err, Timeout); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wantNoGoroutine(t)
}

// A worker that dies while it waits for a batch is not missed.
func TestAPullingWorkerThatDiedIdleIsReplaced(t *testing.T) {
	spec := does(mainGuest(pass()), "")
	spec.Apart = true
	m := load(t, newRuntime(t, withWorkers), spec)
	run := func() error {
		b := values("x")
		return NewChain(m).Run(t.Context(), b, Origin{Topic: "orders"})
	}

	for range 2 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
		w := theWorker(t, m)
		if err := unix.Kill(pid(w), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-w.gone
	}
	if err := run(); err != nil {
		t.Error(err)
	}

	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantNoGoroutine(t)
}

// Each topic has instances of its own, of which there are no more than the limit.
func TestAPullingGuestSeesOneTopic(t *testing.T) {
	spec := does(mainGuest(pass()), "")
	spec.Grant.Limits = Limits{Instances: 2}
	m := load(t, newRuntime(t, Config{}), spec)
	for _, topic := range []string{"a", "b", "c", "a", "orders", "b"} {
		if err := NewChain(m).Run(t.Context(), values("x"), Origin{Topic: topic}); err != nil {
			t.Fatal(topic, err)
		}
		if n := ownGoroutines(); n > 2 {
			t.Errorf("%d instances", n)
		}
	}

	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantNoGoroutine(t)
}

// A module behind another sees what that made of the records, and not those that it
// took out.
func TestAPullingGuestRunsBehindAnotherModule(t *testing.T) {
	r := newRuntime(t, Config{})
	upper := load(t, r, Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{HostFunctions: AllHostFunctions()}})
	filter := load(t, r, does(testdata(t, "redpanda/rust.wasm"), "filter"))
	mask := load(t, r, does(testdata(t, "redpanda/rust.wasm"), "mask"))

	b := values("keep 4111111111111111", "drop", "keep")
	if err := NewChain(filter, upper, mask).Run(t.Context(), b, Origin{Topic: "orders"}); err != nil {
		t.Fatal(err)
	}
	var verdicts []record.Verdict
	for _, rec := range b.Records {
		verdicts = append(verdicts, rec.Verdict)
	}
	if !slices.Equal(verdicts, []record.Verdict{record.Modified, record.Dropped, record.Modified}) {
		t.Errorf("got %v", verdicts)
	}
	if got := string(b.Bytes(b.Records[0].Value)); got != "KEEP ************1111" {
		t.Errorf("got %q", got)
	}
}
