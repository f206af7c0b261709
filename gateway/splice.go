package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/wire"
)

// Large requests of topics that nothing is decided about need not pass through
// our memory: once the topic is known, the kernel moves the rest from socket to
// socket (splice(2), through io.CopyN between TCP connections). On a connection
// that sends such requests, the next one is looked at before it is taken, so
// that all of it goes this way; and what lies whole behind it goes along, since
// each move wakes the broker.
const (
	minStream = 64 << 10 // rest of a frame worth the extra system calls
	aheadSize = 512      // enough of a request to see its topic

	streamWait  = 256 << 10 // what is waited for at a time
	streamPiece = 1 << 20   // what is moved at a time at most: what splice's pipe holds
)

// stream forwards the request that has begun to arrive, if it may go by
// unread: one topic, unaudited, to a real broker, without TLS on either side.
func (r *reader) stream(ctx context.Context) error {
	prefix, size, ok := r.in.partial()
	if !ok || size-len(prefix) < minStream {
		return nil
	}

	p, owed, ok, err := r.passes(ctx, prefix, size)
	if !ok || err != nil {
		return err
	}

	r.answers.push(p, owed)
	return r.in.streamTo(r.upstream.Conn.(*net.TCPConn), r.client.(*net.TCPConn), 4+size, 0)
}

// streamAhead does the same for a request of which nothing was taken yet. It
// returns false where the request must be read.
func (r *reader) streamAhead(ctx context.Context) (bool, error) {
	if !r.in.ahead.next || r.in.r != r.in.w {
		return false, nil
	}
	r.in.ahead.next = false
	prefix, size, ok := r.in.peek()
	if !ok || size < minStream {
		return false, nil
	}

	p, owed, ok, err := r.passes(ctx, prefix, size)
	if !ok || err != nil {
		return false, err
	}

	r.answers.push(p, owed)
	total := 4 + size
	there := r.in.available()
	for n := 1; n < maxReady; n++ {
		prefix, size, ok := r.in.peekBehind(total, there)
		if !ok {
			break
		}

		p, owed, ok, err := r.passes(ctx, prefix, size)
		if !ok || err != nil {
			break // comes up again when it is the next
		}

		r.answers.push(p, owed)
		total += 4 + size
	}

	return true, r.in.streamTo(r.upstream.Conn.(*net.TCPConn), r.client.(*net.TCPConn), total, there)
}

// passes reports whether the request that begins with prefix may go by unread,
// and whether it will be answered.
func (r *reader) passes(ctx context.Context, prefix []byte, size int) (p pending, owed, ok bool, err error) {
	_, plainIn := r.client.(*net.TCPConn)
	_, plainOut := r.upstream.Conn.(*net.TCPConn)
	h, err := wire.ParseRequestHeader(prefix)
	if err != nil || size < minStream || h.Key != kmsg.Produce || !plainIn || !plainOut || r.cluster.cfg.Embedded {
		return p, false, false, nil // said in full once the frame is whole
	}
	if err := r.login.allows(h.Key); err != nil {
		return p, false, false, err
	}

	topic, acks, ok := wire.PeekProduce(h.Version, prefix[h.BodyOffset:])
	if !ok {
		return p, false, false, nil
	}

	bindings := r.cluster.bindings.Load()
	_, g := r.grantFor(ctx, &topic, bindings, r.knownTo(bindings, h.ClientID))
	return pendingFor(h), acks != 0, g.Unaudited, nil
}

// owe puts a request that goes by into the queue of those to be answered.
func (a *answers) push(p pending, owed bool) {
	if !owed {
		return
	}
	a.mu.Lock()
	a.queue.push(p)
	a.mu.Unlock()
}

// peek waits for bytes and returns how the next frame begins, without its
// length, and the length. Nothing is taken from the socket. ok is false where
// too little is there to tell, or the end.
func (in *inbox) peek() (prefix []byte, size int, ok bool) {
	if in.raw == nil {
		return nil, 0, false
	}
	in.release()
	if in.ahead.buf == nil {
		in.ahead.buf = make([]byte, aheadSize)
	}

	n := 0
	err := in.raw.Read(func(fd uintptr) bool {
		var err error
		n, err = ignoringEINTR(func() (int, error) {
			n, _, err := syscall.Recvfrom(int(fd), in.ahead.buf, syscall.MSG_PEEK)
			return n, err
		})
		return err != syscall.EAGAIN
	})
	if err != nil {
		return nil, 0, false // the read that follows says what it is
	}

	return in.beginning(in.ahead.buf[:n])
}

// beginning splits how a frame begins into its prefix and its length. It
// reports false where there is too little of it, or no length.
func (in *inbox) beginning(b []byte) (prefix []byte, size int, ok bool) {
	if len(b) < 4 {
		return nil, 0, false
	}
	length := binary.BigEndian.Uint32(b)
	if length < minFrame || length > uint32(in.bounds.maxFrame) {
		return nil, 0, false
	}

	return b[4:min(len(b), 4+int(length))], int(length), true
}

// partial returns what has arrived of an incomplete frame, without its length,
// and the length.
func (in *inbox) partial() (prefix []byte, size int, ok bool) {
	size, known, err := in.frameSize()
	if err != nil || !known || in.w-in.r >= 4+size {
		return nil, 0, false
	}
	return in.buf[in.r+4 : in.w], size, true
}

// streamTo sends the frames that have begun, size bytes in all: what is buffered,
// then the rest straight from the socket, where there bytes are known to be.
func (in *inbox) streamTo(to *net.TCPConn, from *net.TCPConn, size, there int) error {
	rest := int64(size - (in.w - in.r))
	in.began = time.Now()
	err := in.arm(in.began.Add(in.bounds.timeout))
	if err == nil && in.w > in.r {
		_, err = to.Write(in.buf[in.r:in.w])
	}

	for err == nil && rest > 0 {
		if least := int(min(rest, streamWait)); there < least {
			there = in.awaitBytes(least)
		}
		var n int64
		n, err = io.CopyN(to, from, min(rest, int64(there), streamPiece))
		rest -= n
		there -= int(n)

		if err != nil && in.rearm(err) {
			err = in.arm(in.began.Add(in.bounds.timeout))
		}
	}

	if err != nil {
		return fmt.Errorf("streaming %d bytes: %w", size, err)
	}
	in.r = 0
	in.w = 0
	in.began = time.Time{}
	in.arrival.end()
	in.ahead.next = true

	return nil
}
