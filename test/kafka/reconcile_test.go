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
