package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

var testRules = ConductRules{
	ReasonsPerHour: 2,
	Suspension:     SuspensionRules{Failures: 3, Window: time.Minute, Pause: time.Second, LongestPause: 4 * time.Second},
}

// site is a binding whose module fails on values that begin with "bad", seen from
// its clients.
type site struct {
	t     *testing.T
	world *world
	grant *Grant
	ran   int
	sent  int
	said  []string // entries: outcome, client and reason
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, world: newWorld(t, openLog(t, 0))}
	s.grant = passing()
	s.grant.Modules = []audit.ModuleRef{{Name: "m"}}
	s.grant.Chain = s
	conducts := NewConducts(testRules, func(e audit.ControlEntry) {
		if e.Kind != audit.KindConduct || e.Subject != "b" || e.Module.Name != "m" {
			t.Errorf("the entry is %+v", e)
		}
		s.said = append(s.said, strings.TrimSpace(e.Outcome+" "+e.Principal)+" "+e.Reason)
	})

	conducts.Assign("main", []*Grant{s.grant})

	return s
}

func (s *site) Run(_ context.Context, b *record.Batch, _ transforms.Origin) error {
	s.ran++
	value := string(b.Bytes(b.Records[0].Value))
	switch {
	case strings.HasPrefix(value, "bad"):
		return &transforms.Error{Kind: transforms.Trap, Module: "m", Err: errors.New("unreachable")}
	case strings.HasPrefix(value, "late"):
		return context.Canceled
	}

	return nil
}

// sends sends a batch of a client and returns why it was refused, or nothing. The
// same value is the same batch.
func (s *site) sends(client, value string) string {
	s.t.Helper()
	in := s.world.input(plain(value), s.grant)
	in.Client = Client{Principal: client, Source: "192.0.2.1"}

	d, err := s.world.pipeline.Decide(s.t.Context(), in)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.why.reason
}

// fails sends n batches that no other is like, and wants each to fail.
func (s *site) fails(client string, n int) {
	s.t.Helper()
	for range n {
		s.sent++
		if got := s.sends(client, fmt.Sprint("bad ", s.sent)); got != "trap" {
			s.t.Fatalf("%s was told %q, want trap", client, got)
		}
	}
}

// refused wants a batch to be refused without being run.
func (s *site) refused(client, value string) {
	s.t.Helper()
	before := s.ran
	if got := s.sends(client, value); got != "module_suspended" || s.ran != before {
		s.t.Fatalf("%s was told %q, and modules ran %d times", client, got, s.ran-before)
	}
}

func (s *site) passes(client string) {
	s.t.Helper()
	if got := s.sends(client, "good"); got != "" {
		s.t.Fatalf("%s was told %q", client, got)
	}
}

func (s *site) wants(entries ...string) {
	s.t.Helper()
	if got := strings.Join(s.said, "; "); got != strings.Join(entries, "; ") {
		s.t.Errorf("the entries are\n  %s, want\n  %s", got, strings.Join(entries, "; "))
	}
}

func TestClientWhoseBatchesKeepFailingIsSuspendedAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.fails("User:eve", 3)
		s.refused("User:eve", "good")
		s.passes("User:ada")
		s.wants("suspended User:eve trap")

		time.Sleep(time.Second)
		s.passes("User:eve")
		s.passes("User:eve")
		s.wants("suspended User:eve trap", "lifted User:eve worked")
	})
}

func TestPauseDoublesWithEachTrialThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.fails("User:eve", 3)
		for _, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
			time.Sleep(pause - time.Millisecond)
			s.refused("User:eve", "bad")
			time.Sleep(time.Millisecond)
			s.fails("User:eve", 1)
		}

		time.Sleep(4 * time.Second)
		s.passes("User:eve")

		// Whoever goes on as before waits as long as before.
		s.fails("User:eve", 3)
		time.Sleep(4*time.Second - time.Millisecond)
		s.refused("User:eve", "good")
		s.wants("suspended User:eve trap", "lifted User:eve worked", "suspended User:eve trap")
	})
}

func TestModuleThatFailsForSeveralClientsIsSuspendedForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.fails("User:eve", 2)
		s.fails("User:mallory", 1)
		s.wants("suspended trap")

		for _, client := range []string{"User:eve", "User:mallory", "User:ada"} {
			s.refused(client, "good")
		}

		// Those who did not fail are asked first.
		time.Sleep(time.Second)
		s.refused("User:eve", "bad")
		s.passes("User:ada")
		s.passes("User:mallory")
		s.wants("suspended trap", "lifted worked")
	})
}

// Two clients that fail on purpose, with good batches in between for themselves,
// hold up the others for the shortest pause each time and not for the longest.
func TestPurposefulFailuresDoNotLengthenThePauseOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range 5 {
			for range 10 {
				s.passes("User:eve")
				s.passes("User:mallory")
			}
			s.fails("User:eve", 2)
			s.fails("User:mallory", 1)
			s.refused("User:ada", "good")
			time.Sleep(time.Second)
			s.passes("User:ada")
		}
	})
}

