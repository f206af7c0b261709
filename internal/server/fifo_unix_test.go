//go:build unix

package server

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Nobody writes to the FIFO: who waits for it waits for ever.
func TestFIFOInAPackageHoldsUpNeitherReloadNorRevocation(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	path := filepath.Join(s.dir, "m/approval.sigstore.json")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}

	s.look()
	s.expect("with a FIFO for an approval", old)

	s.trust(old)
	s.r.lookAtTrust(t.Context())
	s.expect("once it is revoked", "revoked")
}
