package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// admit records what became of a module on a binding.
func admit(t testing.TB, l *audit.Log, binding string, m audit.ModuleRef, outcome string, grant audit.Digest) {
	t.Helper()
	err := l.Record(t.Context(), audit.ControlEntry{
		Kind: audit.KindAdmission, Time: noon, Subject: binding, Module: m, Outcome: outcome, Revision: "sha256:00ff",
		Admission: &audit.Admission{Topics: []string{"*"}, Grant: audit.Grant{Digest: grant}, Author: audit.Signer{Identity: "ada@example.org"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// decide appends batches that gdpr judged, a minute apart from the first minute on.
func decide(t testing.TB, l *audit.Log, first, n int) {
	t.Helper()
	for i := range n {
		e := batchOf("cards", 0, 40)
		e.Modules = []audit.ModuleRef{gdpr}
		for j := range e.Rulings {
			e.Rulings[j].Module = 0
		}
		e.GrantDigest = audit.Digest{9}
		e.Time = noon.Add(time.Duration(first+i) * time.Minute)
		l.Place(mustAppend(t, l, e, []byte{1}), audit.Placement{BaseOffset: int64(40 * (first + i))})
	}
}

// TestBindingsOfOneNameInTwoClustersAreTwo: what is refused in one cluster still stands
// in the other, and a decision is joined to the admission of its own.
func TestBindingsOfOneNameInTwoClustersAreTwo(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	for _, a := range []struct{ cluster, outcome, author string }{{"main", "allowed", "ada"}, {"other", "allowed", "bob"}, {"other", "denied", "bob"}} {
		err := l.Record(t.Context(), audit.ControlEntry{
			Kind: audit.KindAdmission, Time: noon, Subject: "cards", Module: gdpr, Outcome: a.outcome, Revision: "sha256:00ff",
			Admission: &audit.Admission{Cluster: a.cluster, Topics: []string{"*"}, Grant: audit.Grant{Digest: audit.Digest{9}}, Author: audit.Signer{Identity: a.author}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	decide(t, l, 0, 150)
	mustClose(t, l)
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(2 * time.Hour)})); err != nil {
		t.Fatal(err)
	}

	r := query.New(readerOf(d))
	repeated := collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindStanding}})
	for _, row := range repeated {
		if a := row.Control.Admission; a.Cluster != "main" || a.Author.Identity != "ada" {
			t.Errorf("repeated is %+v", a)
		}
	}
	if len(repeated) == 0 {
		t.Error("nothing was repeated")
	}

	for _, row := range collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}) {
		want := 0
		if row.Cluster == "main" {
			want = 1
		}
		if all, err := r.Admissions(t.Context(), row); err != nil || len(all) != want {
			t.Fatalf("batch %d of cluster %s: %d admissions, %v", row.Batch.Seq, row.Cluster, len(all), err)
		}
	}
}

// TestPrunedAdmissionIsRepeated: whatever was removed, a decision that is left says who
// let its module run.
func TestPrunedAdmissionIsRepeated(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	admit(t, l, "cards", gdpr, "allowed", audit.Digest{9})
	decide(t, l, 0, 150)
	mustClose(t, l)
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(2 * time.Hour)})); err != nil {
		t.Fatal(err)
	}

	r := query.New(readerOf(d))
	left := collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true})
	if len(left) == 0 || len(left) > 120 {
		t.Fatalf("%d batches are left", len(left))
	}
	for _, row := range left {
		all, err := r.Admissions(t.Context(), row)
		if err != nil || len(all) != 1 {
			t.Fatalf("batch %d: %d admissions, %v", row.Batch.Seq, len(all), err)
		}
		c := all[0].Control
		if c.Kind != audit.KindStanding || c.Admission.Author.Identity != "ada@example.org" || len(c.Steps) != 1 || c.Steps[0].Detail != "2" {
			t.Fatalf("batch %d: %+v", row.Batch.Seq, c)
		}
	}

	if rows := collect(t, r, query.Filter{Modules: []string{"gdpr"}, Outcomes: []string{"allowed"}}); len(rows) != 0 {
		t.Errorf("%d repeated entries are given to who did not ask for them", len(rows))
	}
}

