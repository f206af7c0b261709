//go:build kafka

package kafka

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

// TestStoredBatchesAreTheDecidedOnes: what a broker does to batches on its own accord does not keep `audit compare` from
// knowing them, asked through the gateway or not. A topic that compresses anew has other batches, and they are called so.
func TestStoredBatchesAreTheDecidedOnes(t *testing.T) {
	values := []string{"keep 1", "drop 2", "keep 3", "keep 4"}
	text := func(s string) *string { return &s }
	for _, kind := range []string{"plain", "upper", "dropping"} {
		for what, settings := range map[string]map[string]*string{
			"as it is":       nil,
			"broker's times": {"message.timestamp.type": text("LogAppendTime")},
			"compresses":     {"compression.type": text("gzip")},
		} {
			t.Run(kind+" "+what, func(t *testing.T) {
				to := name(through(shared), kind)
				makeTopic(t, to, 1, settings)
				send(t, through(shared).client(t, kgo.ProducerBatchCompression(kgo.Lz4Compression())), records(to, 0, values...)...)
				send(t, through(shared).client(t, kgo.DisableIdempotentWrite()), records(to, 0, values...)...)
				eventually(t, "the outcome of every batch is known", func() bool {
					return unresolved(shared.decisions(t, query.Filter{Topics: []string{to}, ByBatch: true})) == 0
				})

				compared := map[string]int{}
				for _, d := range shared.decisions(t, query.Filter{Topics: []string{to}, ByBatch: true}) {
					if d.Batch.State != query.StateStored {
						continue
					}
					for _, addr := range []string{shared.addr, cluster.Bootstrap()[0]} {
						err := built.run("audit", "compare", d.ID.String(), "--dir", filepath.Join(shared.dir, "data", "audit"), "-b", addr)
						other := err != nil && strings.Contains(err.Error(), "exit status 3") && strings.Contains(err.Error(), "compression.type")
						if err != nil && !other || other != (what == "compresses") {
							t.Errorf("%s, evidence of the %s: %v", d.ID, d.Batch.Evidence, err)
						}
						compared[d.Batch.Evidence.String()]++
					}
				}

				if compared["header"] == 0 || compared["content"] == 0 {
					t.Errorf("compared only %v", compared)
				}
			})
		}
	}
}
