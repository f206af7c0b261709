package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/guardlock/guardlock/internal/disk"
)

// Sink is where files go. A file is there whole or not at all.
type Sink interface {
	Put(ctx context.Context, name string, content []byte) error
	// Get fails with fs.ErrNotExist where there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	Names(ctx context.Context) ([]string, error)
	Close() error
}

// Dir is a directory that one export writes to at a time.
type Dir struct {
	path string
	lock *os.File
}

// OpenDir makes the directory if need be, and locks it until Close.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := disk.LockDir(path)
	if err != nil {
		return nil, fmt.Errorf("locking %s, to which another export may be writing: %w", path, err)
	}

	d := &Dir{path, lock}
	if err := d.sweep(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// sweep removes what an export that was killed had not finished.
func (d *Dir) sweep() error {
	names, err := d.Names(context.Background())
	if err != nil {
		return err
	}

	var errs []error
	for _, name := range names {
		if strings.HasPrefix(name, disk.Unfinished) {
			errs = append(errs, os.Remove(filepath.Join(d.path, name)))
		}
	}
	return errors.Join(errs...)
}

// Put makes the file durable before it returns.
func (d *Dir) Put(_ context.Context, name string, content []byte) error {
	if err := disk.Replace(filepath.Join(d.path, name), content, 0o600); err != nil {
		return err
	}
	return disk.SyncDir(d.path)
}

// Get reads a file.
func (d *Dir) Get(_ context.Context, name string) ([]byte, error) {
	return disk.Read(filepath.Join(d.path, name), disk.MaxBytes)
}

// Names lists the directory.
func (d *Dir) Names(context.Context) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Close gives back the lock.
func (d *Dir) Close() error { return d.lock.Close() }
