package admission_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms/modules"
)

// catalogue has a module that runs, one that ends sooner, and two that do not.
func catalogue(t *testing.T, p people) map[string]admission.Module {
	t.Helper()
	wasm, config := gdpr()
	upper, _ := modules.Wasm("uppercase")
	g := grant(upper, nil)
	g.Keys, g.NotAfter = nil, now.Add(time.Minute)
	short := p.signed(t, upper, nil)
	short.Approvals = [][]byte{must(signing.Approve(t.Context(), g, p.grace))}

	return map[string]admission.Module{
		"gdpr":     {Name: "gdpr", Package: p.signed(t, wasm, config)},
		"short":    {Name: "short", Package: short},
		"unsigned": {Name: "unsigned", Package: signing.Package{Wasm: wasm, Config: config}},
		"missing":  {Name: "missing", Missing: errors.New("no such file")},
	}
}

func rule(binding string, chain ...string) admission.Rule {
	return admission.Rule{Place: admission.Place{Binding: binding, Topics: []string{"customers"}, Principals: []string{"User:alice"}, DataClass: "internal"},
		Modules: chain, RejectCode: kerr.PolicyViolation.Code, KeepCodec: true}
}

func TestBindingRefusesIfAnyOfItsModulesIsRefused(t *testing.T) {
	p := newPeople()
	a, r := admitter(t, p.root(1), allows)
	set := must(a.Build(t.Context(), []admission.Rule{rule("good", "gdpr"), rule("bad", "gdpr", "unsigned", "missing"), rule("none")}, catalogue(t, p)))
	defer set.Close(t.Context())

	if len(set.Bindings) != 3 || !slices.Equal(set.Bindings[0].Topics, []string{"customers"}) || !slices.Equal(set.Bindings[0].Principals, []string{"User:alice"}) {
		t.Fatalf("the bindings are %+v", set.Bindings)
	}
	for i, want := range []struct {
		binding, why string
		refusal      audit.Outcome
		modules      int
	}{{"good", "", audit.OutcomePassed, 1}, {"bad", "unsigned", audit.OutcomeNoModule, 1}, {"none", "", audit.OutcomePassed, 0}} {
		g := set.Bindings[i].Grant
		if g.Binding != want.binding || g.Why != want.why || g.Refusal != want.refusal || len(g.Modules) != want.modules ||
			g.RejectCode != kerr.PolicyViolation.Code || !g.KeepCodec || (g.Chain != nil) != (want.modules > 0) {
			t.Errorf("binding %s has the grant %+v", want.binding, g)
		}
	}

	var told []string
	for _, refused := range set.Refusals {
		told = append(told, refused.Module+" "+refused.Code)
	}

	if !slices.Equal(told, []string{"unsigned unsigned", "missing package_unreadable"}) {
		t.Errorf("told are %q", told)
	}
	if len(r.entries) != 4 {
		t.Errorf("%d verdicts are recorded", len(r.entries))
	}
}

func TestGrantOfAChainIsThatOfAllItsModulesAndEndsWithTheFirst(t *testing.T) {
	p := newPeople()
	a, _ := admitter(t, p.root(1), allows)
	set := must(a.Build(t.Context(), []admission.Rule{rule("one", "gdpr"), rule("other", "short"), rule("both", "gdpr", "short"), rule("turned", "short", "gdpr")}, catalogue(t, p)))
	defer set.Close(t.Context())
	one := set.Bindings[0].Grant
	other := set.Bindings[1].Grant
	both := set.Bindings[2].Grant
	turned := set.Bindings[3].Grant

	wasm, config := gdpr()
	if one.GrantDigest != grant(wasm, config).GrantDigest() {
		t.Error("a chain of one module has another digest than what was approved")
	}
	if both.GrantDigest != sha256.Sum256(append(one.GrantDigest[:], other.GrantDigest[:]...)) || both.GrantDigest == turned.GrantDigest {
		t.Error("the digest of a chain is not that of its grants in their order")
	}
	if len(both.Modules) != 2 || both.Modules[0].Name != "gdpr" || both.Modules[1].Name != "short" || len(both.Reasons) != 2 || len(both.Routes) != 2 {
		t.Errorf("the modules are %+v", both.Modules)
	}

	ends := now.Add(time.Minute)
	if !one.ValidUntil.Equal(now.Add(time.Hour)) || !both.ValidUntil.Equal(ends) || !turned.ValidUntil.Equal(ends) || !set.Until.Equal(ends) {
		t.Errorf("they end at %v, %v, %v; the first at %v", one.ValidUntil, both.ValidUntil, turned.ValidUntil, set.Until)
	}
	if both.PolicyRevision != a.Policy.Revision() {
		t.Errorf("the policy's revision is %q", both.PolicyRevision)
	}
	if !new(admission.Set).Current(ends) {
		t.Error("an empty set ends")
	}
}

func TestNothingIsBuiltOnVerdictsThatCannotBeRecorded(t *testing.T) {
	p := newPeople()
	a, r := admitter(t, p.root(1), allows)
	if set, err := a.Build(t.Context(), []admission.Rule{rule("b", "nobody")}, catalogue(t, p)); err == nil || set != nil {
		t.Errorf("a module that is not configured gives %+v, %v", set, err)
	}

	r.fails = errors.New("the disk is full")
	for _, chain := range []string{"gdpr", "unsigned"} {
		if set, err := a.Build(t.Context(), []admission.Rule{rule("b", chain)}, catalogue(t, p)); !errors.Is(err, r.fails) || set != nil {
			t.Errorf("%s: got %+v, %v", chain, set, err)
		}
	}
}

// TestEachClusterHasItsAdmissions: a binding of one name in two clusters lets its module
// run twice, and the log says so of each, once.
func TestEachClusterHasItsAdmissions(t *testing.T) {
	p := newPeople()
	a, r := admitter(t, p.root(1), allows)
	for range 2 {
		for _, cluster := range []string{"main", "other"} {
			of := rule("good", "gdpr")
			of.Cluster = cluster
			set := must(a.Build(t.Context(), []admission.Rule{of}, catalogue(t, p)))
			defer set.Close(t.Context())
		}
	}

	var told []string
	for _, e := range r.entries {
		told = append(told, e.Subject+" of "+e.Admission.Cluster)
	}
	if !slices.Equal(told, []string{"good of main", "good of other"}) {
		t.Errorf("the log has %q", told)
	}
}
