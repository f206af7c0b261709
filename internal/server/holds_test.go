package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/disk"
)

// TestLogSaysWhichHoldsWereAddedAndLifted: once each, also over a restart; and where the
// file is gone that has them, the gateway says so, and nothing is pruned.
func TestLogSaysWhichHoldsWereAddedAndLifted(t *testing.T) {
	s, cfg, log := opened(t)

	dir := cfg.File(cfg.Audit.Dir)
	files := audit.FilesIn(dir)
	key, err := disk.ReadKey(cfg.File(cfg.Audit.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	keys := [][32]byte{key}

	told := func() (rows []string) {
		t.Helper()
		r, err := query.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for d, err := range r.Query(t.Context(), query.Filter{Kinds: []audit.Kind{audit.KindHold}}) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, strings.Join([]string{d.Outcome, d.Control.Subject, d.Control.Principal, d.Reason}, " "))
		}
		return rows
	}

	h := s.holds()
	s.lookBeside(t.Context(), h)
	if got := told(); len(got) != 0 {
		t.Fatalf("without holds: %q", got)
	}

	at := time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)
	if _, err := audit.AddHold(files, keys, audit.Hold{Topic: "payments", Reason: "case 1", By: "ada", Added: at}); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.AddHold(files, keys, audit.Hold{Topic: "cards", Reason: "case 2", By: "bob", Added: at}); err != nil {
		t.Fatal(err)
	}
	s.lookBeside(t.Context(), h)
	s.lookBeside(t.Context(), h)
	if _, err := audit.LiftHold(files, keys, "2", audit.Lift{Reason: "closed", By: "eve", Time: at}); err != nil {
		t.Fatal(err)
	}
	s.lookBeside(t.Context(), h)
	s.lookBeside(t.Context(), s.holds()) // as a gateway that starts

	if _, err := audit.AddHold(files, keys, audit.Hold{Topic: "orders", Reason: "case 3", By: "ada", Added: at}); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.LiftHold(files, keys, "3", audit.Lift{Reason: "by mistake", By: "ada", Time: at}); err != nil {
		t.Fatal(err)
	}
	s.lookBeside(t.Context(), h)
	s.lookBeside(t.Context(), s.holds())

	want := "held payments ada case 1, held cards bob case 2, hold_lifted cards eve closed, held orders ada case 3, hold_lifted orders ada by mistake"
	if got := strings.Join(told(), ", "); got != want {
		t.Errorf("the log says %q, want %q", got, want)
	}
	if log.String() != "" && strings.Contains(log.String(), "legal holds") {
		t.Errorf("an alarm without cause: %s", log)
	}

	if err := os.Remove(filepath.Join(dir, audit.HoldsName)); err != nil {
		t.Fatal(err)
	}
	s.lookBeside(t.Context(), h)
	s.lookBeside(t.Context(), h)
	if n := strings.Count(log.String(), "a legal hold is missing that the log says was added"); n != 1 {
		t.Errorf("the missing file was told %d times: %s", n, log)
	}
	_, err = audit.Prune(t.Context(), dir, audit.Pruning{Cut: audit.Cut{Segment: 2}, Keys: keys, Now: at})
	if err == nil || !strings.Contains(err.Error(), `hold 1 of topic "payments"`) {
		t.Errorf("pruning: %v", err)
	}
}