// TestRepeatedAdmissionNamesItsTables: pruning takes no table's digest with it either.
func TestRepeatedAdmissionNamesItsTables(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	table := audit.Step{Name: audit.StepTable, Verdict: "loaded", Detail: "banks " + audit.Digest{7}.String()}
	c := admitted("gdpr", audit.Digest{9}, "*")
	c.Steps = []audit.Step{{Name: "start", Verdict: "passed"}, table}
	if err := l.Record(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	decide(t, l, 0, 150)
	mustClose(t, l)

	repeated := collect(t, query.New(readerOf(d)), query.Filter{Kinds: []audit.Kind{audit.KindStanding}})
	if len(repeated) == 0 {
		t.Fatal("nothing was repeated")
	}
	for _, row := range repeated {
		if got := row.Control.Steps; len(got) != 2 || got[0].Name != "repeats" || got[1] != table {
			t.Errorf("repeated is %+v", got)
		}
	}
}

// TestOnlyWhatHoldsIsRepeated: not what was refused since, nor what an opening ended.
func TestOnlyWhatHoldsIsRepeated(t *testing.T) {
	d := newMemFiles()
	o := audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }}
	l := openMem(t, d, o)
	admit(t, l, "old", gdpr, "allowed", audit.Digest{1})
	mustClose(t, l)

	l = openMem(t, d, o)
	admit(t, l, "a", gdpr, "allowed", audit.Digest{1})
	admit(t, l, "a", gdpr, "allowed", audit.Digest{9})
	admit(t, l, "b", gdpr, "allowed", audit.Digest{1})
	admit(t, l, "b", gdpr, "denied", audit.Digest{})
	admit(t, l, "c", fraud, "allowed", audit.Digest{2})
	admit(t, l, "*", fraud, "denied", audit.Digest{})
	decide(t, l, 0, 150)
	mustClose(t, l)

	found := map[string]int{}
	for _, row := range collect(t, query.New(readerOf(d)), query.Filter{Kinds: []audit.Kind{audit.KindStanding}}) {
		found[fmt.Sprintf("%s %s %d", row.Control.Subject, row.Control.Module.Name, row.Control.Admission.Grant.Digest[0])]++
	}
	if len(found) != 1 || found["a gdpr 9"] < 3 {
		t.Errorf("repeated: %v", found)
	}
}

func TestSegmentEndsByItsAge(t *testing.T) {
	d := newMemFiles()
	now := noon
	l := openMem(t, d, audit.Options{Now: func() time.Time { return now }})
	for _, later := range []time.Duration{0, 59 * time.Minute, time.Minute, 3 * time.Hour, time.Second} {
		now = now.Add(later)
		decide(t, l, 0, 1)
	}
	mustClose(t, l)

	segments := 0
	for name := range d.live {
		if strings.HasSuffix(name, ".wal") {
			segments++
		}
	}
	if segments != 3 {
		t.Errorf("%d segments", segments)
	}
}

// TestTheLastAuthorityIsRepeated: pruning does not take with it what is served under, and
// it is shown once, however many segments repeat it.
func TestTheLastAuthorityIsRepeated(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	for n := range 2 {
		err := l.Record(t.Context(), audit.ControlEntry{
			Kind: audit.KindAuthority, Subject: "guardlock.yaml", Outcome: "in_force",
			Loaded: &audit.Loaded{Files: []audit.File{{Role: "authority", Name: "gw", Digest: audit.Digest{byte(n + 1)}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	decide(t, l, 0, 150)
	mustClose(t, l)

	r := query.New(readerOf(d))
	authority := []audit.Kind{audit.KindAuthority}
	if rows := collect(t, r, query.Filter{Kinds: authority}); len(rows) != 2 {
		t.Errorf("%d authorities before pruning", len(rows))
	}
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(2 * time.Hour)})); err != nil {
		t.Fatal(err)
	}

	left := collect(t, query.New(readerOf(d)), query.Filter{Kinds: authority})
	if len(left) != 1 {
		t.Fatalf("%d authorities are left", len(left))
	}
	if c := left[0].Control; c.Loaded.Files[0].Digest != (audit.Digest{2}) || c.Steps[0].Detail != "3" {
		t.Errorf("left is %+v", c)
	}
}
