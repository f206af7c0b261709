package tree

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/disk"
)

// Approvals are the bundles that admissions of a log name by their ids, in a directory
// beside it. It is safe for concurrent use.
type Approvals struct {
	dir  string
	disk disk.System
	kept *sync.Map // paths, of those that are known to be there
}

// maxApproval bounds a bundle, as signing does.
const maxApproval = 1 << 20

var hexID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ApprovalsOf are those of the log in a directory.
func ApprovalsOf(logDir string) Approvals {
	return Approvals{filepath.Join(logDir, "objects"), disk.OS, new(sync.Map)}
}

// On are the same on another disk than disk.OS.
func (a Approvals) On(s disk.System) Approvals {
	a.disk = s
	return a
}

// path is the file of an approval: several people may sign the same statement.
func (a Approvals) path(id, key string) (string, error) {
	if !hexID.MatchString(id) {
		return "", fmt.Errorf("%.80q is no id of an approval", id)
	}
	signer := sha256.Sum256([]byte(key))
	return filepath.Join(a.dir, fmt.Sprintf("approval-%s-%x.sigstore.json", id, signer[:8])), nil
}

// Keep makes a bundle durable, unless it is there. A file with other bytes is replaced:
// it was damaged, or holds another signature by the same key under the same statement,
// and the one at hand is known to hold.
func (a Approvals) Keep(id, key string, bundle []byte) error {
	path, err := a.path(id, key)
	if err != nil {
		return err
	}
	if _, known := a.kept.Load(path); known {
		return nil
	}

	if err := a.make(path, bundle); err != nil {
		return err
	}
	a.kept.Store(path, true)
	return nil
}

// make writes a file that is not there with these bytes. One that is may have been left by
// a process that was killed before its name was durable, so the directory is flushed.
func (a Approvals) make(path string, bundle []byte) error {
	if there, err := a.disk.Read(path, int64(len(bundle))); err == nil && bytes.Equal(there, bundle) {
		return a.disk.SyncDir(a.dir)
	}

	if err := disk.MakeDirs(a.disk, filepath.Dir(a.dir), a.dir, 0o700); err != nil {
		return err
	}
	return disk.Keep(a.disk, path, bundle, 0o600)
}

// Bundle is the one with an id that a key signed, nil where it is not there.
func (a Approvals) Bundle(id, key string) ([]byte, error) {
	path, err := a.path(id, key)
	if err != nil {
		return nil, nil //nolint:nilerr // it was never kept
	}
	b, err := a.disk.Read(path, maxApproval)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// enclose appends the approvals that an admission names, as far as they are there and
// not among the others yet.
func (a Approvals) enclose(all [][]byte, leaf []byte) ([][]byte, error) {
	l, err := evidence.Parse(leaf)
	if err != nil || l.Control == nil {
		return all, err
	}

	keys := l.Control.Values(evidence.FactApprovalKey)
	for i, id := range l.Control.Values(evidence.FactApprovalID) {
		if i >= len(keys) {
			break // an approval without a key is none that was kept
		}
		b, err := a.Bundle(id, keys[i])
		if err != nil {
			return nil, fmt.Errorf("enclosing approvals: %w", err)
		}
		there := slices.ContainsFunc(all, func(have []byte) bool { return bytes.Equal(have, b) })
		if b != nil && !there {
			all = append(all, b)
		}
	}
	return all, nil
}
