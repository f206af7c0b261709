//go:build kafka

package bench

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// BenchmarkAddedLatency is what the gateway adds to the latency of batches that a real
// Kafka stores. Each iteration is one turn of each way; what is added is the median
// of the differences within an iteration, since machines drift.
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

	for _, perSecond := range []int{5000, 20_000} {
		b.Run(fmt.Sprint(perSecond, " a second"), func(b *testing.B) {
			ways := waysTo(b, kafka.Bootstrap()[0], "direct", modePass, modeUnsynced, modeRecord, modeMask)
			f := plainFrame(b)
			b.ResetTimer()
			inTurns(b, ways, f, perSecond, b.N)
			b.StopTimer()

			direct := ways[0]
			for _, w := range ways {
				b.ReportMetric(median(w.p50), w.name+"-p50-ms")
				b.ReportMetric(median(w.p99), w.name+"-p99-ms")
			}
			for _, w := range ways[1:] {
				b.ReportMetric(median(less(w.p50, direct.p50)), w.name+"-added-p50-ms")
				b.ReportMetric(median(less(w.p99, direct.p99)), w.name+"-added-p99-ms")
			}
		})
	}
}

// less gives the differences of two series, turn by turn.
func less(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] - b[i]
	}
	return out
}
