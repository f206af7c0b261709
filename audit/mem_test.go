package audit_test

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/segment"
)

// memFiles is a directory in memory that knows what a disk would still hold
// after a power cut, and fails on demand.
type memFiles struct {
	mu      sync.Mutex
	live    map[string]*memFile // as processes see it
	durable map[string]*memFile // as of the last syncDir
	held    bool
	ops     int
	failAt  int // the operation that fails; 0 is none
	flavour flavour
	err     error // what it fails with
	from    bool  // every operation from failAt on fails
	syncs   int
	gate    chan struct{} // not nil: datasync waits for it to be closed
	read    atomic.Int64  // bytes
}

// flavour says how an operation fails.
type flavour int

const (
	failed    flavour = iota // nothing happened
	persisted                // it happened, but an error is returned
	gated                    // datasync: the pages were dropped from the dirty list, though not written
)

const sector = 512

type memFile struct {
	dir   *memFiles
	cache []byte
	disk  []byte
	dirty map[int]bool // sectors
	sizeD bool         // size changed
	held  bool         // somebody has the lock
}

var errInjected = errors.New("injected fault")

func newMemFiles() *memFiles {
	return &memFiles{live: map[string]*memFile{}, durable: map[string]*memFile{}, err: errInjected}
}

// op counts an operation and runs effect unless it fails without effect.
func (d *memFiles) op(effect func() error, gate func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops++

	if d.failAt == 0 || d.ops < d.failAt || d.ops > d.failAt && !d.from {
		return effect()
	}
	switch d.flavour {
	case persisted:
		return errors.Join(d.err, effect())
	case gated:
		if gate != nil {
			gate()
		}
	}

	return d.err
}

func (d *memFiles) List() (names []string, err error) {
	return names, d.op(func() error {
		for n := range d.live {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil
	}, nil)
}

func (d *memFiles) Create(name string) (f segment.File, err error) {
	return f, d.op(func() error {
		if d.live[name] != nil {
			return fs.ErrExist
		}
		m := &memFile{dir: d, dirty: map[int]bool{}}
		d.live[name] = m
		f = &memHandle{memFile: m}
		return nil
	}, nil)
}

func (d *memFiles) Open(name string, _ bool) (f segment.File, err error) {
	return f, d.op(func() error {
		m := d.live[name]
		if m == nil {
			return fs.ErrNotExist
		}
		f = &memHandle{memFile: m}
		return nil
	}, nil)
}

func (d *memFiles) Rename(from, to string) error {
	return d.op(func() error {
		if d.live[from] == nil {
			return fs.ErrNotExist
		}
		d.live[to] = d.live[from]
		delete(d.live, from)
		return nil
	}, nil)
}

func (d *memFiles) RenameNew(from, to string) error {
	d.mu.Lock()
	taken := d.live[to] != nil
	d.mu.Unlock()
	if taken {
		return fs.ErrExist
	}
	return d.Rename(from, to)
}

func (d *memFiles) Holds(name string, f segment.File) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.live[name] == f.(*memHandle).memFile, nil
}

func (d *memFiles) Remove(name string) error {
	return d.op(func() error { delete(d.live, name); return nil }, nil)
}

func (d *memFiles) SyncDir() error {
	return d.op(func() error {
		d.durable = make(map[string]*memFile)
		for n, f := range d.live {
			d.durable[n] = f
		}
		return nil
	}, nil)
}

func (d *memFiles) Lock() (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held {
		return nil, audit.ErrLocked
	}
	d.held = true
	return memLock{d}, nil
}

func (d *memFiles) Locked() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held, nil
}

type memLock struct{ d *memFiles }

func (l memLock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.d.held = false
	return nil
}

// memHandle is a file as somebody opened it.
type memHandle struct {
	*memFile
	locked bool
}

func (h *memHandle) Lock() error {
	h.dir.mu.Lock()
	defer h.dir.mu.Unlock()
	if h.held {
		return audit.ErrLocked
	}

	h.held = true
	h.locked = true
	return nil
}

func (h *memHandle) Close() error {
	h.dir.mu.Lock()
	defer h.dir.mu.Unlock()
	h.held = h.held && !h.locked
	h.locked = false
	return nil
}

