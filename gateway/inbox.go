package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// errFrame marks bytes that cannot be a Kafka frame; the connection is closed,
// since nothing after a wrong length can be trusted.
var errFrame = errors.New("malformed frame")

// minFrame is the least that a Kafka frame holds, in bytes: a correlation id.
const minFrame = 4

// inbox turns one direction of a connection into whole frames. While the peer
// is silent it holds no buffer, so an idle connection costs two stacks and
// nothing more. Owned by one goroutine.
type inbox struct {
	// Fixed once made.
	conn      net.Conn
	raw       syscall.RawConn // nil where reads go through TLS
	memory    account
	pipelined func() bool // more is under way: what comes next may be read with what has come; nil: never

	bounds frameBounds
	stops  atomic.Int32 // when reading ends; only grows

	buf   []byte
	r, w  int
	last  int       // size of the last frame
	want  int       // at least that: the next buffer starts that large
	ahead lookahead // at what has not been taken yet
	armed time.Time // the deadline that is set on the socket, perhaps for an earlier frame
	began time.Time // when the incomplete frame at r began to arrive

	arrival arrival // the same for other goroutines
}

// When an inbox stops reading.
const (
	stopNever   = iota
	stopBetween // the rest of a frame that has begun still comes, and nothing behind it
	stopNow     // wherever it is
)

// frameBounds are what the length of a frame must lie between, in bytes, and how long it
// may take.
type frameBounds struct {
	minFrame int
	maxFrame int
	timeout  time.Duration // for memory, and for the rest of a frame that has begun
}

// lookahead is what an inbox needs to look at the beginning of a request before
// taking the rest into its buffer.
type lookahead struct {
	next     bool    // the last frame was streamed: look at the next before taking it
	first    [1]byte // what is waited for where bytes cannot be looked at
	buf      []byte  // what peek looks into
	noOffset bool    // the system cannot look behind a frame
}

// newInbox makes an inbox that holds no buffer until bytes arrive. Frames above
// maxFrame end the connection.
func newInbox(conn net.Conn, pool *buffers, maxFrame int, timeout time.Duration) *inbox {
	return &inbox{
		conn:   conn,
		raw:    rawConn(conn),
		memory: account{buffers: pool},
		bounds: frameBounds{minFrame: minFrame, maxFrame: maxFrame, timeout: timeout},
	}
}

// isEmpty reports whether no byte is there that was not taken.
func (in *inbox) isEmpty() bool { return in.r == in.w }

// next returns the next whole frame, without its length prefix, if one is
// buffered. The frame aliases the buffer until the next fill.
func (in *inbox) next() (frame []byte, ok bool, err error) {
	size, known, err := in.frameSize()
	if err != nil || !known || in.w-in.r < 4+size {
		return nil, false, err
	}

	frame = in.buf[in.r+4 : in.r+4+size : in.r+4+size]
	in.r += 4 + size
	in.last = size
	in.want = max(4+size, min(in.want, maxWindow))

	if !in.began.IsZero() {
		in.began = time.Time{}
		in.arrival.end()
	}

	in.ahead.next = false

	return frame, true, nil
}

// frameSize reads the length prefix at r. It is judged before anything is
// allocated for it.
func (in *inbox) frameSize() (size int, known bool, err error) {
	if in.w-in.r < 4 {
		return 0, false, nil
	}
	n := binary.BigEndian.Uint32(in.buf[in.r:])
	if n < uint32(in.bounds.minFrame) || n > uint32(in.bounds.maxFrame) {
		return 0, false, fmt.Errorf("%w: length %d is not between %d and %d (limits.max_frame)", errFrame, n, in.bounds.minFrame, in.bounds.maxFrame)
	}

	return int(n), true, nil
}

// fill blocks until more bytes have arrived. Frames handed out before are
// invalid afterwards. It returns io.EOF at the peer's orderly end between
// frames, and io.ErrUnexpectedEOF inside one.
func (in *inbox) fill(ctx context.Context) error {
	if in.r == in.w {
		return in.fillEmpty(ctx)
	}
	if err := in.makeRoom(ctx); err != nil {
		return err
	}
	if in.began.IsZero() {
		in.began = time.Now()
	}
	if in.memory.owner != nil {
		in.noteArrival()
	}

	for {
		if err := in.arm(in.began.Add(in.bounds.timeout)); err != nil {
			return err
		}
		n, err := in.read(in.room())
		in.w += n

		switch {
		case n > 0:
			in.widen(in.w == len(in.buf))
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case !in.rearm(err):
			return err
		}
	}
}

