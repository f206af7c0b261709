package tree_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/audit/segment/segmenttest"
	"github.com/guardlock/guardlock/audit/tree"
)

// Whoever may write all files of the decision log and its audit key is unknown, but not
// the log key, is found by the checkpoint alone: nobody needs the audit key for it, and
// no gateway begins on such a log.
func TestForgedLogDoesNotFitItsCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		fits bool // what takes no key to check does not find it
		harm func(t *testing.T, dir string)
	}{
		"reason and principal rewritten": {true, func(t *testing.T, dir string) {
			(&segmenttest.Forgery{Dir: dir, Replace: map[string]string{"User:alice": "User:mably", "gdpr.masked": "gdpr.passed"}}).Run(t)
		}},
		"cut, with the mark rewritten": {true, func(t *testing.T, dir string) { (&segmenttest.Forgery{Dir: dir, Frames: 2}).Run(t) }},
		"tail zeroed":                  {false, func(t *testing.T, dir string) { segmenttest.ZeroTail(t, dir) }},
		"tail zeroed, with the mark rewritten": {true, func(t *testing.T, dir string) {
			segmenttest.ZeroTail(t, dir)
			(&segmenttest.Forgery{Dir: dir}).Run(t)
		}},
		"made anew without tags": {true, func(t *testing.T, dir string) {
			(&segmenttest.Forgery{Dir: dir, Version: segment.Untagged, Replace: map[string]string{"User:alice": "User:mably"}}).Run(t)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, audit.Options{})
			s.admit()
			for i := range 5 {
				s.produce(int64(3 * i))
			}
			s.flush()
			s.checkpoint()
			if err := s.log.Close(); err != nil {
				t.Fatal(err)
			}

			dir := filepath.Join(s.dir, "audit")
			if _, err := checked(t, s, dir); err != nil {
				t.Fatalf("before: %v", err)
			}
			c.harm(t, dir)
			if _, err := audit.VerifyChain(dir); (err == nil) != c.fits {
				t.Fatalf("the chain alone: %v", err)
			}
			if n, err := checked(t, s, dir); !errors.Is(err, tree.ErrRolledBack) && !errors.Is(err, audit.ErrCorrupt) {
				t.Errorf("%d entries are checked: %v", n, err)
			}

			r, err := audit.OpenReader(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tree.Open(t.Context(), r, s.opt); err == nil {
				t.Error("a gateway would go on with it")
			}
		})
	}
}

// checked holds the log in dir against the site's checkpoint, without the audit key.
func checked(t *testing.T, s *site, dir string) (int64, error) {
	t.Helper()
	r, err := audit.OpenReader(dir)
	if err != nil {
		return 0, err
	}
	p, err := tree.OpenProver(s.opt.Dir, r)
	if err != nil {
		return 0, err
	}
	return p.Check(t.Context())
}
