//go:build unix

package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestScratchOfKilledProcessesIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	left := filepath.Join(os.TempDir(), "guardlock-test-left")
	fresh := filepath.Join(os.TempDir(), "guardlock-test-fresh")
	other := filepath.Join(os.TempDir(), "somebody-elses")
	for _, dir := range []string{left, fresh, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	used, err := OpenScratch("guardlock-test-")
	if err != nil {
		t.Fatal(err)
	}

	longAgo := time.Now().Add(-time.Hour)
	for _, dir := range []string{left, other, used.Dir} {
		if err := os.Chtimes(dir, longAgo, longAgo); err != nil {
			t.Fatal(err)
		}
	}
	mine, err := OpenScratch("guardlock-test-")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what a killed process left is still there: %v", err)
	}
	for _, dir := range []string{fresh, other, used.Dir, mine.Dir} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}

	for _, s := range []*Scratch{used, mine} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there after its end: %v", s.Dir, err)
		}
	}
}