// read waits for bytes of a frame that has begun.
func (in *inbox) read(room []byte) (n int, err error) {
	if in.raw == nil || len(room) == 0 {
		return in.conn.Read(room)
	}
	waitErr := in.raw.Read(func(fd uintptr) bool {
		n, err = ignoringEINTR(func() (int, error) { return readSocket(int(fd), room) })
		return err != syscall.EAGAIN
	})

	switch {
	case waitErr != nil:
		return 0, waitErr
	case err == nil && n == 0:
		err = io.EOF
	}
	return n, err
}

// arm makes sure that some deadline is set, so that a frame that has begun must
// end: a slow loris holds memory. Setting a deadline costs more than reading a
// small frame, so one that was set for an earlier frame is left as it is; if it
// fires too early, rearm makes it right.
func (in *inbox) arm(until time.Time) error {
	if !in.armed.IsZero() {
		return nil
	}
	in.armed = until
	if err := in.conn.SetReadDeadline(until); err != nil {
		return fmt.Errorf("setting deadline of a frame: %w", err)
	}

	return nil
}

// rearm reports whether err is a deadline that was set for an earlier frame, in
// which case reading may go on.
func (in *inbox) rearm(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || in.mustStop() {
		return false
	}
	if !in.began.IsZero() && time.Since(in.began) >= in.bounds.timeout {
		return false
	}

	in.armed = time.Time{}
	if in.conn.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	return !in.mustStop() // stop may have set its deadline just before
}

// stop makes reads fail from now on. Any goroutine may call it.
func (in *inbox) stop() {
	in.stops.Store(stopNow)
	in.breakOff()
}

// stopBetweenFrames makes the inbox take no byte of a frame that has not begun, once
// breakOff ends the read that is under way. Any goroutine may call it.
func (in *inbox) stopBetweenFrames() { in.stops.CompareAndSwap(stopNever, stopBetween) }

// breakOff ends the read that is under way. It goes on where it must not stop.
func (in *inbox) breakOff() { in.conn.SetReadDeadline(time.Unix(1, 0)) }

// mustStop reports whether nothing more is to be read.
func (in *inbox) mustStop() bool {
	stops := in.stops.Load()
	return stops == stopNow || stops == stopBetween && in.began.IsZero()
}

// room is where the next bytes of the incomplete frame go. An inbox that is about to
// stop leaves what lies behind that frame where it is.
func (in *inbox) room() []byte {
	room := in.buf[in.w:]
	if in.stops.Load() != stopBetween {
		return room
	}

	size, known, _ := in.frameSize() // makeRoom has judged it
	if !known {
		size = 0
	}
	return room[:min(len(room), 4+size-(in.w-in.r))]
}

// maxWindow is how far the buffer of a busy connection grows beyond its frames,
// so that one read takes many, and one commit of the decision log covers them.
const maxWindow = 1 << 20

// widen makes the next buffer larger when this one was filled to the brim,
// since more seems to be on its way.
func (in *inbox) widen(full bool) {
	if full && in.want < maxWindow {
		in.want = min(2*len(in.buf), maxWindow)
	}
}

// fillEmpty waits for bytes without holding a buffer, so that idle connections
// cost no memory of the budget.
func (in *inbox) fillEmpty(ctx context.Context) error {
	in.r = 0
	in.w = 0
	if in.raw == nil {
		return in.fillEmptyTLS(ctx)
	}

	for {
		n, err := in.readReady()
		switch {
		case errors.Is(err, errStarved):
			if err := in.ensure(ctx); err != nil {
				return err
			}
		case err != nil && in.rearm(err):
		case err != nil:
			return fmt.Errorf("reading from connection: %w", err)
		case n == 0:
			return io.EOF
		default:
			in.w = n
			in.widen(n == len(in.buf))
			return nil
		}
	}
}

// errStarved means that bytes are waiting but there is no memory to read them
// into. The wait for memory must not happen inside RawConn.Read, which would
// block Close.
var errStarved = errors.New("no buffer memory is free")