func (f *memFile) resize(n int) {
	if n <= len(f.cache) {
		f.cache = f.cache[:n]
	} else {
		f.cache = append(f.cache, make([]byte, n-len(f.cache))...)
	}
	f.sizeD = true
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if off >= int64(len(f.cache)) {
		return 0, io.EOF
	}

	n := copy(b, f.cache[off:])
	f.dir.read.Add(int64(n))
	if n < len(b) {
		return n, io.EOF
	}

	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	err := f.dir.op(func() error {
		if end := int(off) + len(b); end > len(f.cache) {
			f.resize(end)
		}
		copy(f.cache[off:], b)
		for s := int(off) / sector; s <= (int(off)+len(b)-1)/sector; s++ {
			f.dirty[s] = true
		}

		return nil
	}, nil)
	if err != nil {
		return 0, err
	}

	return len(b), nil
}

func (f *memFile) AppendDurable(b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.Datasync()
}

func (d *memFiles) CloseFiles() error { return nil }

func (f *memFile) Size() (int64, error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	return int64(len(f.cache)), nil
}

func (f *memFile) Truncate(n int64) error {
	return f.dir.op(func() error { f.resize(int(n)); return nil }, nil)
}

func (f *memFile) Reserve(n int64) error {
	return f.dir.op(func() error {
		if int(n) > len(f.cache) {
			f.resize(int(n))
		}
		return nil
	}, nil)
}

func (f *memFile) Datasync() error {
	f.dir.mu.Lock()
	f.dir.syncs++
	gate := f.dir.gate
	f.dir.mu.Unlock()

	if gate != nil {
		<-gate
	}
	return f.dir.op(func() error { f.persist(func(int) bool { return true }, true); return nil }, f.clean)
}

func (f *memFile) Sync() error { return f.Datasync() }

func (f *memFile) clean() { clear(f.dirty); f.sizeD = false }

// persist writes the dirty sectors that keep chooses.
func (f *memFile) persist(keep func(int) bool, size bool) {
	f.disk = resized(f.disk, f.cache, size)
	for s := range f.dirty {
		if lo := s * sector; keep(s) && lo < len(f.cache) && lo < len(f.disk) {
			copy(f.disk[lo:min(lo+sector, len(f.disk))], f.cache[lo:min(lo+sector, len(f.cache))])
		}
	}
	f.clean()
}

func resized(disk, cache []byte, size bool) []byte {
	if !size {
		return disk
	}
	if len(disk) > len(cache) {
		return disk[:len(cache)]
	}
	return append(disk, make([]byte, len(cache)-len(disk))...)
}

// killed is the directory after kill -9: what was written is in the page cache.
func (d *memFiles) killed() *memFiles {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := newMemFiles()
	copies := map[*memFile]*memFile{}

	dup := func(f *memFile) *memFile {
		if copies[f] == nil {
			c := &memFile{dir: n, cache: slices.Clone(f.cache), disk: slices.Clone(f.disk), dirty: map[int]bool{}, sizeD: f.sizeD}
			for s := range f.dirty {
				c.dirty[s] = true
			}
			copies[f] = c
		}
		return copies[f]
	}
	for name, f := range d.live {
		n.live[name] = dup(f)
	}

	for name, f := range d.durable {
		n.durable[name] = dup(f)
	}
	return n
}

// powerCut is the directory after the power came back. Dirty sectors may have
// been written or not, each for itself.
func (d *memFiles) powerCut(r *rand.Rand) *memFiles {
	n := d.killed()
	if r != nil && r.IntN(2) == 0 { // the directory may have been written by itself, too
		n.durable = n.live
	}

	n.live = n.durable
	for _, f := range n.live {
		if r != nil {
			f.persist(func(int) bool { return r.IntN(2) == 0 }, r.IntN(2) == 0)
		}
		f.cache = slices.Clone(f.disk)
		f.clean()
	}

	return n
}

// hang makes every flush wait until the result is called.
func (d *memFiles) hang() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate = make(chan struct{})
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.gate)
		d.gate = nil
	})
}

func (d *memFiles) flushes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}
