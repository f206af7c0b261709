package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files is the directory that a log lives in. Names hold no separators.
// Implementations must make a call's effect durable only where it says so.
type Files interface {
	// list returns all names, in any order.
	List() ([]string, error)
	// create makes a new file for reading and writing; one that exists is an error.
	Create(name string) (File, error)
	// open opens a file, for reading alone if write is false.
	Open(name string, write bool) (File, error)
	Rename(from, to string) error
	// renameNew is Rename to a name that nothing may have yet: fs.ErrExist.
	RenameNew(from, to string) error
	// holds reports whether name is still that of an open file.
	Holds(name string, f File) (bool, error)
	Remove(name string) error
	// syncDir makes creations, renames and removals durable.
	SyncDir() error
	// lock takes the directory's exclusive lock; ErrLocked if someone has it.
	Lock() (io.Closer, error)
	// locked reports whether someone has the exclusive lock.
	Locked() (bool, error)
	// close gives back what files share; those must be closed before. It may be
	// called again.
	CloseFiles() error
}

// File is one file of a log.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// lock takes the file's exclusive lock until it is closed; ErrLocked if someone
	// has it.
	Lock() error
	Size() (int64, error)
	Truncate(size int64) error
	// reserve sets aside space where the file system can, so that a full disk
	// shows when a segment begins and not in its middle.
	Reserve(size int64) error
	// append writes b where the append before ended, or what WriteAt wrote, and
	// returns when b is durable. What lies behind b in its block becomes zero.
	AppendDurable(b []byte, off int64) error
	// datasync makes all written bytes, and a size that grew, durable.
	Datasync() error
	// sync also makes a size that shrank durable.
	Sync() error
}

const lockName = "lock"

// Disk is files on a real directory.
type Disk struct {
	Dir  string
	ring *ring // nil: appends go through the page cache
	ways *wayChooser
}

// OpenDisk makes the directory if need be; its entry in the parent directory
// is made durable too.
func OpenDisk(dir string) (Disk, error) {
	_, statErr := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Disk{}, err
	}

	if errors.Is(statErr, fs.ErrNotExist) {
		if err := syncDirectory(filepath.Dir(dir)); err != nil {
			return Disk{}, err
		}
	}

	return Disk{dir, newRing(), new(wayChooser)}, nil
}

func (d Disk) CloseFiles() error { return d.ring.Close() }

func (d Disk) path(name string) string { return filepath.Join(d.Dir, name) }

func (d Disk) List() ([]string, error) {
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return nil, err
	}

	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d Disk) Create(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return d.writable(f, name)
}

func (d Disk) Open(name string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}

	// Whoever can write the directory could put a FIFO there, which would hold up
	// its reader for ever.
	if info, err := os.Stat(d.path(name)); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s is not a regular file", name))
	}
	f, err := os.OpenFile(d.path(name), flag, 0)
	if err != nil {
		return nil, err
	}
	if !write {
		return diskFile{File: f}, nil
	}

	return d.writable(f, name)
}

func (d Disk) writable(f *os.File, name string) (File, error) {
	id, err := identityOf(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return diskFile{f, d.direct(name), d.ways, id}, nil
}

// direct opens a file that is appended to once more.
func (d Disk) direct(name string) *directFile {
	if name == MarkName {
		return nil
	}
	return openDirect(d.path(name), d.ring)
}

func (d Disk) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d Disk) RenameNew(from, to string) error { return renameNew(d.path(from), d.path(to)) }

// renameChecked is renameNew where the system has no such call: two gateways that
// begin the same segment in the same instant are then found by Holds.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fs.ErrExist)
	}
	return os.Rename(from, to)
}

// Holds compares the files, not their names: one that was put in another's place
// is not held. What f is cannot change while it is open, so only the name is looked up.
func (d Disk) Holds(name string, f File) (bool, error) {
	open, ok := f.(diskFile)
	if !ok {
		return false, fmt.Errorf("%s was not opened here", name)
	}
	return leadsTo(d.path(name), open.id)
}

func (d Disk) Remove(name string) error { return os.Remove(d.path(name)) }
func (d Disk) SyncDir() error           { return syncDirectory(d.Dir) }

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

func (d Disk) Lock() (io.Closer, error) {
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

func (d Disk) Locked() (bool, error) {
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
	ways   *wayChooser // nil: append goes past the page cache where it can
	id     identity    // of a file that was opened for writing
}

func (f diskFile) AppendDurable(b []byte, off int64) error {
	if f.direct == nil {
		return f.appendFlush(b, off)
	}
	if f.ways == nil {
		return f.appendDirect(b, off)
	}

	began := time.Now()
	w := f.ways.next()
	write := f.appendDirect

	if w == wayFlush {
		write = f.appendFlush
	}
	if err := write(b, off); err != nil {
		return err
	}

	f.ways.done(w, time.Since(began))
	return nil
}

// appendDirect goes past the page cache where the file takes that.
func (f diskFile) appendDirect(b []byte, off int64) error {
	if ok, err := f.direct.write(b, off, f.File); ok {
		return err
	}
	return f.appendFlush(b, off)
}

func (f diskFile) appendFlush(b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.Datasync()
}

// Close closes both handles.
func (f diskFile) Close() error { return errors.Join(f.File.Close(), f.direct.close()) }

// maxFileBytes is more than any file of a log has: a segment ends once it has its
// limit, and a frame has one GiB at most. A sparse file of terabytes takes no room
// on its disk, and hours to read.
const maxFileBytes = 4 << 30

// Size returns ErrCorrupt for a file that is larger than any of a log.
func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() > maxFileBytes {
		return 0, fmt.Errorf("%w: %s has %d bytes, and no file of a log more than %d", ErrCorrupt, filepath.Base(f.Name()), info.Size(), int64(maxFileBytes))
	}
	return info.Size(), nil
}

func (f diskFile) Lock() error              { return lockExclusive(f.File) }
func (f diskFile) Reserve(size int64) error { return reserve(f.File, size) }
func (f diskFile) Datasync() error          { return datasync(f.File) }
