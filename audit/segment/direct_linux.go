//go:build linux && (amd64 || arm64)

package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A thread that waits in fdatasync(2) costs more around it than in it: the
// runtime takes its processor away, wakes another thread for that and puts one
// of them to sleep again afterwards. So a commit goes past the page cache
// (O_DIRECT), durable once it is written (RWF_DSYNC), and is only handed over
// (io_submit(2)): the kernel says when it is done through an eventfd(2), which
// the runtime's poller waits for together with all sockets. The order is that
// of write and flush, and so are the crash points: the last block is written
// again with what it held, and a sector is old or new.
//
// Readers go through the page cache. The kernel drops what it holds of a block
// before it reports the block written, so whoever has read the committed mark
// sees what it covers.

// directBlock is what offset, length and memory of a direct write are multiples
// of; a file system that wants more says EINVAL, and the file does without.
const directBlock = 4096

// keepDirect is the memory that a file keeps for its next write at most.
const keepDirect = 1 << 20

// ring is where the kernel reports the ends of direct writes. One goroutine
// uses it at a time, for one write at a time.
type ring struct {
	ctx   uintptr // aio_context_t
	done  *os.File
	fd    uint32 // of done
	count [8]byte
	last  completion
}

// newRing returns nil where the system does not have, or does not allow, what
// it takes.
func newRing() *ring {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}

	r := &ring{done: os.NewFile(uintptr(fd), "eventfd"), fd: uint32(fd)}
	polled := r.done.SetReadDeadline(time.Time{}) == nil // reads wait in the poller, not in a thread
	if polled {
		_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&r.ctx)), 0)
		polled = errno == 0
	}

	if !polled {
		r.done.Close()
		return nil
	}

	return r
}

// Close waits for a write that is under way. It may be called again.
func (r *ring) Close() error {
	if r == nil || r.ctx == 0 {
		return nil
	}
	var err error
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, r.ctx, 0, 0); errno != 0 {
		err = fmt.Errorf("ending direct writes: %w", errno)
	}

	r.ctx = 0
	return errors.Join(err, r.done.Close())
}

// controlBlock is struct iocb of linux/aio_abi.h on a little-endian machine.
type controlBlock struct {
	_        uint64 // data
	_        uint32 // key
	rwFlags  uint32
	opcode   uint16
	_        int16 // priority
	fd       uint32
	memory   uint64
	length   uint64
	offset   int64
	_        uint64
	flags    uint32
	resultFD uint32
}

// completion is struct io_event.
type completion struct {
	_, _   uint64 // data, block
	result int64
	_      int64 // more of the result
}

const (
	aioWrite  = 1 // IOCB_CMD_PWRITE
	aioSignal = 1 // IOCB_FLAG_RESFD
)

// write writes memory at offset and returns when it is durable, or EINVAL where
// the file takes no such writes.
func (r *ring) write(cb *controlBlock, fd uintptr, memory []byte, offset int64) error {
	*cb = controlBlock{
		opcode:   aioWrite,
		rwFlags:  unix.RWF_DSYNC,
		fd:       uint32(fd),
		memory:   uint64(uintptr(unsafe.Pointer(&memory[0]))),
		length:   uint64(len(memory)),
		offset:   offset,
		flags:    aioSignal,
		resultFD: r.fd,
	}

	if err := r.submit(cb); err != nil {
		return err
	}
	result, err := r.wait()
	runtime.KeepAlive(memory)

	switch {
	case err != nil:
		return err
	case result < 0:
		return unix.Errno(-result)
	case result != int64(len(memory)):
		return io.ErrShortWrite
	}

	return nil
}

func (r *ring) submit(cb *controlBlock) error {
	const tries = 1000
	for try := 1; ; try++ {
		_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, r.ctx, 1, uintptr(unsafe.Pointer(&cb)))
		switch {
		case errno == 0:
			return nil
		case errno == unix.EAGAIN && try < tries: // the kernel is short of memory for an instant
			time.Sleep(time.Millisecond)
		case errno != unix.EINTR:
			return errno
		}
	}
}

// wait returns what became of the write that was submitted.
func (r *ring) wait() (int64, error) {
	for {
		if _, err := r.done.Read(r.count[:]); err != nil {
			return 0, fmt.Errorf("waiting for a direct write: %w", err)
		}
		n, errno := r.take()
		for errno == unix.EINTR {
			n, errno = r.take()
		}

		if errno != 0 {
			return 0, fmt.Errorf("asking for a direct write: %w", errno)
		}
		if n == 1 {
			return r.last.result, nil
		}
	}
}

// take moves a completion into last if there is one, and returns their number.
func (r *ring) take() (uintptr, unix.Errno) {
	var now unix.Timespec
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, r.ctx, 0, 1, uintptr(unsafe.Pointer(&r.last)), uintptr(unsafe.Pointer(&now)), 0)
	return n, errno
}

// directFile writes one file past the page cache. Its user appends: each write
// begins where the one before ended.
type directFile struct {
	ring   *ring
	file   *os.File // O_DIRECT
	buf    []byte   // aligned; what is on disk from start on, then what is being written
	start  int64    // a multiple of directBlock
	end    int64    // of what is on disk; 0: nothing was written yet
	failed bool     // the file takes no direct writes
	cb     controlBlock
}

// openDirect returns nil where path cannot be written so.
func openDirect(path string, r *ring) *directFile {
	if r == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}

	return &directFile{ring: r, file: f}
}

func (d *directFile) close() error {
	if d == nil {
		return nil
	}
	return d.file.Close()
}

// write makes p durable at off. at reads what is there already. ok is false
// where the file takes no such write; nothing was written then.
func (d *directFile) write(p []byte, off int64, at io.ReaderAt) (ok bool, err error) {
	if d == nil || d.failed {
		return false, nil
	}
	if err := d.load(p, off, at); err != nil {
		return true, err
	}

	err = d.ring.write(&d.cb, d.file.Fd(), d.buf, d.start)
	switch {
	case err == nil:
		d.end = off + int64(len(p))
	case d.end == 0 && errors.Is(err, unix.EINVAL):
		d.failed = true
		return false, nil
	}

	return true, err
}

// load makes buf the blocks that p lies in.
func (d *directFile) load(p []byte, off int64, at io.ReaderAt) error {
	start := off &^ (directBlock - 1)
	head := int(off - start)
	size := (head + len(p) + directBlock - 1) &^ (directBlock - 1)
	old := d.buf
	from := d.start

	if size > cap(old) || cap(old) > keepDirect {
		d.buf = alignedBytes(max(size, 16*directBlock))
	}
	d.buf = d.buf[:size]
	if d.end == off && off > 0 {
		copy(d.buf[:head], old[start-from:])
	} else if head > 0 {
		if _, err := at.ReadAt(d.buf[:head], start); err != nil {
			return fmt.Errorf("reading the block before: %w", err)
		}
	}

	clear(d.buf[head+copy(d.buf[head:], p):])
	d.start = start
	return nil
}

// alignedBytes returns n bytes at a multiple of directBlock; the collector does
// not move them.
func alignedBytes(n int) []byte {
	b := make([]byte, n+directBlock)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (directBlock - 1)
	return b[skip : skip+n : skip+n]
}
