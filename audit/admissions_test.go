package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// admitted is an admission of a module with a grant; without topics it is one of a
// log from before admissions had fields.
func admitted(name string, grant audit.Digest, topics ...string) audit.ControlEntry {
	c := audit.ControlEntry{Kind: audit.KindAdmission, Subject: name, Module: gdpr, Outcome: "allowed", Revision: "sha256:00ff"}
	if len(topics) == 0 {
		c.Steps = []audit.Step{{Name: "approvals", Verdict: "passed", Detail: "grant=" + grant.String() + " threshold=1"}}
		return c
	}
	c.Admission = &audit.Admission{Grant: audit.Grant{Digest: grant}, Topics: topics}
	return c
}

// of makes it one of another module, outcome or policy.
func of(c audit.ControlEntry, change func(*audit.ControlEntry)) audit.ControlEntry {
	change(&c)
	return c
}

func TestDecisionsAreJoinedToWhatLetTheirModulesRun(t *testing.T) {
	asFraud := func(c *audit.ControlEntry) { c.Module = fraud }
	one := audit.Digest{1}
	two := audit.Digest{2}

	for name, c := range map[string]struct {
		modules []audit.ModuleRef
		grant   audit.Digest
		before  []audit.ControlEntry
		want    []string
	}{
		"the last one": {[]audit.ModuleRef{gdpr}, one,
			[]audit.ControlEntry{admitted("a", one, "cards"), admitted("b", one, "car*"), admitted("c", two, "cards")}, []string{"b"}},
		"in a log from before": {[]audit.ModuleRef{gdpr}, one, []audit.ControlEntry{admitted("a", one)}, []string{"a"}},
		"not of another topic": {[]audit.ModuleRef{gdpr}, one, []audit.ControlEntry{admitted("a", one, "cards"), admitted("b", one, "logs")}, []string{"a"}},
		"not of another policy, and none that was refused": {[]audit.ModuleRef{gdpr}, one, []audit.ControlEntry{
			of(admitted("a", one, "cards"), func(c *audit.ControlEntry) { c.Revision = "other" }),
			of(admitted("b", one, "cards"), func(c *audit.ControlEntry) { c.Outcome = "denied" }),
		}, nil},
		"a chain": {[]audit.ModuleRef{gdpr, fraud}, one.And(two), []audit.ControlEntry{
			of(admitted("b", two, "cards"), asFraud), of(admitted("x", one, "cards"), asFraud), admitted("a", one, "cards"), admitted("y", two, "cards"),
		}, []string{"a", "b"}},
		"a chain without its end": {[]audit.ModuleRef{gdpr, fraud}, one.And(two), []audit.ControlEntry{admitted("a", one, "cards")}, nil},
		"a chain the wrong way":   {[]audit.ModuleRef{gdpr, fraud}, two.And(one), []audit.ControlEntry{admitted("a", one, "cards"), of(admitted("b", two, "cards"), asFraud)}, nil},
		"one module twice":        {[]audit.ModuleRef{gdpr, gdpr}, one.And(one), []audit.ControlEntry{admitted("a", one, "cards")}, []string{"a", "a"}},
	} {
		for clock, tick := range map[string]time.Duration{"": time.Second, ", though the clock goes back": -time.Second} {
			t.Run(name+clock, func(t *testing.T) {
				if got := joined(t, c.modules, c.grant, c.before, tick); !slices.Equal(got, c.want) {
					t.Errorf("joined to %q, not to %q", got, c.want)
				}
			})
		}
	}
}

// joined makes a log of admissions, a batch, and one more that comes after it, and gives
// the subjects of those that the batch is joined to. The clock goes on by a tick.
func joined(t *testing.T, modules []audit.ModuleRef, grant audit.Digest, before []audit.ControlEntry, tick time.Duration) (subjects []string) {
	t.Helper()
	now := noon
	l := openMem(t, newMemFiles(), audit.Options{Node: "gw-1", Now: func() time.Time { return now }})
	for _, entry := range append(slices.Clone(before), admitted("later", grant, "cards")) {
		now = now.Add(tick)
		if entry.Subject == "later" {
			e := batchOf("cards", 1, 4)
			e.Time = now
			e.Modules = modules
			e.GrantDigest = grant
			e.Runs = nil
			e.Rulings = nil
			mustAppend(t, l, e, nil)
			now = now.Add(tick)
		}

		if err := l.Record(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}

	r := query.New(l.Reader())
	rows := collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true})
	found, err := r.Admissions(t.Context(), rows[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		subjects = append(subjects, d.Control.Subject)
	}
	return subjects
}
