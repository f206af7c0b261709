//go:build kafka

package kafka

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

// TestRecordsThatWentAroundAreFound: what was written to the brokers themselves is told from markers of transactions, from
// what an aborted one left, and from what was there before.
func TestRecordsThatWentAroundAreFound(t *testing.T) {
	to := topic(t, through(shared), "plain", 1)
	send(t, direct().client(t), records(to, 0, numbered("before", 4)...)...)
	send(t, through(shared).client(t), records(to, 0, numbered("decided", 10)...)...)
	send(t, direct().client(t), records(to, 0, numbered("around", 3)...)...)
	c := through(shared).client(t, kgo.TransactionalID(to))
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		transact(t, c, end, records(to, 0, numbered("transacted", 5)...)...)
	}
	send(t, through(shared).client(t, kgo.DisableIdempotentWrite()), records(to, 0, numbered("decided too", 2)...)...)
	eventually(t, "the outcome of every batch is known", func() bool {
		return unresolved(shared.decisions(t, query.Filter{Topics: []string{to}, ByBatch: true})) == 0
	})

	cmd := exec.Command("./guardlock", "audit", "reconcile", "-b", cluster.Bootstrap()[0], "--dir", filepath.Join(shared.dir, "data", "audit"), "--topic", to, "--json")
	cmd.Dir = built.dir
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	var found []struct {
		Findings []struct {
			Kind    string
			Records int
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}

	count := map[string]int{}
	for _, f := range found[0].Findings {
		count[f.Kind] += f.Records
	}
	if len(found) != 1 || len(count) != 3 || count["before-era"] != 4 || count["bypass"] != 3 || count["marker"] != 2 {
		t.Errorf("found %v: %s", count, out)
	}
}

// TestContentOfWhatBrokersStoreIsTheDecidedOne: what a broker does to batches on its own accord is no difference.
func TestContentOfWhatBrokersStoreIsTheDecidedOne(t *testing.T) {
	text := func(s string) *string { return &s }
	for what, settings := range map[string]map[string]*string{
		"as it is":       nil,
		"broker's times": {"message.timestamp.type": text("LogAppendTime")},
		"compresses":     {"compression.type": text("gzip")},
		"compacts":       {"cleanup.policy": text("compact"), "min.cleanable.dirty.ratio": text("0.001"), "segment.ms": text("500")},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			to := name(through(shared), "upper")
			makeTopic(t, to, 1, settings)
			produce := func() {
				t.Helper()
				send(t, through(shared).client(t, kgo.ProducerBatchCompression(kgo.Lz4Compression())), records(to, 0, numbered("v", 3)...)...)
				send(t, through(shared).client(t, kgo.DisableIdempotentWrite()), records(to, 0, numbered("v", 5)...)...)
				eventually(t, "the outcome of every batch is known", func() bool {
					return unresolved(shared.decisions(t, query.Filter{Topics: []string{to}, ByBatch: true})) == 0
				})
			}

			rewritten := what == "compresses" || what == "compacts"
			eventually(t, "what the broker does is seen", func() bool {
				produce()
				cmd := exec.Command("./guardlock", "audit", "reconcile", "-b", cluster.Bootstrap()[0], "--dir", filepath.Join(shared.dir, "data", "audit"), "--topic", to, "--content", "--json")
				cmd.Dir = built.dir
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}

				var found []struct {
					Content struct{ Same, Rewritten, Removed, Unmarked, Unkeyed, Different int }
				}
				if err := json.Unmarshal(out, &found); err != nil || len(found) != 1 {
					t.Fatalf("%v: %s", err, out)
				}
				c := found[0].Content
				if c.Different+c.Removed+c.Unmarked+c.Unkeyed > 0 || !rewritten && c.Rewritten > 0 {
					t.Fatalf("%+v", c)
				}
				return c.Same+c.Rewritten > 1 && rewritten == (c.Rewritten > 0)
			})
		})
	}
}
