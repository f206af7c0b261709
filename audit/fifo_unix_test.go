//go:build unix

package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// Whoever can write the directory cannot hold up who reads it.
func TestSegmentThatIsNoFileIsRefused(t *testing.T) {
	dir := written(t, 5)
	name := filepath.Join(dir, "audit-00000001.wal")
	if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.VerifyChain(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("verifying: %v", err)
	}
	if _, err := audit.Open(dir, audit.Options{Key: testKey}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("opening: %v", err)
	}
}

// A sparse file takes no room on its disk, and would take hours to read.
func TestSegmentLargerThanAnyIsRefusedUnread(t *testing.T) {
	dir := written(t, 5)
	if err := os.Truncate(filepath.Join(dir, "audit-00000001.wal"), 1<<42); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.VerifyChain(dir); !errors.Is(err, audit.ErrCorrupt) || !strings.Contains(err.Error(), "no file of a log more than") {
		t.Errorf("verifying: %v", err)
	}
	if _, err := audit.Open(dir, audit.Options{Key: testKey}); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("opening: %v", err)
	}
}
