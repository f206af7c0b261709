package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/guardlock/guardlock/gateway/wire"
)

// Large requests of topics that nothing is decided about need not pass through
// our memory: once the topic is known, the kernel moves the rest from socket to
// socket (splice(2), through io.CopyN between TCP connections). On a connection
// that sends such requests, the next one is looked at before it is taken, so
// that all of it goes this way.
const (
	minStream = 64 << 10 // rest of a frame worth the extra system calls
	aheadSize = 512      // enough of a request to see its topic

	streamPiece = 256 << 10 // what is moved at a time
)

// stream forwards the request that has begun to arrive, if it may go by
// unread: one topic, unaudited, to a real broker, without TLS on either side.
func (c *conn) stream(ctx context.Context) error {
	prefix, size, ok := c.in.partial()
	if !ok || size-len(prefix) < minStream {
		return nil
	}
	_, err := c.streamFrame(ctx, prefix, size)
	return err
}

// streamAhead does the same for a request of which nothing was taken yet. It
// returns false where the request must be read.
func (c *conn) streamAhead(ctx context.Context) (bool, error) {
	if !c.in.sip || c.in.r != c.in.w {
		return false, nil
	}
	c.in.sip = false
	prefix, size, ok := c.in.peek()
	if !ok || size < minStream {
		return false, nil
	}
	return c.streamFrame(ctx, prefix, size)
}

func (c *conn) streamFrame(ctx context.Context, prefix []byte, size int) (bool, error) {
	client, plainIn := c.client.(*net.TCPConn)
	upstream, plainOut := c.upstream.(*net.TCPConn)
	h, err := wire.ParseRequestHeader(prefix)
	if err != nil || h.Key != keyProduce || !plainIn || !plainOut || c.cluster.cfg.Embedded {
		return false, nil // said in full once the frame is whole
	}
	if err := c.admit(h.Key); err != nil {
		return false, err
	}
	topic, acks, ok := wire.PeekProduce(h.Version, prefix[h.BodyOffset:])
	if !ok {
		return false, nil
	}
	bindings := c.cluster.bindings.Load()
	if _, g := c.grantFor(ctx, &topic, bindings, c.knownTo(bindings, h.ClientID)); !g.Unaudited {
		return false, nil
	}
	if acks != 0 {
		c.mu.Lock()
		c.queue.push(pendingFor(h))
		c.mu.Unlock()
	}
	return true, c.in.streamTo(upstream, client, size)
}

// peek waits for bytes and returns how the next frame begins, without its
// length, and the length. Nothing is taken from the socket. ok is false where
// too little is there to tell, or the end.
func (in *inbox) peek() (prefix []byte, size int, ok bool) {
	if in.raw == nil {
		return nil, 0, false
	}
	in.release()
	if in.ahead == nil {
		in.ahead = make([]byte, aheadSize)
	}
	n := 0
	err := in.raw.Read(func(fd uintptr) bool {
		var err error
		n, err = ignoringEINTR(func() (int, error) {
			n, _, err := syscall.Recvfrom(int(fd), in.ahead, syscall.MSG_PEEK)
			return n, err
		})
		return err != syscall.EAGAIN
	})
	if err != nil || n < 4 {
		return nil, 0, false // the read that follows says what it is
	}
	length := binary.BigEndian.Uint32(in.ahead)
	if length < 4 || length > uint32(in.maxFrame) {
		return nil, 0, false
	}
	return in.ahead[4:min(n, 4+int(length))], int(length), true
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

// streamTo sends the frame that has begun: what is buffered, then the rest
// straight from the socket.
func (in *inbox) streamTo(to *net.TCPConn, from *net.TCPConn, size int) error {
	rest := int64(4 + size - (in.w - in.r))
	in.began = time.Now()
	err := in.arm(in.began.Add(in.patience))
	if err == nil && in.w > in.r {
		_, err = to.Write(in.buf[in.r:in.w])
	}
	for err == nil && rest > 0 {
		var n int64
		n, err = io.CopyN(to, from, int64(in.awaitBytes(int(min(rest, streamPiece)))))
		if rest -= n; err != nil && in.rearm(err) {
			err = in.arm(in.began.Add(in.patience))
		}
	}
	if err != nil {
		return fmt.Errorf("streaming a frame of %d bytes: %w", size, err)
	}
	in.r, in.w, in.began, in.sip = 0, 0, time.Time{}, true
	return nil
}
