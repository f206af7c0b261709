package audit

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/guardlock/guardlock/audit/segment"
)

const benchRecords = 500

// BenchmarkAppend is encoding, checksum, chain and write, without a flush.
func BenchmarkAppend(b *testing.B) {
	for _, mac := range []bool{false, true} {
		b.Run(fmt.Sprintf("mac=%v", mac), func(b *testing.B) {
			l := mustOpen(b, b.TempDir(), Options{InsecureNoSync: true})
			var batch []byte
			if mac {
				batch = make([]byte, benchRecords*1024)
				b.SetBytes(int64(len(batch)))
			}

			e := batchOf("cards", 0, benchRecords)
			b.ReportAllocs()
			var last Ticket
			for b.Loop() {
				last = l.Append(e, batch)
				l.Bind(last.Seq(), Binding{BaseOffset: int64(last.Seq()) * benchRecords})
				if last.Seq()%256 == 0 {
					_ = last.Wait(context.Background())
				}
			}

			if err := last.Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/decision")
			bytes := l.committed.Load().End + int64(l.committed.Load().Segment-1)*defaultSegmentBytes
			b.ReportMetric(float64(bytes)/float64(b.N)/benchRecords, "B/decision")
		})
	}
}

// BenchmarkCommit waits for each ticket: the price of durability.
func BenchmarkCommit(b *testing.B) {
	for _, appenders := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) {
			l := mustOpen(b, b.TempDir(), Options{})
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
						l.Bind(t.Seq(), Binding{BaseOffset: int64(t.Seq()) * benchRecords})
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

func million(b *testing.B) *Log {
	b.Helper()
	l := mustOpen(b, b.TempDir(), Options{InsecureNoSync: true})
	var last Ticket
	for i := range 2000 {
		e := batchOf(fmt.Sprintf("topic-%d", i%20), int32(i%12), benchRecords)
		last = l.Append(e, nil)
		l.Bind(last.Seq(), Binding{BaseOffset: int64(i) * benchRecords})
	}

	flushed(b, l)
	return l
}

// BenchmarkQuery looks at a million decisions in one segment.
func BenchmarkQuery(b *testing.B) {
	l := million(b)
	b.Run("coordinate", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i = (i + 7) % 2000 {
			f := Filter{Topic: fmt.Sprintf("topic-%d", i%20), Partition: ptr(int32(i % 12)), Offset: ptr(int64(i*benchRecords + 250))}
			if n := len(collect(b, l, f)); n != 1 {
				b.Fatalf("%d rows", n)
			}
		}
	})

	b.Run("coordinate-cold", func(b *testing.B) {
		for i := 0; b.Loop(); i = (i + 7) % 2000 {
			r := newReader(l.reader.files, l.reader.position)
			f := Filter{Topic: fmt.Sprintf("topic-%d", i%20), Partition: ptr(int32(i % 12)), Offset: ptr(int64(i*benchRecords + 250))}
			if n := len(collect(b, r, f)); n != 1 {
				b.Fatalf("%d rows", n)
			}
		}
	})

	b.Run("summarize", func(b *testing.B) {
		for b.Loop() {
			if t, err := l.Summarize(b.Context(), Filter{}); err != nil || t.Decisions != 1e6 {
				b.Fatal(t, err)
			}
		}
	})

	b.Run("latest-100-rejected-none", func(b *testing.B) {
		for b.Loop() {
			collect(b, l, Filter{Outcome: "rejected", Limit: 100, Reverse: true})
		}
	})

	b.Run("stream-all-rows", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range l.Query(b.Context(), Filter{Kinds: []Kind{KindBatch}}) {
				n++
			}
			if n != 1e6 {
				b.Fatal(n)
			}
		}
	})
}

func BenchmarkMAC(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			m, err := newMACer(testKey, segment.Epoch{1})
			if err != nil {
				b.Fatal(err)
			}

			batch := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()

			for b.Loop() {
				m.next(batch)
			}
		})
	}
}
