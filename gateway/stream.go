package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/guardlock/guardlock/gateway/wire"
)

// Large requests of topics that nothing is decided about need not pass through
// our memory: once the topic is known, the kernel moves the rest from socket to
// socket (splice(2), through io.CopyN between TCP connections).
const (
	minStream = 64 << 10 // rest of a frame worth the extra system calls
	sipSize   = 4 << 10  // what is read of the next frame on a connection that streams
)

// stream forwards the request that has begun to arrive, if it may go by
// unread: one topic, unaudited, to a real broker, without TLS on either side.
func (c *conn) stream(ctx context.Context) error {
	prefix, size, ok := c.in.partial()
	if !ok || size-len(prefix) < minStream || c.cluster.cfg.Embedded {
		return nil
	}
	client, plainIn := c.client.(*net.TCPConn)
	upstream, plainOut := c.upstream.(*net.TCPConn)
	h, err := wire.ParseRequestHeader(prefix)
	if err != nil || h.Key != keyProduce || !plainIn || !plainOut {
		return nil // said in full once the frame is whole
	}
	if err := c.admit(h.Key); err != nil {
		return err
	}
	topic, acks, ok := wire.PeekProduce(h.Version, prefix[h.BodyOffset:])
	if !ok {
		return nil
	}
	if _, g := c.grantFor(ctx, &topic, c.cluster.bindings.Load(), *c.principal.Load()); !g.Unaudited {
		return nil
	}
	if acks != 0 {
		c.mu.Lock()
		c.queue.push(pendingFor(h))
		c.mu.Unlock()
	}
	return c.in.streamTo(upstream, client, size)
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
	rest := int64(size - (in.w - in.r - 4))
	in.began = time.Now()
	err := in.arm(in.began.Add(in.patience))
	if err == nil {
		_, err = to.Write(in.buf[in.r:in.w])
	}
	for err == nil && rest > 0 {
		var n int64
		n, err = io.CopyN(to, from, rest)
		if rest -= n; err != nil && in.rearm(err) {
			err = in.arm(in.began.Add(in.patience))
		}
	}
	if err != nil {
		return fmt.Errorf("streaming a frame of %d bytes: %w", binary.BigEndian.Uint32(in.buf[in.r:]), err)
	}
	in.r, in.w, in.began, in.sip = 0, 0, time.Time{}, true
	return nil
}