// readReady parks until the socket is readable, takes a buffer only then, and
// reads once.
func (in *inbox) readReady() (n int, err error) {
	waited := false
	waitErr := in.raw.Read(func(fd uintptr) bool {
		if waited && in.last < minStream && in.pipelined != nil && in.pipelined() {
			yield() // a wake-up costs more than reading a frame: take all that is about to come
		}
		waited = true
		if in.buf == nil {
			in.buf = in.memory.tryWindow(in.bufferSize())
		}

		if in.buf == nil {
			err = errStarved
			return true
		}

		n, err = ignoringEINTR(func() (int, error) { return readSocket(int(fd), in.buf) })
		if err == syscall.EAGAIN {
			in.release()
			return false
		}

		return true
	})
	if waitErr != nil {
		return 0, waitErr
	}

	return n, err
}

// fillEmptyTLS waits with a buffer of one byte: what TLS holds back of a record
// lies in its own memory.
func (in *inbox) fillEmptyTLS(ctx context.Context) error {
	in.release()
	n, err := in.conn.Read(in.ahead.first[:])
	for n == 0 && err != nil && in.rearm(err) {
		n, err = in.conn.Read(in.ahead.first[:])
	}

	if n == 0 {
		return err
	}
	if err := in.ensure(ctx); err != nil {
		return err
	}

	in.w = copy(in.buf, in.ahead.first[:])
	return nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func (in *inbox) bufferSize() int { return min(in.want, in.bounds.maxFrame+4) }

// ensure takes a buffer if there is none: one of the size that this connection
// has needed while memory is ample, and else the smallest, which may be waited
// for.
func (in *inbox) ensure(ctx context.Context) error {
	if in.buf != nil {
		return nil
	}
	if in.buf = in.memory.tryWindow(in.bufferSize()); in.buf != nil {
		return nil
	}

	buf, err := in.memory.get(ctx, smallest, in.bounds.timeout)
	if err != nil {
		return err
	}

	in.buf = buf
	return nil
}

// makeRoom makes room for more of the frame that has begun. What it announces is
// believed only as far as it has come: a larger buffer is taken when this one is
// full.
func (in *inbox) makeRoom(ctx context.Context) error {
	size, known, err := in.frameSize()
	if err != nil {
		return err
	}
	if !known {
		size = 0
	}

	if in.r > 0 && (in.r+4+size > len(in.buf) || in.w == len(in.buf)) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}

	if in.w < len(in.buf) {
		return nil
	}

	return in.move(ctx, 4+size)
}

// growth is how many times larger the next buffer of a frame is than what has
// arrived of it.
const growth = 8

// move takes a larger buffer. Where that would have to be waited for, all that
// the frame needs is waited for, so that nobody waits twice for others that wait.
func (in *inbox) move(ctx context.Context, need int) error {
	var next []byte
	if part := growth * len(in.buf); part < need && in.memory.owner != nil {
		next = in.memory.tryPart(part)
	}
	if next == nil {
		next = in.memory.tryGet(need)
	}
	if next == nil {
		return in.awaitRoom(ctx, need)
	}

	in.exchange(next, in.buf)
	return nil
}

// awaitRoom waits for a buffer for the whole frame. A buffer that no share keeps
// room behind is given back first, so that connections cannot wait for each
// other: what has arrived waits in memory of its own.
func (in *inbox) awaitRoom(ctx context.Context, need int) error {
	begun := in.buf
	if len(in.buf) == smallest || in.memory.owner == nil {
		begun = bytes.Clone(in.buf)
		in.memory.put(in.buf)
		in.buf = nil
	}

	in.arrival.end() // it is we who are slow
	next, err := in.memory.get(ctx, need, in.bounds.timeout)
	if err != nil {
		in.release()
		return err
	}

	in.exchange(next, begun)
	return nil
}

// exchange puts next in the place of the buffer, with what has begun copied
// into it, and gives the old one back.
func (in *inbox) exchange(next, begun []byte) {
	in.w = copy(next, begun[:in.w])
	in.memory.put(in.buf)
	in.buf = next
}

// release gives the buffer back. Whatever of a frame is in it is lost, so that
// only whole frames may have been.
func (in *inbox) release() {
	in.memory.put(in.buf)
	in.buf = nil
	in.r = 0
	in.w = 0
}
