package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// System is where files lie that must outlast a crash. It has those steps of writing
// them after each of which a process may be killed, so that a test can fail each in turn
// and forget what was not flushed.
type System interface {
	// Exists reports whether there is a file or a directory at path.
	Exists(path string) (bool, error)
	// Read is the function Read.
	Read(path string, limit int64) ([]byte, error)
	// Mkdir makes one directory; one that exists is an error.
	Mkdir(path string, mode os.FileMode) error
	// CreateTemp makes a file with a new name in a directory, as os.CreateTemp does.
	CreateTemp(dir, pattern string) (TempFile, error)
	// Rename takes the place of what has the new name.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// SyncDir makes what was created, renamed or removed in a directory durable.
	SyncDir(dir string) error
}

// TempFile is a file that is written once.
type TempFile interface {
	io.WriteCloser
	Name() string
	Chmod(mode os.FileMode) error
	// Sync makes what was written durable. The file's name becomes so by SyncDir alone.
	Sync() error
}

// OS is the system that the program runs on.
var OS System = osSystem{}

type osSystem struct{}

func (osSystem) Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (osSystem) Read(path string, limit int64) ([]byte, error) { return Read(path, limit) }

func (osSystem) Mkdir(path string, mode os.FileMode) error { return os.Mkdir(path, mode) }

func (osSystem) CreateTemp(dir, pattern string) (TempFile, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osSystem) Rename(from, to string) error { return os.Rename(from, to) }

func (osSystem) Remove(path string) error { return os.Remove(path) }

func (osSystem) SyncDir(dir string) error { return SyncDir(dir) }

// Keep is Replace, and durable once it returns.
func Keep(s System, path string, content []byte, mode os.FileMode) error {
	if err := replace(s, path, content, mode); err != nil {
		return err
	}
	return s.SyncDir(filepath.Dir(path))
}

// MakeDirs makes a directory, and those between it and root, as far as they are missing.
// Each is durable once it returns, also one that is there: who made it may have been
// killed before it was. Root is made, too, where it is missing.
func MakeDirs(s System, root, dir string, mode os.FileMode) error {
	if dir == root {
		there, err := s.Exists(root)
		if there || err != nil {
			return err
		}
		root = filepath.Dir(root)
	}
	above := filepath.Dir(dir)
	if err := MakeDirs(s, root, above, mode); err != nil {
		return err
	}

	if err := s.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.SyncDir(above)
}

// replace writes beside path and renames.
func replace(s System, path string, content []byte, mode os.FileMode) error {
	f, err := s.CreateTemp(filepath.Dir(path), Unfinished+"*")
	if err != nil {
		return err
	}

	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = s.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, s.Remove(f.Name()))
	}

	return nil
}
