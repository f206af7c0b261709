package admission_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
)

// attempt is one admission and what must come of it.
type attempt struct {
	name    string
	module  admission.Module
	policy  string // default: allows
	trust   *signing.TrustRoot
	noKeys  bool
	outcome audit.Outcome
	code    string // none: it is admitted
	steps   string
}

func (a attempt) check(t *testing.T) {
	t.Helper()
	if a.policy == "" {
		a.policy = allows
	}

	admitter, r := admitter(t, a.trust, a.policy)
	if a.noKeys {
		admitter.Keys = nil
	}

	a.module.Name = "gdpr"
	set, err := admitter.Build(t.Context(), []admission.Rule{{Place: customers, Modules: []string{"gdpr"}}}, map[string]admission.Module{"gdpr": a.module})
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}

	defer set.Close(t.Context())

	g := set.Bindings[0].Grant
	switch {
	case a.code == "" && (len(set.Refusals) != 0 || g.Chain == nil):
		t.Fatalf("%s: refused: %v", a.name, set.Refusals)
	case a.code == "":
	case len(set.Refusals) != 1:
		t.Fatalf("%s: got %+v", a.name, set.Refusals)
	default:
		refused := set.Refusals[0]
		if refused.Code != a.code || refused.Outcome != a.outcome || refused.Module != "gdpr" || refused.Err == nil || g.Why != a.code || g.Refusal != a.outcome {
			t.Errorf("%s: refused with %+v, want %s (%v)", a.name, refused, a.code, a.outcome)
		}
	}

	a.recorded(t, admitter, r)
}

// recorded checks the one entry that the log gets of an admission.
func (a attempt) recorded(t *testing.T, by *admission.Admitter, r *recorder) {
	t.Helper()
	if len(r.entries) != 1 {
		t.Fatalf("%s: %d entries are recorded", a.name, len(r.entries))
	}

	e := r.entries[0]
	outcome := "allowed"
	if a.code != "" {
		outcome = "denied"
	}
	if e.Kind != audit.KindAdmission || e.Subject != "b" || e.Outcome != outcome || e.Reason != a.code || e.Revision != by.Policy.Revision() ||
		e.Module.Name != "gdpr" || e.Module.Digest != sha256.Sum256(a.module.Package.Wasm) {
		t.Errorf("%s: recorded is %+v", a.name, e)
	}
	if got := steps(e); a.steps != "" && got != a.steps {
		t.Errorf("%s: the steps are\n  %s, want\n  %s", a.name, got, a.steps)
	}
}

const examined = "digest passed, author passed, approvals passed, structure passed, imports passed, "

// Each package has all the faults of those below it, and one more. Only the
// first is looked at: no later step sees what an earlier one refused.
func TestStepsRefuseInOrderAndNothingIsLookedAtAfterTheFirst(t *testing.T) {
	p := newPeople()
	trust := p.root(1)
	wasm, config := gdpr()
	garbage := []byte("\x00asm, but no more")
	for _, a := range []attempt{
		{name: "a file is missing", module: admission.Module{Package: signing.Package{Wasm: garbage}, Missing: errors.New("no such file")},
			policy: denies, noKeys: true, outcome: audit.OutcomeNoModule, code: "package_unreadable", steps: "digest refused package_unreadable"},
		{name: "nobody signed it", module: admission.Module{Package: signing.Package{Wasm: garbage}},
			policy: denies, noKeys: true, outcome: audit.OutcomeNoModule, code: "unsigned", steps: "digest passed, author refused unsigned"},
		{name: "it is no module", module: admission.Module{Package: p.signed(t, garbage, nil)},
			policy: denies, noKeys: true, outcome: audit.OutcomeNoModule, code: "hostile_or_malformed", steps: "digest passed, author passed, approvals passed, structure refused hostile_or_malformed"},
		{name: "policy denies it", module: admission.Module{Package: p.signed(t, wasm, config)},
			policy: denies, noKeys: true, outcome: audit.OutcomePolicyDenied, code: "not_today", steps: examined + "topics passed, policy refused not_today"},
		{name: "its key is not there", module: admission.Module{Package: p.signed(t, wasm, config)},
			noKeys: true, outcome: audit.OutcomeNoModule, code: "key_missing", steps: examined + "topics passed, policy passed, start refused key_missing"},
		{name: "nothing is wrong", module: admission.Module{Package: p.signed(t, wasm, config)},
			steps: examined + "topics passed, policy passed, start passed"},
	} {
		a.trust = trust
		a.check(t)
	}
}

