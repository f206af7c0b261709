package e2e

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// From a record's decision one gets to those who let its module run.
func TestShowOfARecordNamesWhoLetItsModuleRun(t *testing.T) {
	m := judgeModule("good")
	m.name = "good"
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"good": "good"}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "good", 0, "a")
	gateway.terminate()

	rows := decisions(t, d.audit(), query.Filter{Topics: []string{"good"}, Kinds: []audit.Kind{audit.KindBatch}})
	if len(rows) != 1 {
		t.Fatalf("%d decisions", len(rows))
	}

	out, exit := guardlock(t, "audit", "show", rows[0].ID.String(), "--dir", d.audit())
	for _, part := range []string{"\nadmitted   good  gl-", " at good\n", "author=builder@example.com ", "approver=security@example.com until=", "trust_root=sha256:"} {
		if exit != 0 || !strings.Contains(out, part) {
			t.Errorf("exit code %d, without %q:\n%s", exit, part, out)
		}
	}
}
