// Package disk reads and writes the files that a configuration or a command
// names. What is written is there whole or not at all.
//
// What is read comes from outside, and a file may be meant to do harm: only
// regular files are opened, never waiting for one (a FIFO would hold its reader
// up for ever); no more is read than a limit (a sparse file of a terabyte takes
// no room on its disk); and a Reader gives up on a file whose disk does not
// answer. A file that holds a secret must be closed to others.
//
// Trust: a file's name is trusted; its kind, its size and its content are not.
package disk

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MaxBytes bounds a configuration and each file of users, keys, passwords or
// certificates, far above what any of them holds in honest use. Who reads
// something larger, as a module, gives a limit of its own.
const MaxBytes = 16 << 20

// Create creates path and refuses one that exists, so that two runs at
// the same time cannot replace each other's keys. A crash leaves the whole file or none.
func Create(path string, content []byte, mode os.FileMode) error {
	exists := &fs.PathError{Op: "open", Path: path, Err: syscall.EEXIST} // as the system says it
	if _, err := os.Lstat(path); err == nil {
		return exists
	}

	beside := filepath.Join(filepath.Dir(path), Unfinished+rand.Text())
	defer os.Remove(beside) //nolint:errcheck // it is one name of two, or of a file that failed
	err := write(beside, content, mode)
	var failed *fs.PathError
	if errors.As(err, &failed) {
		failed.Path = path // nobody knows the other name
	}
	if err != nil {
		return err
	}

	err = os.Link(beside, path)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exists
	case err != nil: // a file system without hard links
		return write(path, content, mode)
	}
	return nil
}

// write makes a file that is not there, and flushes it.
func write(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// Unfinished begins the names of files that Replace has not finished. A process that
// is killed leaves them behind.
const Unfinished = ".guardlock-"

// Replace writes beside path and renames: a reader sees the old content or
// the new, never a part.
func Replace(path string, content []byte, mode os.FileMode) error {
	return replace(OS, path, content, mode)
}

// LockDir locks a directory for as long as what it returns is open. It fails at once
// where another process has locked it.
func LockDir(dir string) (*os.File, error) { return lockDir(dir) }

// SyncDir makes what was created, renamed or removed in a directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
