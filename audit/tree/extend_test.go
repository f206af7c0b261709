package tree_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/tree"
)

// TestExtendingLetsOthersRun: with one processor, whoever has work gets a turn after each
// tile, and not when the scheduler takes the processor away, which is after 10 ms.
func TestExtendingLetsOthersRun(t *testing.T) {
	const tiles = 20 // in far less than that: else the scheduler alone would give these turns
	s := newSite(t, audit.Options{InsecureNoSync: true})
	s.checkpoint()                                  // what is written for a new segment is not waited for below
	for i := range tiles * evidence.TileWidth / 2 { // an entry and its binding
		s.produce(int64(i))
	}
	s.flush()

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var turns atomic.Int64
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()

	runtime.Gosched()
	before := turns.Load()
	if err := s.tree.Extend(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := turns.Load() - before
	close(stop)
	<-ended

	if got < tiles/2 { // the runtime's own goroutines have turns, too
		t.Errorf("%d tiles were filled, and another goroutine had %d turns", tiles, got)
	}
}

// BenchmarkExtend: what a leaf costs, which nobody waits for. A busy gateway makes a few
// batches durable at a time: each is a frame of the log.
func BenchmarkExtend(b *testing.B) {
	for _, batches := range []int{4, 20_000} {
		b.Run(fmt.Sprintf("batches=%d", batches), func(b *testing.B) { benchmarkExtend(b, batches) })
	}
}

func benchmarkExtend(b *testing.B, batches int) {
	s := newSite(b, audit.Options{InsecureNoSync: true})
	s.admit()
	for i := range 20_000 {
		e := &audit.BatchEntry{
			Caller:    audit.Caller{Principal: fmt.Sprint("User:", i%60), ClientID: fmt.Sprint("shop-", i%240), Source: "10.0.0.9"},
			Target:    audit.Target{Cluster: "main", Topic: "customers", Partition: int32(i % 12)},
			Authority: audit.Authority{Modules: []audit.ModuleRef{module}, PolicyRevision: "policy-1", GrantDigest: audit.Digest{9}},
			Payload:   audit.Payload{Records: 16},
			Outcome:   audit.OutcomeModified,
		}
		e.Add(audit.Ruling{Verdict: audit.Modified, Reason: "gdpr.masked"}, 16)
		seq := s.log.Append(e, []byte("batch")).Seq()
		s.log.Place(seq, audit.Placement{BaseOffset: int64(i * 16)})
		if (i+1)%batches == 0 {
			s.flush()
		}
	}

	b.ReportAllocs()
	leaves := int64(0)
	for n := 0; b.Loop(); n++ {
		s.opt.Dir = filepath.Join(s.dir, fmt.Sprint("tree-", n))
		t, err := tree.Open(b.Context(), s.log.Reader(), s.opt)
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Extend(b.Context()); err != nil {
			b.Fatal(err)
		}
		leaves += t.Size()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(leaves), "ns/leaf")
}
