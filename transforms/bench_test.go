package transforms

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// BenchmarkChain measures one chain stage on batches of 500 records against the
// same work in Go, in the same run. "unmetered" is the module without the
// rewriter's checks.
func BenchmarkChain(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprintf("native/copy/%d", size), func(b *testing.B) { benchNative(b, size, nativeCopy) })
		b.Run(fmt.Sprintf("native/upper/%d", size), func(b *testing.B) { benchNative(b, size, nativeUpper) })
		b.Run(fmt.Sprintf("native/parse/%d", size), func(b *testing.B) { benchNative(b, size, nativeParse) })

		for _, guest := range []string{"copy", "upper", "upper_simd", "parse"} {
			for _, metered := range []bool{false, true} {
				name := fmt.Sprintf("unmetered/%s/%d", guest, size)
				if metered {
					name = fmt.Sprintf("metered/%s/%d", guest, size)
				}
				b.Run(name, func(b *testing.B) { benchGuest(b, guest, size, metered) })
			}
		}
	}
}

const benchRecords = 500

func benchGuest(b *testing.B, guest string, size int, metered bool) {
	file := testdata(b, guest+".wasm")
	r := newRuntime(b, Config{})
	if !metered {
		r.meter = func(*wasm.Binary, int) []byte { return file }
	}

	c := NewChain(load(b, r, Spec{Wasm: file}))
	batch := sized(benchRecords, size)
	rewind := rewinder(batch)
	b.ReportAllocs()
	b.SetBytes(int64(benchRecords * size))

	for b.Loop() {
		rewind()
		if err := c.Run(b.Context(), batch, Origin{Topic: "bench"}); err != nil {
			b.Fatal(err)
		}
	}

	perRecord(b)
}

func benchNative(b *testing.B, size int, work func(*record.Batch)) {
	batch := sized(benchRecords, size)
	rewind := rewinder(batch)
	b.ReportAllocs()
	b.SetBytes(int64(benchRecords * size))

	for b.Loop() {
		rewind()
		work(batch)
	}
	perRecord(b)
}

func perRecord(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
	b.ReportMetric(0, "ns/op")
}

// nativeCopy passes a batch on: a copy of its bytes and a look at each record.
func nativeCopy(b *record.Batch) {
	b.Out = append(b.Out, b.Data...)
	for n := range b.Records {
		b.Records[n].Verdict = record.Passed
	}
}

func nativeUpper(b *record.Batch) {
	for n := range b.Records {
		r := &b.Records[n]
		at := b.Size()
		for _, c := range b.Bytes(r.Value) {
			if c-'a' < 26 {
				c -= 32
			}
			b.Out = append(b.Out, c)
		}

		r.Value = record.Span{Off: uint32(at), Len: r.Value.Len}
		r.Verdict = record.Modified
	}
}

var nativeSink uint32

func nativeParse(b *record.Batch) {
	for n := range b.Records {
		state := uint32(0)
		for _, c := range b.Bytes(b.Records[n].Value) {
			state = nativeStep(state, c)
		}
		nativeSink = state
	}
}

//go:noinline
func nativeStep(state uint32, c byte) uint32 {
	switch state {
	case 0:
		switch c {
		case '"':
			return 1
		case '{':
			return 2
		}
		return 0
	case 1:
		switch c {
		case '"':
			return 0
		case '\\':
			return 3
		}
		return 1
	case 2:
		if c == '}' {
			return 0
		}
		return 2
	}
	return 1
}

// BenchmarkHostileNeighbour measures one small batch of an honest module while
// four batches at a time go to a hostile one: the 99th percentile beside nothing
// in the same run, and what the process grew by.
func BenchmarkHostileNeighbour(b *testing.B) {
	fill := cat(i32c(0), i32c(1), i32c(15<<20), memoryFill())
	for _, neighbour := range []struct {
		name  string
		guest asm
	}{
		{"none", asm{}},
		{"loop", asm{transform: cat(loopForever(nil), i32c(0))}},
		{"fill", asm{pages: 250, transform: cat(loopForever(fill), i32c(0))}},
		{"table", straightLine(withTable(cat(i32c(0), i32c(0), i32c(60_000), op(opMisc, miscTableInit, 0, 0))))},
		{"grow", asm{transform: cat(loopForever(cat(i32c(1), op(opMemoryGrow, 0, 0x1a))), i32c(0))}},
	} {
		b.Run(neighbour.name, func(b *testing.B) { benchNeighbour(b, neighbour.guest, neighbour.name != "none") })
	}
}

func benchNeighbour(b *testing.B, guest asm, hostile bool) {
	r := newRuntime(b, Config{})
	honest := NewChain(load(b, r, Spec{Name: "honest", Wasm: testdata(b, "upper.wasm"), Grant: Grant{Limits: Limits{Deadline: defaultDeadline}}}))
	bad := NewChain(load(b, r, Spec{Name: "hostile", Wasm: guest.wasm(), Grant: Grant{Limits: Limits{Deadline: defaultDeadline}}}))
	ctx, cancel := context.WithCancel(b.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()

	for range 4 {
		clients.Go(func() {
			for hostile && ctx.Err() == nil {
				_ = bad.Run(ctx, values("one"), Origin{})
			}
		})
	}

	// Every batch goes through a few goroutines, as a record does on its way.
	batches := make(chan *record.Batch)
	done := make(chan error)
	defer close(batches)
	go func() {
		for batch := range batches {
			done <- honest.Run(ctx, batch, Origin{})
		}
	}()

	var took []time.Duration
	for b.Loop() {
		batch := sized(20, 500)
		start := time.Now()
		batches <- batch
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}

	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIsolation is what isolation by topic costs: where there is an instance
// for each topic, and where each batch needs a fresh one.
func BenchmarkIsolation(b *testing.B) {
	for _, c := range []struct {
		name     string
		isolated bool
		topics   int
	}{{"shared", false, 100}, {"topics=2", true, 2}, {"topics=100", true, 100}} {
		b.Run(c.name, func(b *testing.B) {
			m := load(b, newRuntime(b, Config{}), Spec{Wasm: testdata(b, "upper.wasm"), Grant: Grant{Limits: Limits{Instances: 2}}})
			chain := NewChain(m)
			if c.isolated {
				chain = chain.PerTopic()
			}

			batch := sized(20, 500)
			rewind := rewinder(batch)
			n := 0
			for b.Loop() {
				rewind()
				n++
				if err := chain.Run(b.Context(), batch, Origin{Topic: fmt.Sprint(n % c.topics)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