func TestEachFaultOfThePapersHasACodeOfItsOwn(t *testing.T) {
	p := newPeople()
	wasm, config := gdpr()
	approved := func(by *signing.PrivateKey, change func(*signing.Approval)) admission.Module {
		pkg := p.signed(t, wasm, config)
		g := grant(wasm, config)
		change(&g)
		pkg.Approvals = [][]byte{must(signing.Approve(t.Context(), g, by))}
		return admission.Module{Package: pkg}
	}

	spoilt := func(change func(*signing.Package)) admission.Module {
		pkg := p.signed(t, wasm, config)
		change(&pkg)
		return admission.Module{Package: pkg}
	}

	same := func(*signing.Approval) {}
	for step, all := range map[string][]attempt{
		"digest refused ": {
			{code: "too_large", module: spoilt(func(p *signing.Package) { p.Config = make([]byte, signing.MaxConfigBytes+1) })},
		},
		"digest passed, author refused ": {
			{code: "digest_mismatch", module: spoilt(func(p *signing.Package) { p.Wasm = append(slices.Clone(p.Wasm), 0) })},
			{code: "signature_invalid", module: spoilt(func(p *signing.Package) { p.Signature = []byte("{}") })},
			{code: "revoked", module: approved(p.grace, same), trust: p.root(1, fmt.Sprintf("%x", sha256.Sum256(wasm)))},
		},
		"digest passed, author passed, approvals refused ": {
			{code: "config_changed", module: spoilt(func(p *signing.Package) { p.Config = []byte("{}") })},
			{code: "untrusted_key", module: approved(p.eve, same)},
			{code: "author_approved", module: approved(p.ada, same)},
			{code: "expired", module: approved(p.grace, func(g *signing.Approval) { g.NotAfter = now })},
			{code: "not_yet_valid", module: approved(p.grace, func(g *signing.Approval) { g.NotBefore = now.Add(30 * time.Minute) })},
			{code: "approvals_missing", module: approved(p.grace, same), trust: p.root(2)},
			{code: "revoked", module: approved(p.grace, same), trust: p.root(1, fmt.Sprintf("%x", sha256.Sum256(config)))},
		},
	} {
		for _, a := range all {
			a.name = a.code
			a.outcome = audit.OutcomeNoModule
			a.steps = step + a.code
			if a.trust == nil {
				a.trust = p.root(1)
			}
			a.check(t)
		}
	}
}

func TestImportsMustBeKnownAndApproved(t *testing.T) {
	p := newPeople()
	wasm, config := gdpr()
	unknown := bytes.ReplaceAll(wasm, []byte("guardlock_crypto"), []byte("guardlock_cryptx"))
	unapproved := p.signed(t, wasm, config)
	g := grant(wasm, config)
	g.HostFunctions = []string{"guardlock_crypto.sha256"}
	unapproved.Approvals = [][]byte{must(signing.Approve(t.Context(), g, p.grace))}

	for _, a := range []attempt{
		{code: "import_unknown", module: admission.Module{Package: p.signed(t, unknown, config)}},
		{code: "import_not_approved", module: admission.Module{Package: unapproved}},
	} {
		a.name, a.trust, a.outcome, a.policy = a.code, p.root(1), audit.OutcomeNoModule, denies
		a.steps = "digest passed, author passed, approvals passed, structure passed, imports refused " + a.code
		a.check(t)
	}
}

func TestPolicyThatDoesNotClearlyAllowDenies(t *testing.T) {
	p := newPeople()
	wasm, config := gdpr()
	for _, a := range []attempt{
		{policy: denies, code: "not_today", steps: "policy refused not_today"},
		{policy: silent, code: "policy_denied", steps: "policy refused policy_denied"},
		{policy: breaks, code: "policy_error", steps: "policy refused policy_error"},
		{policy: narrows, code: "import_not_allowed", steps: "policy refused import_not_allowed"},
	} {
		a.name, a.trust, a.outcome, a.module = a.code, p.root(1), audit.OutcomePolicyDenied, admission.Module{Package: p.signed(t, wasm, config)}
		a.steps = examined + "topics passed, " + a.steps
		a.check(t)
	}
}

func TestModuleThatDoesNotStartWithItsConfigurationIsRefused(t *testing.T) {
	p := newPeople()
	wasm, _ := gdpr()
	attempt{name: "rules of another kind", trust: p.root(1), module: admission.Module{Package: p.signed(t, wasm, []byte(`{"rules": 7}`))},
		outcome: audit.OutcomeNoModule, code: "load_failed",
		steps: examined + "topics passed, policy passed, start refused load_failed"}.check(t)
}

