//go:build kafka

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// BenchmarkAddedLatency is what the gateway adds to the latency of batches that a real
// Kafka stores, on processors that sleep when they have nothing to do and on ones that
// do not: waking one of a virtual machine takes longer than all that the gateway does.
// Each iteration is one turn of each way; what is added is the median of the
// differences within an iteration, since machines drift. Beside it stand a proxy that
// only copies, and one flush of a decision's size.
func BenchmarkAddedLatency(b *testing.B) {
	kafka := kafkatest.Start(b, kafkatest.Config{Nodes: 1})
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Bootstrap()...))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(b.Context(), 1, 1, nil, benchTopic); err != nil {
		b.Fatal(err)
	}

	for _, processors := range []string{"asleep", "awake"} {
		for _, perSecond := range []int{5000, 20_000} {
			b.Run(fmt.Sprint(processors, "/", perSecond, " a second"), func(b *testing.B) {
				for range runtime.NumCPU() {
					if processors == "awake" {
						spin(b, spinIdle)
					}
				}
				addedLatency(b, kafka.Bootstrap()[0], perSecond)
			})
		}
	}
}

func addedLatency(b *testing.B, upstream string, perSecond int) {
	b.Helper()
	ways := waysTo(b, upstream, "direct", modeSplice, modePass, modeUnsynced, modeRecord, modeMask)
	f := plainFrame(b)
	var flushes []float64
	b.ResetTimer()
	inTurns(b, ways, f, perSecond, b.N)
	b.StopTimer()
	for range b.N {
		flushes = append(flushes, oneFlush(b, perSecond))
	}

	direct := ways[0]
	for _, w := range ways {
		b.ReportMetric(median(w.p50), w.name+"-p50-ms")
		b.ReportMetric(median(w.p99), w.name+"-p99-ms")
	}
	for _, w := range ways[1:] {
		b.ReportMetric(median(less(w.p50, direct.p50)), w.name+"-added-p50-ms")
		b.ReportMetric(median(less(w.p99, direct.p99)), w.name+"-added-p99-ms")
	}
	b.ReportMetric(median(flushes), "flush-p50-ms")
}

// oneFlush is the median of what it takes to append a decision to a file and flush it,
// at the pace of the load, in milliseconds.
func oneFlush(b *testing.B, perSecond int) float64 {
	b.Helper()
	const size = 300
	f, err := os.Create(filepath.Join(b.TempDir(), "flushed"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	batches := perSecond / perBatch
	if _, err := f.Write(make([]byte, 2*batches*size)); err != nil { // as the log does: no flush makes the file larger
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}

	var took []float64
	pace := time.NewTicker(time.Second / time.Duration(batches))
	defer pace.Stop()
	for n := range batches {
		<-pace.C
		began := time.Now()
		if _, err := f.WriteAt(make([]byte, size), int64(n*size)); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		took = append(took, inMilliseconds(time.Since(began)))
	}

	return median(took)
}

// less gives the differences of two series, turn by turn.
func less(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] - b[i]
	}
	return out
}
