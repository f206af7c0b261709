// Package disktest is a disk in memory that knows what a crash leaves of it, and fails
// on demand. Tests count the operations of a run, and run it again for each of them with
// that one failing.
package disktest

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/guardlock/guardlock/internal/disk"
)

// ErrInjected is what an operation fails with.
var ErrInjected = errors.New("injected fault")

// Flavour says how an operation fails.
type Flavour int

// The flavours.
const (
	Failed    Flavour = iota // nothing happened
	Persisted                // it happened, and an error is returned
)

// Fault is what fails of a run. The zero Fault fails nothing.
type Fault struct {
	At      int // the operation, counted from 1
	Flavour Flavour
	Onwards bool // and all behind it: the process is dead
}

// Disk implements disk.System. It is safe for concurrent use.
type Disk struct {
	mu      sync.Mutex
	live    map[string]*node // as processes see it
	durable map[string]*node // as of the last flush of each directory
	names   int
	ops     int
	fault   Fault
}

// node is a file, or a directory where dir is set.
type node struct {
	dir     bool
	content []byte
	flushed []byte
}

// New is a disk with some directories, which are durable.
func New(dirs ...string) *Disk {
	d := &Disk{live: make(map[string]*node)}
	for _, dir := range dirs {
		d.live[filepath.Clean(dir)] = &node{dir: true}
	}
	d.durable = maps.Clone(d.live)
	return d
}

// Inject has an operation fail from now on. It counts from the disk's beginning.
func (d *Disk) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// Ops is the number of operations so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Op counts an operation of something else, as a call over the network, and runs its
// effect unless it fails without one. The effect may use the disk.
func (d *Disk) Op(effect func() error) error {
	flavour, fails := d.count()
	switch {
	case !fails:
		return effect()
	case flavour == Persisted:
		return errors.Join(ErrInjected, effect())
	}
	return ErrInjected
}

func (d *Disk) count() (Flavour, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops++
	at := d.fault.At
	return d.fault.Flavour, at > 0 && (d.ops == at || d.ops > at && d.fault.Onwards)
}

// op is Op of what is in memory.
func (d *Disk) op(effect func() error) error {
	return d.Op(func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		return effect()
	})
}

// Killed is the disk after kill -9: what was written is in the page cache.
func (d *Disk) Killed() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &Disk{live: make(map[string]*node), durable: make(map[string]*node), names: d.names}
	copies := make(map[*node]*node)
	for path, f := range d.live {
		n.live[path] = f.copied(copies)
	}
	for path, f := range d.durable {
		n.durable[path] = f.copied(copies)
	}
	return n
}

// copied is a node of another disk, the same for each of its names.
func (f *node) copied(copies map[*node]*node) *node {
	if copies[f] == nil {
		copies[f] = &node{f.dir, slices.Clone(f.content), slices.Clone(f.flushed)}
	}
	return copies[f]
}

// PowerCut is the disk once the power is back. What was not flushed is gone; with r each
// name and each content may have been written nevertheless.
func (d *Disk) PowerCut(r *rand.Rand) *Disk {
	n := d.Killed()
	after := maps.Clone(n.durable)
	if r != nil {
		for _, path := range slices.Sorted(maps.Keys(n.live)) {
			if r.IntN(2) == 0 {
				after[path] = n.live[path]
			}
		}
		for _, path := range slices.Sorted(maps.Keys(n.durable)) {
			if n.live[path] == nil && r.IntN(2) == 0 {
				delete(after, path)
			}
		}
	}

	maps.DeleteFunc(after, func(path string, _ *node) bool { return !reachable(after, path) })
	for _, path := range slices.Sorted(maps.Keys(after)) {
		f := after[path]
		switch {
		case r == nil:
			f.content = f.flushed
		case !slices.Equal(f.content, f.flushed): // in part
			f.content = f.content[:r.IntN(len(f.content)+1)]
		}
		f.flushed = f.content
	}
	n.live = after
	n.durable = maps.Clone(after)
	return n
}

// reachable reports whether all directories above a path are there, up to one that
// stands for a disk's root.
func reachable(all map[string]*node, path string) bool {
	for above := filepath.Dir(path); above != filepath.Dir(above); above = filepath.Dir(above) {
		if all[above] == nil {
			return false
		}
	}
	return true
}

// Exists implements disk.System.
func (d *Disk) Exists(path string) (there bool, err error) {
	return there, d.op(func() error {
		there = d.live[path] != nil
		return nil
	})
}

// Read implements disk.System.
func (d *Disk) Read(path string, limit int64) (content []byte, err error) {
	return content, d.op(func() error {
		f := d.live[path]
		switch {
		case f == nil:
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		case int64(len(f.content)) > limit:
			return disk.ErrTooLarge
		}
		content = slices.Clone(f.content)
		return nil
	})
}

// Mkdir implements disk.System.
func (d *Disk) Mkdir(path string, _ os.FileMode) error {
	return d.op(func() error {
		if d.live[path] != nil {
			return fs.ErrExist
		}
		return d.put(path, &node{dir: true})
	})
}

// put gives a node a name in a directory that is there.
func (d *Disk) put(path string, f *node) error {
	if above := filepath.Dir(path); above != filepath.Dir(above) && d.live[above] == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrNotExist}
	}
	d.live[path] = f
	return nil
}

// CreateTemp implements disk.System.
func (d *Disk) CreateTemp(dir, pattern string) (t disk.TempFile, err error) {
	return t, d.op(func() error {
		d.names++
		f := &file{node: new(node), disk: d, path: filepath.Join(dir, pattern+strconv.Itoa(d.names))}
		t = f
		return d.put(f.path, f.node)
	})
}

// Rename implements disk.System.
func (d *Disk) Rename(from, to string) error {
	return d.op(func() error {
		f := d.live[from]
		if f == nil {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		delete(d.live, from)
		return d.put(to, f)
	})
}

// Remove implements disk.System.
func (d *Disk) Remove(path string) error {
	return d.op(func() error {
		if d.live[path] == nil {
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
		}
		delete(d.live, path)
		return nil
	})
}

// SyncDir implements disk.System.
func (d *Disk) SyncDir(dir string) error {
	return d.op(func() error {
		maps.DeleteFunc(d.durable, func(path string, _ *node) bool { return filepath.Dir(path) == dir && path != dir })
		for path, f := range d.live {
			if filepath.Dir(path) == dir {
				d.durable[path] = f
			}
		}
		return nil
	})
}

// file is one that is being written.
type file struct {
	*node
	disk *Disk
	path string
}

// Name implements disk.TempFile.
func (f *file) Name() string { return f.path }

// Chmod implements disk.TempFile.
func (f *file) Chmod(os.FileMode) error { return nil }

// Close implements disk.TempFile.
func (f *file) Close() error { return nil }

// Write implements disk.TempFile.
func (f *file) Write(b []byte) (int, error) {
	err := f.disk.op(func() error {
		f.content = append(f.content, b...)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Sync implements disk.TempFile.
func (f *file) Sync() error {
	return f.disk.op(func() error {
		f.flushed = slices.Clone(f.content)
		return nil
	})
}
