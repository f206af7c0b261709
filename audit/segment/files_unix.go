//go:build unix

package segment

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A reader's probe holds the lock for an instant; Open must not fail for it.
const (
	lockTries = 40
	lockPause = 25 * time.Millisecond
)

func lockExclusive(f *os.File) error {
	for try := 1; ; try++ {
		err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("locking: %w", err)
		}
		if try == lockTries {
			return ErrLocked
		}

		time.Sleep(lockPause)
	}
}

// probeLock reports whether a gateway holds the lock, by taking a shared one
// for an instant.
func probeLock(f *os.File) (bool, error) {
	err := flock(f, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("probing lock: %w", err)
	}

	return false, flock(f, unix.LOCK_UN)
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// identity tells a file apart from all others for as long as it is open.
type identity struct {
	dev, ino uint64
}

func identityOf(f *os.File) (identity, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return identity{}, fmt.Errorf("asking which file was opened: %w", err)
	}
	return identity{uint64(s.Dev), s.Ino}, nil
}

// leadsTo reports whether path leads to the open file that has an identity.
func leadsTo(path string, id identity) (bool, error) {
	var s unix.Stat_t
	err := unix.Stat(path, &s)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && identity{uint64(s.Dev), s.Ino} == id, err
}