func TestAnyBatchThatComesThroughKeepsTheBindingForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range 3 {
			s.fails("User:eve", 1)
			s.fails("User:mallory", 1)
			s.passes("User:ada")
		}
		s.wants("suspended User:eve trap", "suspended User:mallory trap")
	})
}

func TestTheSameBatchSentAgainIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range maxAttempts {
			s.sends("User:eve", "bad one")
			s.sends("User:eve", "bad two")
		}

		s.passes("User:eve")
		s.wants()

		s.sends("User:eve", "bad one") // no producer goes on for so long
		s.refused("User:eve", "good")
		s.wants("suspended User:eve trap")
	})
}

func TestOldFailuresAndThoseOfTheGatewayDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.fails("User:eve", 2)
		time.Sleep(time.Minute + time.Second)
		s.fails("User:eve", 2)

		for range 5 {
			s.sends("User:eve", "late")
		}
		s.passes("User:eve")
		s.wants()

		time.Sleep(2 * time.Minute)
		s.passes("User:eve")
		if s.grant.Conduct.failures.troubled.Load() {
			t.Error("what is over is not forgotten")
		}
	})
}

func TestTrialThatSaysNothingIsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.fails("User:eve", 3)
		time.Sleep(time.Second)
		if got := s.sends("User:eve", "late"); got != "shutting_down" {
			t.Fatalf("told %q", got)
		}
		s.passes("User:eve")
	})
}

func TestClientsWithoutPrincipalAreTheirSources(t *testing.T) {
	for _, c := range []struct{ a, b Client }{
		{Client{Principal: Anonymous, Source: "192.0.2.1"}, Client{Principal: Anonymous, ID: "other", Source: "192.0.2.1"}},
		{Client{Principal: Anonymous, Source: "2001:db8::1"}, Client{Principal: Anonymous, Source: "2001:db8::2"}},
		{Client{Principal: "User:eve", Source: "192.0.2.1"}, Client{Principal: "User:eve", Source: "192.0.2.2"}},
	} {
		if c.a.party() != c.b.party() {
			t.Errorf("%+v and %+v count as two", c.a, c.b)
		}
	}
	if a, b := (&Client{Principal: Anonymous, Source: "192.0.2.1"}), (&Client{Principal: Anonymous, Source: "192.0.2.2"}); a.party() == b.party() {
		t.Error("two sources count as one client")
	}
}

func TestManyFailingClientsTakeBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for n := range 2 * maxSuspects {
			s.passes("User:ada") // so that the binding stays open
			for range 3 {
				s.fails(fmt.Sprint("User:", n), 1)
				s.passes("User:ada")
			}
		}

		if n := len(s.grant.Conduct.failures.suspects); n > maxSuspects {
			t.Errorf("%d clients are remembered", n)
		}
		if begun, over := strings.Count(strings.Join(s.said, " "), "suspended "), strings.Count(strings.Join(s.said, " "), "forgotten"); begun-over != maxSuspects {
			t.Errorf("%d suspensions began, %d are over", begun, over)
		}
	})
}

func TestConductOutlivesReloadsOfTheSameModules(t *testing.T) {
	conducts := NewConducts(testRules, func(audit.ControlEntry) {})
	next := func(digest byte, chain Transformer) *Conduct {
		g := passing()
		g.Chain = chain
		g.GrantDigest = [32]byte{digest}
		conducts.Assign("main", []*Grant{g})
		return g.Conduct
	}

	first := next(1, rejectAll)
	next(0, nil) // for a while it may not run
	if next(1, rejectAll) != first {
		t.Error("a reload forgets the failures")
	}

	other := next(2, rejectAll)
	if other == first || other.reasons != first.reasons {
		t.Error("another approval must begin without failures, and with the reasons of the hour")
	}

	var none *Conduct
	if _, may := none.begin(&Client{}, batchKey{}); !may {
		t.Error("nothing to go by refuses")
	}
}

func TestReasonsBeyondTheLimitAreOneForTheRestOfTheHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.grant.Reasons = [][]string{{unspecified, "m.a", "m.b", "m.c"}}
		says := func(reason uint16) string {
			return s.grant.reason(&record.Record{Reason: reason}, time.Now())
		}
		for range 2 {
			for reason, want := range []string{unspecified, "m.a", "m.b", "reason_limit"} {
				if got := says(uint16(reason)); got != want {
					t.Errorf("reason %d is recorded as %s, want %s", reason, got, want)
				}
			}
		}

		s.wants("reasons_capped reason_limit")

		time.Sleep(time.Hour)
		if got := says(3); got != "m.c" {
			t.Errorf("in the next hour it is %s", got)
		}
	})
}
