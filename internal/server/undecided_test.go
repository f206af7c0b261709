package server

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guardlock/guardlock/policy"
)

// One evaluation that takes too long is told, asked again after a pause, and stops
// nothing meanwhile.
func TestPolicyThatCannotBeAskedStopsNothingAndIsAskedAgain(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	whole := s.r.work.policy
	s.r.work.policy = must(policy.LoadWith(t.Context(), fstest.MapFS{"m.rego": {Data: []byte("package guardlock.module\ndecision := 1\n")}},
		policy.Options{Timeout: time.Nanosecond}))

	s.trust("0000000000000000000000000000000000000000000000000000000000000000")
	s.r.lookAtTrust(t.Context())
	s.look()
	s.expect("while the policy does not answer", old)

	if text := s.log.String(); strings.Count(text, "NOT DECIDED") != 1 || !strings.Contains(text, "policy_unavailable") {
		t.Errorf("the alarm is not told once:\n%s", text)
	}

	s.r.work.policy = whole
	s.clock = s.clock.Add(firstPause)
	s.look()
	s.expect("once it answers", old)

	if !strings.Contains(s.log.String(), "everybody could be asked again") {
		t.Error("the end of the alarm is not told")
	}
}

// A clock that is set judges again, forward and back.
func TestGrantIsJudgedAgainWhenTheClockIsSet(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	s.expect("at first", old)

	s.clock = s.clock.Add(2 * time.Hour)
	s.look()
	s.expect("past the end of the approval", "expired")

	s.clock = s.clock.Add(-2 * time.Hour)
	s.look()
	s.expect("with the clock set back", old)
}
