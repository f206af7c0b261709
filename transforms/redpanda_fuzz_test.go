package transforms

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// FuzzPullingWorker lets a worker whose guest fetches its records answer with
// arbitrary bytes: when it is started, and when it has a batch. Whatever they are,
// nothing panics, the guest's goroutine ends, and what became of records lies in the
// batch.
func FuzzPullingWorker(f *testing.F) {
	functions := redpandaFunctions()
	ask := func(name string, args ...uint64) message {
		n := slices.IndexFunc(functions, func(f hostFunction) bool { return f.name == name })
		m := message{kind: msgAsked, number: uint32(n), memory: wasmPage, time: 1}
		copy(m.args[:], args)
		return m
	}

	next := ask("read_batch_header", 0, 8, 16, 24, 32, 40, 48, 56, 64, 72)
	read := ask("read_next_record", 100, 104, 112, 1024, 4096)
	write := ask("write_record", 1024, 12)
	over := message{kind: msgReturned, memory: wasmPage}
	f.Add(answer(next, read, write, read, write, read, next))
	f.Add(answer(next, read, read, read, next, next))
	f.Add(answer(next, next, over))
	f.Add(answer(read, write, over))
	f.Add(answer(next, ask("write_record_with_options", 1024, 12, 0, 3), read, ask("write_record_with_options", 1024, 12, 0, 3), over))
	f.Add(answer(next, read, ask("write_record", 0, 1<<32-1), next))

	code := &Code{runtime: &Runtime{}, functions: functions}
	m := &Module{name: "m", code: code, limits: Limits{}.withDefaults(), routes: []string{"q"}, apart: true}
	m.info.ABI = "redpanda_transform_v2"
	m.info.Reasons = wasm.RedpandaReasons()
	view := make([]byte, 4*wasmPage)

	f.Fuzz(func(t *testing.T, answers []byte) {
		w := &worker{view: view, kill: func() {}, exports: []string{wasm.ExportMain}}
		w.line = line{in: io.Discard, out: bytes.NewReader(answers)}
		w.timer = time.AfterFunc(time.Hour, w.kill)
		defer w.timer.Stop()
		i := &instance{module: m, guest: w, mem: w, linear: linearMemory{limit: 3 * wasmPage}}
		i.clock.startBatch(t.Context(), m.limits, 0)
		i.arm(0)
		if err := i.startPulling(); err != nil {
			return // its goroutine is gone, or awaitRest would wait for ever
		}

		b := threeRecords()
		i.chunk.begin(b, Origin{Topic: "t"}, 0, m.limits)
		i.chunk.take()
		i.arm(i.chunk.bytes)
		if err := i.pullChunk(); err == nil {
			for n := range b.Records {
				r := &b.Records[n]
				if int(r.Reason) > len(m.info.Reasons) || int(r.Route) >= len(m.routes) || !validHeaders(b.Bytes(r.Headers)) {
					t.Fatalf("record %d became %+v", n, r)
				}
				_, _ = b.Bytes(r.Key), b.Bytes(r.Value)
			}
		}
		if i.clock.spent < 0 || uint64(w.size) > i.linear.limit {
			t.Errorf("it used %s, and has %d bytes", i.clock.spent, w.size)
		}

		i.endPulling()
	})
}
