// Package disk reads and writes the files that a configuration or a command
// names. What is read comes from outside: it is bounded, and a file that holds a
// secret must be closed to others. What is written is there whole or not at all.
//
// Trust: a file's name is trusted, its content and its size are not.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxBytes bounds a file of users, keys, passwords or certificates.
const MaxBytes = 16 << 20

// Create creates path and refuses one that exists, so that two runs at
// the same time cannot replace each other's keys.
func Create(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// Replace writes beside path and renames: a reader sees the old content or
// the new, never a part.
func Replace(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".guardlock-*")
	if err != nil {
		return err
	}

	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}

	return nil
}

// Read reads a file that comes from outside, up to limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, limit)
}

func readAtMost(f *os.File, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", f.Name(), limit)
	}
	return content, err
}

// ReadPrivate reads a file that holds a key, a password or users, and refuses
// one that others may read: they may have. Pipes have no such others.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}

	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o); run: chmod 600 %s", path, mode.Perm(), path)
	}

	return readAtMost(f, MaxBytes)
}
