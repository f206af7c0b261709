package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/wire"
)

// conn is one client connection and its one upstream connection.
type conn struct {
	// fixed after newConn; upstream, tls and level are set by run before the
	// goroutines start
	cluster  *Cluster
	log      *zap.Logger
	client   net.Conn
	upstream net.Conn
	source   string // host of the client
	tls      audit.TLS
	level    TLSLevel
	id       uint64

	// owned by the reader
	in      *inbox
	guard   pipeline.Guard
	steps   []step
	out     outbox
	cuts    []wire.Cut
	encodes encodeMemory

	known Known // the client, as the snapshot that was asked last sees it

	bareTokens bool // SASL tokens come without Kafka's headers; owned by the reader

	// set by whoever authenticates, read by the reader
	principal atomic.Pointer[string]
	session   atomic.Pointer[session] // nil: the client must authenticate first
	exchange  exchange
	life      lifeline // of the client's session
	service   lifeline // of our own session at the broker

	// writeMu serialises writes to the client; held before mu
	writeMu     sync.Mutex
	writesUntil time.Time // the write deadline that is set; guarded by writeMu
	gone        bool      // the client cannot be written to any more; guarded by writeMu

	spoken atomic.Bool // the client has had an answer

	// blockedSince is when the write to the client that is under way began, in
	// nanoseconds since the epoch; 0 if there is none
	blockedSince atomic.Int64

	mu       sync.Mutex
	queue    queue
	reading  bool          // the reader may still add to the queue
	idle     chan struct{} // closed when reading is over and nothing is owed
	room     chan struct{} // told when answers have left the queue
	ended    chan struct{} // closed when no more answers will come from upstream
	draining bool
}

const anonymous = "User:ANONYMOUS" // Kafka's name for an unauthenticated principal

func newConn(c *Cluster, client net.Conn) *conn {
	conn := &conn{cluster: c, client: client, id: c.gw.lastConn.Add(1), source: hostOf(client), reading: true,
		idle: make(chan struct{}), room: make(chan struct{}, 1), ended: make(chan struct{})}
	conn.log = c.log.With(zap.String("client", client.RemoteAddr().String()))
	conn.in = newInbox(client, c.gw.memory.requests, c.gw.cfg.MaxFrame, c.gw.cfg.FrameTimeout)
	conn.in.crowded = conn.pipelined
	conn.encodes = encodeMemory{pool: c.gw.memory.encodes, timeout: c.gw.cfg.FrameTimeout}
	p := anonymous
	conn.principal.Store(&p)
	return conn
}

func hostOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return host
}

var errStalled = errors.New("the client does not take its answers, and others wait for the memory")

var errNoBroker = errors.New("broker has not been seen yet")

// run serves the connection until either side ends. It returns after both of
// its goroutines have ended and both sockets are closed.
func (c *conn) run(ctx context.Context, to target) error {
	defer c.client.Close()
	if err := c.handshake(ctx); err != nil {
		return err
	}
	c.noteTLS()
	if err := c.identify(); err != nil {
		return err
	}
	defer c.life.set(0, nil)
	to, err := c.chosen(ctx, to)
	if err != nil {
		return err
	}
	up, err := c.dial(ctx, to)
	if err != nil {
		c.reset()
		return err
	}
	defer up.Close()
	defer c.service.set(0, nil)
	c.mu.Lock()
	c.upstream = up
	c.mu.Unlock()
	cfg := &c.cluster.gw.cfg
	defer c.in.release()

	var wg sync.WaitGroup
	var writeErr error
	wg.Go(func() {
		defer close(c.ended)
		writeErr = c.write(ctx)
		c.hangUp() // no answers will come: the reader has nothing to do
	})
	readErr := c.read(ctx)
	c.endReading()
	c.lingerForAnswers(ctx, cfg.DrainTimeout)
	up.Close()
	wg.Wait()
	c.abandonPending()
	return firstReal(c.life.why(), readErr, writeErr)
}

// handshake ends within a deadline: before it nothing is known of the client.
func (c *conn) handshake(ctx context.Context) error {
	t, ok := c.client.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cluster.gw.cfg.DialTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	return nil
}

var errHandshake = errors.New("TLS handshake failed")

func (c *conn) dial(ctx context.Context, to target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cluster.gw.cfg.DialTimeout)
	defer cancel()
	var last error
	for range c.cluster.cfg.Upstream.Bootstrap() {
		addr, known := to.addr()
		if !known {
			return nil, fmt.Errorf("dialing broker %d: %w", to.node, errNoBroker)
		}
		up, err := c.cluster.cfg.Upstream.DialNode(ctx, addr)
		if err == nil {
			err = c.asService(ctx, up, addr.String())
		}
		if err == nil {
			return up, nil
		}
		last = err
		if to.node >= 0 {
			break // there is no other address for this broker
		}
	}
	return nil, fmt.Errorf("dialing the cluster: %w", last)
}

// hangUp ends the client's connection because the broker's has ended.
func (c *conn) hangUp() {
	if !c.spoken.Load() {
		c.reset()
	}
	c.client.Close()
}

// reset ends the client's connection the way that a host without a broker does:
// clients take an orderly end before the first answer for a TLS mismatch, and
// some give up for good.
func (c *conn) reset() {
	raw := c.client
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		t.SetLinger(0)
		t.Close()
	}
}

// endReading says that nothing will be added to the queue any more.
func (c *conn) endReading() {
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	c.checkIdle()
}

// settled reports whether nothing is owed that is worth waiting for. While
// draining that is every answer; once the client has gone, only those that say
// where its records are. Called with mu held.
func (c *conn) settled() bool {
	return !c.reading && (c.queue.empty() || !c.draining && c.queue.produces == 0)
}

// lingerForAnswers waits until what was forwarded has been answered.
func (c *conn) lingerForAnswers(ctx context.Context, limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.idle:
	case <-c.ended:
	case <-t.C:
	case <-ctx.Done():
	}
}

// abandonPending hands the decisions that will get no answer any more to the
// resolver. Both goroutines have ended.
func (c *conn) abandonPending() {
	for !c.queue.empty() {
		if p := c.queue.pop(); p.produce != nil {
			c.cluster.resolver.add(p.produce.unanswered())
		}
	}
}

// drain makes the reader stop after the requests that it has read.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	// A blocked read returns at once; bytes not read yet stay unread, and the
	// client sends them again elsewhere.
	c.in.stop()
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// kill ends both sides now.
func (c *conn) kill(error) {
	c.client.Close()
	c.mu.Lock()
	up := c.upstream
	c.mu.Unlock()
	if up != nil {
		up.Close()
	}
}

// pipelined reports whether the client asks on before it is answered. Whoever
// has one request under way waits for its answer, and is never made to wait for
// the company of others.
func (c *conn) pipelined() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.count > 1
}

// firstReal picks the error worth telling: the end of a peer is none.
func firstReal(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}

func (c *conn) logEnd(err error) {
	switch {
	case err == nil:
		c.log.Debug("connection closed")
	case errors.Is(err, errFrame) || isClientFault(err) || isAccessFault(err):
		c.log.Warn("connection refused", zap.Error(err))
	default:
		c.log.Info("connection ended", zap.Error(err))
	}
}
