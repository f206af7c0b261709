//go:build unix

package audit_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// Nobody but its owner reads a log: who produced what is in it.
func TestLogIsForItsOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := mustOpen(t, dir, audit.Options{})
	flushed(t, l)

	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if others := info.Mode().Perm() & 0o077; others != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