func TestModuleWhoseVerdictCannotBeRecordedDoesNotRun(t *testing.T) {
	p := newPeople()
	wasm, config := gdpr()
	a, r := admitter(t, p.root(1), allows)
	r.fails = errors.New("the disk is full")
	rules := []admission.Rule{{Place: customers, Modules: []string{"gdpr"}}}

	set, err := a.Build(t.Context(), rules, map[string]admission.Module{"gdpr": {Name: "gdpr", Package: p.signed(t, wasm, config)}})
	if refused := new(admission.Refused); set != nil || !errors.Is(err, r.fails) || errors.As(err, &refused) {
		t.Errorf("got %+v, %v", set, err)
	}
}

// A policy of one rule allows everything, and still a module runs only on topics
// that it was approved for.
func TestNoPolicyLiftsTheTopicsThatWereApproved(t *testing.T) {
	p := newPeople()
	wasm, config := gdpr()
	g := grant(wasm, config)
	g.Topics = []string{"customers.*", "orders"}
	pkg := p.signed(t, wasm, config)
	pkg.Approvals = [][]byte{must(signing.Approve(t.Context(), g, p.grace))}

	a, _ := admitter(t, p.root(1), allows)
	for topic, code := range map[string]string{
		"customers.eu": "", "customers.*": "", "customers.eu*": "", "orders": "",
		"payments": "topic_not_granted", "customers*": "topic_not_granted", "*": "topic_not_granted", "orders*": "topic_not_granted",
	} {
		v := a.Examine(t.Context(), admission.Module{Name: "gdpr", Package: pkg}, admission.Place{Binding: "b", Topics: []string{"orders", topic}})
		if got := v.Refused; (got == nil) != (code == "") || got != nil && (got.Code != code || got.Outcome != audit.OutcomeNoModule) {
			t.Errorf("on %s: %v, want %q", topic, got, code)
		}
	}
}

// Who let this module run, on what, and until when, is in its entry; a decision is
// joined to it by grant and policy.
func TestTheEntryOfAnAdmissionSaysWhoLetTheModuleRun(t *testing.T) {
	p := newPeople()
	wasm, config := gdpr()
	g := grant(wasm, config)
	g.Ticket = "SEC 112"
	g.Routes = []string{"quarantine"}
	pkg := p.signed(t, wasm, config)
	pkg.Approvals = [][]byte{must(signing.Approve(t.Context(), g, p.grace)), must(signing.Approve(t.Context(), g, p.linus))}

	keyEnds := now.Add(30 * time.Minute)
	trust := p.rootUntil(keyEnds, 2)
	a, r := admitter(t, trust, tightens)
	set := must(a.Build(t.Context(), []admission.Rule{rule("b", "gdpr")}, map[string]admission.Module{"gdpr": {Name: "gdpr", Package: pkg}}))
	defer set.Close(t.Context())

	got := r.entries[0].Admission
	for i, id := range []string{got.Approvals[0].ID, got.Approvals[1].ID} {
		if len(id) != 64 {
			t.Errorf("approval %d has id %q", i, id)
		}
		got.Approvals[i].ID = ""
	}

	want := &audit.Admission{
		Author: audit.Signer{Identity: "ada", KeyID: p.ada.ID()},
		Approvals: []audit.Approval{
			{Approver: "grace", Ticket: "SEC 112", KeyID: p.grace.ID(), From: g.NotBefore, Until: g.NotAfter},
			{Approver: "linus", Ticket: "SEC 112", KeyID: p.linus.ID(), From: g.NotBefore, Until: g.NotAfter, KeyUntil: keyEnds},
		},
		Threshold: 2,
		Config:    g.ConfigDigest,
		TrustRoot: trust.Digest(),
		Grant: audit.Grant{
			Digest:    g.GrantDigest(),
			Topics:    []string{"customers"},
			Functions: g.HostFunctions,
			Keys:      []string{"pseudonyms"},
			Routes:    []string{"quarantine"},
			Limits:    audit.Limits{MemoryBytes: 32 << 20, DeadlineMS: 30, OutputBytes: 1 << 20, Instances: 2},
			From:      g.NotBefore,
			Until:     now.Add(20 * time.Minute),
		},
		Topics:  []string{"customers"},
		Imports: g.HostFunctions,
		Until:   now.Add(20 * time.Minute),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the entry says\n%+v, not\n%+v", got, want)
	}
	if e := r.entries[0]; e.Subject != "b" || e.Module != (audit.ModuleRef{Name: "gdpr", Digest: g.ModuleDigest}) || e.Revision != a.Policy.Revision() {
		t.Errorf("the entry is about %+v", e)
	}
	if b := set.Bindings[0].Grant; b.GrantDigest != g.GrantDigest() || b.PolicyRevision != a.Policy.Revision() {
		t.Error("what decisions hold does not lead to the entry")
	}
}
