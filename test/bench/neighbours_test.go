package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/load"
)

const (
	phase  = time.Second
	rounds = 5
	// backoff is what Java producers wait before they send again what was refused.
	backoff = 100 * time.Millisecond
)

// BenchmarkReload is what producers of a topic notice while one changed file has a
// thousand bindings of other topics judged again, several times a second: the 99th
// percentile of one record at a time, beside that of the same gateway at rest.
func BenchmarkReload(b *testing.B) {
	topics := make([]string, 1000)
	for i := range topics {
		topics[i] = fmt.Sprint("t-", i)
	}
	s, l, _ := startSite(b, "uppercase", "", topics...)

	compare(b, l, "reload", func() (stop func()) {
		return repeatedly(1, func(int) {
			if err := s.approve(time.Hour); err != nil {
				b.Error(err)
			}
		}, 300*time.Millisecond)
	})
}

// BenchmarkNeighbours is what producers of a topic notice while four connections
// produce to another, whose module never comes back. In "taking turns" it is never
// suspended.
func BenchmarkNeighbours(b *testing.B) {
	for _, guest := range []string{"endless", "filler"} {
		for _, c := range []struct{ name, limits string }{
			{"taking turns", "suspend: {failures: 100, window: 1s}"},
			{"suspended", ""},
		} {
			b.Run(guest+"/"+c.name, func(b *testing.B) {
				_, l, p := startSite(b, guest, c.limits, "bad")
				_, before := p.usage(b)
				compare(b, l, "beside", func() (stop func()) { return attack(b, p.addr) })
				cpu, after := p.usage(b)
				b.ReportMetric(float64(after-before)/1024, "MiB-more")
				b.ReportMetric(float64(cpu)/1e3/float64(b.N), "cpu-ms")
			})
		}
	}
}

func startSite(b *testing.B, module, limits string, topics ...string) (*site, *load.Loader, *proxy) {
	b.Helper()
	broker := nullBrokerFor(b)
	dir := b.TempDir()
	s, err := newSite(dir, broker.Addr(), module, limits, topics...)
	if err != nil {
		b.Fatal(err)
	}

	p := startProxyIn(b, modeSite, broker.Addr(), dir)
	l, err := load.Dial(p.addr, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(l.Close)

	return s, l, p
}

// compare measures a quiet gateway and a busy one in turns, since the speed of
// machines drifts, and reports the median of the rounds.
func compare(b *testing.B, l *load.Loader, name string, busy func() (stop func())) {
	f, err := load.NewFrame(benchTopic, load.Samples(1), recordbatch.None)
	if err != nil {
		b.Fatal(err)
	}
	p99(b, l, f, phase/3) // warm-up

	var quiet, loud, ratios []float64
	b.ResetTimer()
	for range b.N {
		for range rounds {
			calm := p99(b, l, f, phase)
			stop := busy()
			beside := p99(b, l, f, phase)
			stop()

			quiet = append(quiet, calm)
			loud = append(loud, beside)
			ratios = append(ratios, beside/calm)
		}
	}

	b.StopTimer()
	b.ReportMetric(median(quiet), "quiet-p99-us")
	b.ReportMetric(median(loud), name+"-p99-us")
	b.ReportMetric(median(ratios), name+"/quiet")
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// p99 sends one record after the other for a time.
func p99(b *testing.B, l *load.Loader, f load.Frame, lasts time.Duration) float64 {
	var all []time.Duration
	for begun := time.Now(); time.Since(begun) < lasts; {
		took, err := l.ClosedLoop(f, 100)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, took...)
	}

	slices.Sort(all)
	return float64(all[len(all)*99/100].Nanoseconds()) / 1e3
}

// attack produces to the topic bad from four connections. Each batch is another one,
// and comes a client's back-off after the answer to the one before.
func attack(b *testing.B, addr string) (stop func()) {
	conns := make([]net.Conn, 4)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		conns[i] = c
	}

	done := repeatedly(len(conns), func(n int) { sendBad(conns[n]) }, backoff)
	return func() {
		for _, c := range conns {
			c.SetDeadline(time.Now())
		}
		done()
		for _, c := range conns {
			c.Close()
		}
	}
}

// sendBad sends one batch and reads its answer, whatever it is.
func sendBad(c net.Conn) {
	now := time.Now().UnixNano()
	batch := kmsg.RecordBatch{
		Magic:                2,
		ProducerID:           -1,
		ProducerEpoch:        -1,
		FirstSequence:        -1,
		NumRecords:           1,
		PartitionLeaderEpoch: -1,
		FirstTimestamp:       now,
		MaxTimestamp:         now,
		Records:              load.AppendRecord(nil, 0, []byte("x")),
	}
	if _, err := c.Write(load.ProduceTo("bad", load.Seal(batch.AppendTo(nil)))); err != nil {
		return
	}

	r := bufio.NewReader(c)
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err == nil {
		_, _ = r.Discard(int(binary.BigEndian.Uint32(head[:])))
	}
}

// repeatedly calls fn from n goroutines, each with its number and a pause after each
// call, until it is stopped.
func repeatedly(n int, fn func(n int), pause time.Duration) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				fn(i)
				tick.Reset(pause)
				select {
				case <-done:
					return
				case <-tick.C:
				}
			}
		})
	}

	return func() { close(done); running.Wait() }
}
