// Package objects keeps, beside a decision log, what the log's entries name by
// digest: the bytes of modules, what they were approved with, and what a gateway
// was configured by. The files of a deployment are overwritten by the next one; what
// is kept here stays.
//
// An object is a file sha256-HEX whose name is the digest of its content. It is written
// once, whole or not at all, and never changed. A Snapshot is the object that
// names all others that a gateway serves under at one time.
//
// Trust: whoever can write the directory can change and remove files. What is read is
// held against the digest that was asked for, which must come from the log.
package objects

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/disk"
)

// DirName is the directory of the objects, in that of the log.
const DirName = "objects"

var (
	// ErrMissing means that an object is not there.
	ErrMissing = errors.New("the object is not there")
	// ErrDamaged means that an object is there, and its content is not what its name
	// says.
	ErrDamaged = errors.New("the object was changed")
)

// Store holds the objects of one log. It is safe for concurrent use.
type Store struct {
	dir  string
	kept sync.Map // digests of those that were checked

	// Repaired is told the path of each object that was there with another content,
	// and was written again. Nil tells nobody.
	Repaired func(path string)
}

// Of is the store of the log in a directory.
func Of(logDir string) *Store { return &Store{dir: filepath.Join(logDir, DirName)} }

// Path is where an object is, or would be.
func (s *Store) Path(d audit.Digest) string {
	return filepath.Join(s.dir, "sha256-"+hex.EncodeToString(d[:]))
}

// Keep makes content durable, and returns the digest that it has now as a name.
func (s *Store) Keep(content []byte) (audit.Digest, error) {
	d := audit.Digest(sha256.Sum256(content))
	return d, s.keep(d, content)
}

// KeepAs is Keep for who knows the digest. That is not computed again for what was
// kept before.
func (s *Store) KeepAs(d audit.Digest, content []byte) error {
	if _, known := s.kept.Load(d); known {
		return nil
	}
	if audit.Digest(sha256.Sum256(content)) != d {
		return fmt.Errorf("keeping an object: its digest is not %s", d)
	}
	return s.keep(d, content)
}

// keep looks once at an object that is there already. One with another content is
// replaced by the right one, which is at hand. It may have been put in its place by a
// process that died before the directory was synchronized.
func (s *Store) keep(d audit.Digest, content []byte) error {
	if _, known := s.kept.Load(d); known {
		return nil
	}

	path := s.Path(d)
	there, err := disk.Read(path, int64(len(content)))
	switch {
	case err == nil && bytes.Equal(there, content):
		err = disk.SyncDir(s.dir)
	case errors.Is(err, fs.ErrNotExist):
		err = s.write(path, content)
	default:
		err = s.write(path, content)
		if err == nil && s.Repaired != nil {
			s.Repaired(path)
		}
	}
	if err != nil {
		return fmt.Errorf("keeping object %s: %w", d, err)
	}

	s.kept.Store(d, true)
	return nil
}

func (s *Store) write(path string, content []byte) error {
	if err := disk.MakeDirs(disk.OS, filepath.Dir(s.dir), s.dir, 0o700); err != nil {
		return err
	}
	return disk.Keep(disk.OS, path, content, 0o600)
}

// Read gives an object of at most max bytes. It returns ErrMissing or ErrDamaged
// where there is none with that digest.
func (s *Store) Read(d audit.Digest, max int64) ([]byte, error) {
	b, err := disk.Read(s.Path(d), max)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s", ErrMissing, s.Path(d))
	case errors.Is(err, disk.ErrTooLarge), errors.Is(err, disk.ErrNotRegular):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("reading object %s: %w", d, err)
	case audit.Digest(sha256.Sum256(b)) != d:
		return nil, fmt.Errorf("%w: %s", ErrDamaged, s.Path(d))
	}
	return b, nil
}

// State says of an object what somebody who is told of it wants to know.
type State string

// The states.
const (
	Kept    State = "kept"
	Missing State = "missing"
	Damaged State = "damaged"
)

// MaxBytes bounds any object, far above what a gateway keeps.
const MaxBytes = 256 << 20

// Look reads an object to tell its state. An error is one of the disk.
func (s *Store) Look(d audit.Digest) (State, error) {
	_, err := s.Read(d, MaxBytes)
	switch {
	case errors.Is(err, ErrMissing):
		return Missing, nil
	case errors.Is(err, ErrDamaged):
		return Damaged, nil
	}
	return Kept, err
}
