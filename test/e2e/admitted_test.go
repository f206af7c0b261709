package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// From a record's decision one gets to those who let its modules run, each with what
// it was let in for, also where several modules judged it.
func TestShowOfARecordNamesWhoLetItsModulesRun(t *testing.T) {
	first := judgeModule("good")
	first.name = "first"
	second := judgeModule("good")
	second.name = "second"
	d := deploy(t, plan{modules: []module{first, second}, bindings: map[string]string{"good": "first, second"}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "good", 0, "a")
	gateway.terminate()

	rows := decisions(t, d.audit(), query.Filter{Topics: []string{"good"}, Kinds: []audit.Kind{audit.KindBatch}})
	if len(rows) != 1 {
		t.Fatalf("%d decisions", len(rows))
	}

	out, exit := guardlock(t, "audit", "show", rows[0].ID.String(), "--dir", d.audit())
	for _, part := range []string{"\nadmitted   first  gl-", "\nadmitted   second  gl-", " at good\n", "\nauthor     builder@example.com  key ",
		"\napproved   by security@example.com  until 20", "           1 approval needed by the trust root; policy may ask for more\n"} {
		if exit != 0 || !strings.Contains(out, part) {
			t.Errorf("exit code %d, without %q:\n%s", exit, part, out)
		}
	}

	out, exit = guardlock(t, "audit", "show", rows[0].ID.String(), "--dir", d.audit(), "--json")
	var shown struct {
		Grant      string `json:"grant_digest"`
		Admissions []struct {
			ID        string `json:"decision_id"`
			Module    struct{ Name string }
			Admission *struct {
				Author    struct{ Identity string }
				Approvals []struct{ Approver, ID, Until string }
				Config    string `json:"config_digest"`
				TrustRoot string `json:"trust_root_digest"`
				Grant     struct {
					Digest string
					Topics []string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || exit != 0 || len(shown.Admissions) != 2 {
		t.Fatalf("exit code %d, %v:\n%s", exit, err, out)
	}

	for i, name := range []string{"first", "second"} {
		a := shown.Admissions[i]
		if a.Module.Name != name || a.Admission.Author.Identity != "builder@example.com" || len(a.Admission.Approvals) != 1 || a.Admission.Approvals[0].Until == "" ||
			a.Admission.Config == "" || a.Admission.TrustRoot == "" || a.Admission.Grant.Digest == "" || a.Admission.Grant.Topics[0] != "good" {
			t.Errorf("admission %d: %+v", i, a)
		}
	}

	d.showsAdmission(shown.Admissions[0].ID)
}

// showsAdmission checks what is said of an admission itself, and of the
// configuration that it belongs to.
func (d *deployment) showsAdmission(id string) {
	d.t.Helper()
	out, exit := guardlock(d.t, "audit", "show", id, "--dir", d.audit())
	for _, part := range []string{"\nsubject    good\n", "\nconfig     sha256:", "\ntrust root sha256:", "\ngrant      sha256:", "\n           topics good\n",
		"memory ", "  step     policy: passed"} {
		if exit != 0 || !strings.Contains(out, part) {
			d.t.Errorf("exit code %d, without %q:\n%s", exit, part, out)
		}
	}

	out, exit = guardlock(d.t, "audit", "query", "--dir", d.audit(), "--kind", "admission", "--principal", "security@example.com")
	if exit != 0 || strings.Count(out, " allowed ") != 2 {
		d.t.Errorf("what one person approved is not found (exit code %d):\n%s", exit, out)
	}

	config := decisions(d.t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindConfig}})
	out, exit = guardlock(d.t, "audit", "show", config[0].ID.String(), "--dir", d.audit())
	for _, part := range []string{"\nfile       configuration: guardlock.yaml  sha256:", "\nfile       trust_root: trust.json  sha256:", "\nfile       policy: built in  sha256:"} {
		if exit != 0 || !strings.Contains(out, part) {
			d.t.Errorf("exit code %d, without %q:\n%s", exit, part, out)
		}
	}
}
