//go:build unix

package disk

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
)

// Nobody writes to the FIFO: who waits for it waits for ever.
func TestFIFOIsRefusedAndNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := Read(path, 10); !errors.Is(err, ErrNotRegular) {
		t.Errorf("read: %v", err)
	}
	if _, err := ReadPrivate(path); !errors.Is(err, ErrNotRegular) {
		t.Errorf("read as a secret: %v", err)
	}
	if _, err := fs.ReadFile(Tree(dir), "fifo"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("read in a tree: %v", err)
	}
}
