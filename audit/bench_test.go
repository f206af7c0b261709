package audit_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

const benchRecords = 500

// BenchmarkAppend is encoding, checksum, chain and write, without a flush.
func BenchmarkAppend(b *testing.B) {
	for _, mac := range []bool{false, true} {
		b.Run(fmt.Sprintf("mac=%v", mac), func(b *testing.B) {
			l := mustOpen(b, b.TempDir(), audit.Options{InsecureNoSync: true})
			var batch []byte
			if mac {
				batch = make([]byte, benchRecords*1024)
				b.SetBytes(int64(len(batch)))
			}

			e := batchOf("cards", 0, benchRecords)
			b.ReportAllocs()
			var last audit.Ticket
			for b.Loop() {
				last = l.Append(e, batch)
				l.Place(last.Seq(), audit.Placement{BaseOffset: int64(last.Seq()) * benchRecords})
				if last.Seq()%256 == 0 {
					_ = last.Wait(context.Background())
				}
			}

			if err := last.Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/decision")
			bytes := l.CommittedMark().End + int64(l.CommittedMark().Segment-1)*audit.DefaultSegmentBytes
			b.ReportMetric(float64(bytes)/float64(b.N)/benchRecords, "B/decision")
		})
	}
}

// BenchmarkCommit waits for each ticket: the price of durability.
func BenchmarkCommit(b *testing.B) {
	for _, appenders := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) {
			l := mustOpen(b, b.TempDir(), audit.Options{})
			var n atomic.Int64
			done := make(chan error)
			b.ResetTimer()

			for range appenders {
				go func() {
					e := batchOf("cards", 0, benchRecords)
					for n.Add(1) <= int64(b.N) {
						t := l.Append(e, nil)
						if err := t.Wait(context.Background()); err != nil {
							done <- err
							return
						}
						l.Place(t.Seq(), audit.Placement{BaseOffset: int64(t.Seq()) * benchRecords})
					}

					done <- nil
				}()
			}

			for range appenders {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}

			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "batches/s")
		})
	}
}

func million(b *testing.B) (l *audit.Log, dir string) {
	b.Helper()
	dir = b.TempDir()
	l = mustOpen(b, dir, audit.Options{InsecureNoSync: true})
	var last audit.Ticket
	for i := range 2000 {
		e := batchOf(fmt.Sprintf("topic-%d", i%20), int32(i%12), benchRecords)
		last = l.Append(e, nil)
		l.Place(last.Seq(), audit.Placement{BaseOffset: int64(i) * benchRecords})
	}

	flushed(b, l)
	return l, dir
}

// BenchmarkQuery looks at a million decisions in one segment.
func BenchmarkQuery(b *testing.B) {
	l, dir := million(b)
	b.Run("coordinate", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i = (i + 7) % 2000 {
			f := query.Filter{Topics: []string{fmt.Sprintf("topic-%d", i%20)}, Partition: ptr(int32(i % 12)), Offset: ptr(int64(i*benchRecords + 250))}
			if n := len(collect(b, query.New(l.Reader()), f)); n != 1 {
				b.Fatalf("%d rows", n)
			}
		}
	})

	b.Run("coordinate-cold", func(b *testing.B) {
		for i := 0; b.Loop(); i = (i + 7) % 2000 {
			r, err := audit.OpenReader(dir)
			if err != nil {
				b.Fatal(err)
			}

			f := query.Filter{Topics: []string{fmt.Sprintf("topic-%d", i%20)}, Partition: ptr(int32(i % 12)), Offset: ptr(int64(i*benchRecords + 250))}
			if n := len(collect(b, query.New(r), f)); n != 1 {
				b.Fatalf("%d rows", n)
			}
		}
	})

	b.Run("summarize", func(b *testing.B) {
		for b.Loop() {
			if t, err := query.New(l.Reader()).Summarize(b.Context(), query.Filter{}); err != nil || t.Decisions != 1e6 {
				b.Fatal(t, err)
			}
		}
	})

	b.Run("latest-100-rejected-none", func(b *testing.B) {
		for b.Loop() {
			collect(b, query.New(l.Reader()), query.Filter{Outcomes: []string{"rejected"}, Limit: 100, Reverse: true})
		}
	})

	b.Run("stream-all-rows", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range query.New(l.Reader()).Query(b.Context(), query.Filter{Kinds: []audit.Kind{audit.KindBatch}}) {
				n++
			}
			if n != 1e6 {
				b.Fatal(n)
			}
		}
	})
}
