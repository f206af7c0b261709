package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// files is the directory that a log lives in. Names hold no separators.
// Implementations must make a call's effect durable only where it says so.
type files interface {
	// list returns all names, in any order.
	list() ([]string, error)
	// create makes a new file for reading and writing; one that exists is an error.
	create(name string) (file, error)
	// open opens a file, for reading alone if write is false.
	open(name string, write bool) (file, error)
	rename(from, to string) error
	remove(name string) error
	// syncDir makes creations, renames and removals durable.
	syncDir() error
	// lock takes the directory's exclusive lock; ErrLocked if someone has it.
	lock() (io.Closer, error)
	// locked reports whether someone has the exclusive lock.
	locked() (bool, error)
	// close gives back what files share; those must be closed before. It may be
	// called again.
	close() error
}

// file is one file of a log.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	size() (int64, error)
	truncate(size int64) error
	// reserve sets aside space where the file system can, so that a full disk
	// shows when a segment begins and not in its middle.
	reserve(size int64) error
	// append writes b where the append before ended, or what WriteAt wrote, and
	// returns when b is durable. What lies behind b in its block becomes zero.
	append(b []byte, off int64) error
	// datasync makes all written bytes, and a size that grew, durable.
	datasync() error
	// sync also makes a size that shrank durable.
	sync() error
}

const lockName = "lock"

// diskFiles is files on a real directory.
type diskFiles struct {
	dir  string
	ring *ring // nil: appends go through the page cache
}

// openDisk makes the directory if need be; its entry in the parent directory
// is made durable too.
func openDisk(dir string) (diskFiles, error) {
	_, statErr := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return diskFiles{}, err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := syncDirectory(filepath.Dir(dir)); err != nil {
			return diskFiles{}, err
		}
	}
	return diskFiles{dir, newRing()}, nil
}

func (d diskFiles) close() error { return d.ring.Close() }

func (d diskFiles) path(name string) string { return filepath.Join(d.dir, name) }

func (d diskFiles) list() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d diskFiles) create(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f, d.direct(name)}, nil
}

func (d diskFiles) open(name string, write bool) (file, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(d.path(name), flag, 0)
	if err != nil {
		return nil, err
	}
	if !write {
		return diskFile{f, nil}, nil
	}
	return diskFile{f, d.direct(name)}, nil
}

// direct opens a file that is appended to once more.
func (d diskFiles) direct(name string) *directFile {
	if name == markName {
		return nil
	}
	return openDirect(d.path(name), d.ring)
}

func (d diskFiles) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d diskFiles) remove(name string) error     { return os.Remove(d.path(name)) }
func (d diskFiles) syncDir() error               { return syncDirectory(d.dir) }

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

func (d diskFiles) lock() (io.Closer, error) {
	f, err := os.OpenFile(d.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockExclusive(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d diskFiles) locked() (bool, error) {
	f, err := os.Open(d.path(lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a copy of a directory, or one that no gateway has opened
	}
	if err != nil {
		return false, fmt.Errorf("opening lock: %w", err)
	}
	defer f.Close()
	return probeLock(f)
}

type diskFile struct {
	*os.File
	direct *directFile // nil: append goes through the page cache
}

func (f diskFile) append(b []byte, off int64) error {
	if ok, err := f.direct.write(b, off, f.File); ok {
		return err
	}
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.datasync()
}

// Close closes both handles.
func (f diskFile) Close() error { return errors.Join(f.File.Close(), f.direct.close()) }

func (f diskFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) truncate(size int64) error { return f.Truncate(size) }
func (f diskFile) sync() error               { return f.Sync() }
func (f diskFile) reserve(size int64) error  { return reserve(f.File, size) }
func (f diskFile) datasync() error           { return datasync(f.File) }
