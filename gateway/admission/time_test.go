package admission_test

import (
	"context"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
)

// twoMust is a policy that wants two people, where the trust root is content with one.
const twoMust = `{"allow": count(input.module.approvers) >= 2, "reasons": [r | count(input.module.approvers) < 2; r := "one_is_too_few"],
	"host_functions": input.module.imports, "limits": limits, "valid_until": input.grant.not_after}`

// clocked is one module under policy twoMust, and a clock that can be set.
type clocked struct {
	t        *testing.T
	now      time.Time
	admitter *admission.Admitter
	record   *recorder
	people   people
	modules  map[string]admission.Module
	set      *admission.Set
}

func newClocked(t *testing.T, decision string) *clocked {
	t.Helper()
	c := &clocked{t: t, now: now, people: newPeople()}
	a, r := admitter(t, c.people.root(1), decision)
	c.record = r
	c.admitter = a
	a.Now = func() time.Time { return c.now }

	wasm, config := gdpr()
	pkg := c.people.signed(t, wasm, config)
	long := grant(wasm, config)
	long.NotAfter = now.Add(2 * time.Hour)
	pkg.Approvals = append(pkg.Approvals, must(signing.Approve(t.Context(), long, c.people.linus)))
	c.modules = map[string]admission.Module{"gdpr": {Name: "gdpr", Package: pkg}}
	t.Cleanup(func() {
		if c.set != nil {
			c.set.Close(context.WithoutCancel(t.Context()))
		}
	})

	return c
}

// build is what a reload does; the next one is another admitter's.
func (c *clocked) build(change func(*admission.Admitter)) {
	c.t.Helper()
	a := *c.admitter
	if change != nil {
		change(&a)
	}

	c.admitter = &a

	set := must(a.Build(c.t.Context(), []admission.Rule{rule("b", "gdpr")}, c.modules))
	if c.set != nil {
		c.set.Close(c.t.Context())
	}
	c.set = set
}

// why is the reason why the binding refuses; "" is none.
func (c *clocked) why() string { return c.set.Bindings[0].Grant.Why }

// The first of two approvals ends. One is enough for the trust root and not for the
// policy, which is asked again. The clock is set forward and back.
func TestAGrantIsJudgedAgainWheneverThoseWhoCountChange(t *testing.T) {
	c := newClocked(t, twoMust)
	c.build(nil)
	ends := now.Add(time.Hour)
	if g := c.set.Bindings[0].Grant; c.why() != "" || !g.ValidUntil.Equal(ends) || !c.set.Until.Equal(ends) {
		t.Fatalf("with both approvals: %q until %v", c.why(), g.ValidUntil)
	}

	for _, step := range []struct {
		at  time.Duration
		why string
	}{
		{time.Hour, "one_is_too_few"},
		{0, ""},
		{90 * time.Minute, "one_is_too_few"},
		{2 * time.Hour, "expired"},
		{-2 * time.Hour, "not_yet_valid"},
		{time.Minute, ""},
	} {
		c.now = now.Add(step.at)
		if c.set.Current(c.now) {
			t.Errorf("after %v nobody would judge again", step.at)
		}

		c.build(nil)
		if c.why() != step.why || !c.set.Current(c.now) {
			t.Errorf("after %v: %q, want %q; current: %v", step.at, c.why(), step.why, c.set.Current(c.now))
		}
	}
}

// unanswering is a policy that gives no answer in time, of another revision each.
func unanswering(t *testing.T, revision string) *policy.Engine {
	t.Helper()
	return must(policy.LoadWith(t.Context(), fstest.MapFS{"policy.rego": {Data: []byte("package guardlock.module\n# " + revision + "\ndecision := " + breaks + "\n")}},
		policy.Options{Timeout: time.Nanosecond}))
}

// A policy that could not be asked is no verdict: what still holds goes on, and only
// as long as it holds.
func TestWhatHoldsGoesOnWhileThePolicyCannotBeAsked(t *testing.T) {
	c := newClocked(t, allows)
	c.build(nil)
	chain := c.set.Bindings[0].Grant.Modules

	c.build(func(a *admission.Admitter) { a.Policy = unanswering(t, "1") })
	g := c.set.Bindings[0].Grant
	if c.why() != "" || g.Chain == nil || g.Modules[0] != chain[0] || !g.ValidUntil.Equal(now.Add(time.Hour)) || !undecided(c.set) || len(c.set.Kept) != 1 {
		t.Fatalf("it does not go on: %q, kept %v", c.why(), c.set.Kept)
	}
	if e := c.record.entries[len(c.record.entries)-1]; e.Outcome != "undecided" || e.Reason != "policy_unavailable" {
		t.Errorf("the log says %+v", e)
	}

	recorded := len(c.record.entries)
	c.build(nil)
	if len(c.record.entries) != recorded {
		t.Error("each attempt is recorded")
	}

	c.now = now.Add(time.Hour)
	c.build(nil)
	if c.why() != "policy_unavailable" || c.set.Bindings[0].Grant.Refusal != audit.OutcomeUnavailable || !undecided(c.set) {
		t.Errorf("past its end: %q", c.why())
	}

	c.now = now
	c.build(func(a *admission.Admitter) { a.Policy = engine(t, denies) })
	if c.why() != "not_today" || undecided(c.set) {
		t.Errorf("once the policy answers: %q", c.why())
	}
}

func TestWhatIsRevokedDoesNotGoOnWhileThePolicyCannotBeAsked(t *testing.T) {
	c := newClocked(t, allows)
	c.build(nil)
	wasm, _ := gdpr()
	c.build(func(a *admission.Admitter) {
		a.Policy = unanswering(t, "1")
		a.Trust = c.people.root(1, digestOf(wasm))
	})

	if c.why() != "revoked" || undecided(c.set) {
		t.Errorf("it goes on: %q", c.why())
	}
}

func TestWhereNothingHoldsYetAnUnansweredQuestionIsNoRefusal(t *testing.T) {
	c := newClocked(t, allows)
	c.build(func(a *admission.Admitter) { a.Policy = unanswering(t, "1") })
	if g := c.set.Bindings[0].Grant; g.Chain != nil || g.Refusal != audit.OutcomeUnavailable || c.why() != "policy_unavailable" || !undecided(c.set) {
		t.Errorf("got %+v", g)
	}
}

// undecided reports whether somebody could not be asked.
func undecided(s *admission.Set) bool {
	return len(s.Kept) > 0 || slices.ContainsFunc(s.Refusals, func(r *admission.Refusal) bool { return r.Undecided() })
}
