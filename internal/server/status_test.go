package server

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/config"
)

// What is refused is told with its reason, what is behind it and what helps, whether
// it was refused when it was read or taken out of service since.
func TestStatusSaysWhatIsRefusedAndWhatHelps(t *testing.T) {
	s := loaded(t, oneModule)
	began := s.clock
	look := func() (refused, problem, cure string, since time.Time) {
		b := s.r.explain().status(s.clock).Bindings[0]
		return b.Refused, b.Problem, b.Cure, b.Since
	}

	b := s.r.explain().status(s.clock).Bindings[0]
	if b.Refused != "" || b.Cure != "" || len(b.Modules) != 1 || !b.Since.Equal(began) {
		t.Fatalf("what runs is told as %+v", b)
	}
	m := b.Modules[0]
	if m.Author != "ada" || len(m.Approvals) != 1 || m.Approvals[0].Approver != "grace" || !m.Approvals[0].Until.Equal(b.Until) {
		t.Errorf("the module is told as %+v", m)
	}
	if ends := s.r.explain().ends(); len(ends) != 4 || ends[0].At.After(ends[3].At) {
		t.Errorf("the ends are %+v", ends)
	}

	s.clock = s.clock.Add(time.Minute)
	if err := s.r.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, since := look(); !since.Equal(began) {
		t.Errorf("what is as it was is told to be so since %s", since)
	}

	_, digest := version("uppercase")
	s.trust(digest)
	if err := s.r.loadTrust(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.r.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused, problem, cure, since := look()
	if refused != "revoked" || problem == "" || cure == "" || !since.Equal(s.clock) {
		t.Errorf("what is revoked is told as %q, %q, %q, since %s", refused, problem, cure, since)
	}
	if got := s.on("one"); got != refused {
		t.Errorf("%s is served, and %s told", got, refused)
	}
	if cl := s.r.explain().status(s.clock).Clusters; len(cl) != 1 || cl[0].Name != config.MainCluster {
		t.Errorf("the clusters are %+v", cl)
	}
}

// Cures are for reasons that there are.
func TestCuresAreForReasonsThatAreExplained(t *testing.T) {
	reasons, err := os.ReadFile("../../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	for code := range cures {
		if !strings.Contains(string(reasons), "`"+code+"`") {
			t.Errorf("%s is not in docs/reasons.md", code)
		}
	}
}
