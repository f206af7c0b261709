package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/config"
)

// within is oneModule with bounds for the trust root, which are short: approvals of
// sites end within the hour.
func within(bounds string) string {
	return strings.Replace(oneModule, "{root: trust.json}", "{root: trust.json, "+bounds+"}", 1)
}

// later is what watchTrust does after a while.
func (s *site) later(d time.Duration) {
	s.t.Helper()
	s.clock = s.clock.Add(d)
	s.r.lookAtTrust(s.t.Context())
	s.r.judgeTrust(s.t.Context())
}

// written makes the trust root's file one that was written at a time.
func (s *site) written(at time.Time) {
	s.t.Helper()
	if err := os.Chtimes(filepath.Join(s.dir, "trust.json"), at, at); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) says(text string) int { return strings.Count(s.log.String(), text) }

const (
	aboutTo = "the trust root is about to be too old"
	tooOld  = "THE TRUST ROOT IS TOO OLD"
)

// A trust root that is gone, or cannot be read as one, is waited for; then modules
// stop, and go on once it is back.
func TestModulesStopWhenTheTrustRootIsGoneForTooLong(t *testing.T) {
	for _, how := range []string{"gone", "broken", "a directory"} {
		s := loaded(t, within("max_outage: 1m"))
		_, digest := version("uppercase")
		path := filepath.Join(s.dir, "trust.json")
		s.later(20 * time.Minute)
		s.expect("while it is there", digest)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if how == "broken" {
			s.write("trust.json", []byte("{"))
		}
		if how == "a directory" {
			s.write("trust.json/file", nil)
		}

		s.later(30 * time.Second)
		s.expect(how+" for half a minute", digest)
		if usable, until, ok := s.r.trustState(); usable || !ok || until.Sub(s.clock) != 30*time.Second {
			t.Errorf("%s: operators are told %v until %s, at %s", how, usable, until, s.clock)
		}
		if n := s.says(aboutTo); n != 0 {
			t.Errorf("%s: it is warned %d times half a minute before", how, n)
		}

		s.later(20 * time.Second)
		s.expect(how+" for fifty seconds", digest)
		s.later(time.Millisecond)
		if n := s.says(aboutTo); n != 1 {
			t.Errorf("%s: it is warned %d times", how, n)
		}

		s.later(10 * time.Second)
		s.expect(how+" for a minute", staleCode)
		s.look()
		s.expect(how+", after a reload", staleCode)
		if !s.record.has(audit.KindConfig, "guardlock.yaml", "refused", "unreadable") || s.says(tooOld) != 1 {
			t.Errorf("%s: nobody is told:\n%s", how, s.log.String())
		}

		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		s.trust()
		s.later(time.Second)
		s.expect("once it is back", digest)
		s.trust(digest)
		s.later(time.Second)
		s.expect("when it revokes", "revoked")
	}
}

// What comes back with a revocation does not let the module in for a moment.
func TestTrustRootThatComesBackRevokesAtOnce(t *testing.T) {
	s := loaded(t, within("max_outage: 1m"))
	_, digest := version("uppercase")
	if err := os.Remove(filepath.Join(s.dir, "trust.json")); err != nil {
		t.Fatal(err)
	}
	s.later(2 * time.Minute)
	s.expect("after two minutes", staleCode)

	s.trust(digest)
	s.r.lookAtTrust(t.Context())
	s.expect("with the first look", "revoked")
}

// Whoever writes the file again vouches that it is the newest. A clock that is ahead
// buys no time.
func TestModulesStopWhenTheTrustRootIsOld(t *testing.T) {
	s := loaded(t, within("max_age: 1m"))
	_, digest := version("uppercase")
	for range 3 {
		s.written(s.clock)
		s.later(30 * time.Second)
		s.expect("while it is written again", digest)
	}

	s.later(29 * time.Second)
	s.expect("a minute later, almost", digest)
	if s.says(aboutTo) == 0 {
		t.Error("nobody is warned")
	}
	s.later(2 * time.Second)
	s.expect("a minute later", staleCode)

	s.written(s.clock.Add(1000 * time.Minute))
	s.later(0)
	s.expect("written in the future", digest)
	s.later(5 * time.Minute)
	s.expect("which is no time at all", digest) // it is seen anew at each look
	s.written(s.clock.Add(-2 * time.Minute))
	s.later(0)
	s.expect("written two minutes ago", staleCode)
}

// A gateway that starts with an old trust root does not serve by it for a moment.
func TestOldTrustRootIsRefusedFromTheStart(t *testing.T) {
	s := newSite(t, within("max_age: 1m"))
	s.written(s.clock.Add(-2 * time.Minute))
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect("from the start", staleCode)
}

func TestWithoutBoundsTheTrustRootMayBeGoneForEver(t *testing.T) {
	s := loaded(t, oneModule)
	_, digest := version("uppercase")
	if err := os.Remove(filepath.Join(s.dir, "trust.json")); err != nil {
		t.Fatal(err)
	}
	s.later(20 * time.Minute)
	s.expect("much later", digest)
}

func TestTheSoonerBoundHolds(t *testing.T) {
	at := time.Now()
	f := freshness{usable: at, written: at.Add(-time.Minute)}
	for _, c := range []struct {
		trust config.Trust
		left  time.Duration
	}{
		{config.Trust{MaxOutage: time.Second, MaxAge: 2 * time.Minute}, time.Second},
		{config.Trust{MaxOutage: 3 * time.Minute, MaxAge: 2 * time.Minute}, time.Minute},
		{config.Trust{MaxAge: 2 * time.Minute}, time.Minute},
		{config.Trust{MaxOutage: time.Second}, time.Second},
	} {
		if got := f.until(c.trust).Sub(at); got != c.left {
			t.Errorf("%+v: %s are left, want %s", c.trust, got, c.left)
		}
	}
	if !f.until(config.Trust{}).IsZero() {
		t.Error("there is an end without a bound")
	}
}
