package disk

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Scratch is a directory for files that are worth nothing once the process has
// ended. It is closed to other users, and locked while it is in use, so that
// OpenScratch can tell those that killed processes left behind.
type Scratch struct {
	Dir  string
	lock *os.File // the directory itself; the kernel gives its lock back with the process
}

// scratchAge is how long a directory is left alone that nobody has locked: its
// owner may be about to.
const scratchAge = time.Minute

// OpenScratch makes a directory below the system's for temporary files, whose
// name begins with prefix, and removes those of the same prefix that killed
// processes left there. What cannot be removed stays.
func OpenScratch(prefix string) (*Scratch, error) {
	sweepScratch(prefix)
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}

	lock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Scratch{dir, lock}, nil
}

// Close removes the directory with all that is in it.
func (s *Scratch) Close() error {
	return errors.Join(os.RemoveAll(s.Dir), s.lock.Close())
}

// sweepScratch removes directories with the prefix that nobody has locked and
// that are older than scratchAge.
func sweepScratch(prefix string) {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return
	}

	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < scratchAge {
			continue
		}
		lock, err := lockDir(dir)
		if err != nil {
			continue // in use, or somebody else's
		}
		_ = os.RemoveAll(dir)
		_ = lock.Close()
	}
}
