package audit_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// written is a closed log of n batches, and its directory.
func written(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	grow(t, dir, n)
	return dir
}

func grow(t *testing.T, dir string, n int) {
	t.Helper()
	l := mustOpen(t, dir, audit.Options{})
	for range n {
		mustAppend(t, l, batchOf("cards", 0, 10), nil)
	}
	mustClose(t, l)
}

func headOf(t *testing.T, dir string) *audit.Head {
	t.Helper()
	report, err := audit.VerifyChain(dir)
	if err != nil {
		t.Fatal(err)
	}

	head, err := audit.ParseHead(report.Head)
	if err != nil {
		t.Fatal(err)
	}
	return &head
}

// A log that was cut short looks whole without its mark, and an emptied
// directory like a log of nothing: neither is called intact.
func TestWhatIsMissingIsNotIntact(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(dir string) error
		want error
	}{
		"mark deleted": {func(dir string) error { return os.Remove(filepath.Join(dir, "committed")) }, audit.ErrNoMark},
		"mark torn":    {func(dir string) error { return os.Truncate(filepath.Join(dir, "committed"), 20) }, audit.ErrNoMark},
		"emptied": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "committed")), os.Remove(filepath.Join(dir, "audit-00000001.wal")))
		}, fs.ErrNotExist},
	} {
		dir := written(t, 5)
		if err := c.harm(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.VerifyChain(dir); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// A head that was kept is in the log for as long as nobody rewrites what came
// before it.
func TestLogGoesThroughTheHeadThatWasKept(t *testing.T) {
	dir := written(t, 5)
	kept := headOf(t, dir)
	grow(t, dir, 5)

	if _, err := audit.VerifyWith(t.Context(), dir, audit.Known{Head: kept}); err != nil {
		t.Errorf("a log that grew: %v", err)
	}

	rewritten := written(t, 12) // the same entries under another log's marker
	if _, err := audit.VerifyWith(t.Context(), rewritten, audit.Known{Head: kept}); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("a log that was made anew: %v", err)
	}

	for _, text := range []string{"", "5", "0:" + strings.Repeat("00", 32), "5:xx", "5:" + strings.Repeat("00", 31), "-1:" + strings.Repeat("00", 32)} {
		if h, err := audit.ParseHead(text); err == nil {
			t.Errorf("%q reads as %v", text, h)
		}
	}
}
