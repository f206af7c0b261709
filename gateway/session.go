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

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// session is one client connection and its one upstream connection. Its reader
// takes requests, its writer takes answers, and both meet in what is owed.
type session struct {
	// Fixed after newSession.
	cluster *Cluster
	log     *zap.Logger
	client  net.Conn

	// Set by run before the goroutines start, and not changed after.
	peer peer

	login   login
	answers answers
	reader  reader

	age lifeline // until it must end between two requests

	mu       sync.Mutex
	upstream net.Conn    // guarded by mu; nil until it is dialed
	hungUp   atomic.Bool // the broker's end came first
}

// peer is what is known of a client before it says anything: its address, and
// what TLS tells.
type peer struct {
	id     uint64 // of the connection
	source string // host
	tls    audit.TLS
	level  TLSLevel
}

const anonymous = pipeline.Anonymous

// newSession makes the session of a connection that was just accepted. Nothing
// of the client is known but its address, and no goroutine runs.
func newSession(c *Cluster, client net.Conn) *session {
	cfg := &c.gw.cfg
	s := &session{
		cluster: c,
		log:     c.log.With(zap.String("client", client.RemoteAddr().String())),
		client:  client,
		peer:    peer{id: c.gw.lastConn.Add(1), source: hostOf(client)},
		login:   login{access: &c.cfg.Access, timeout: cfg.AuthTimeout, counts: &c.counts},
		answers: answers{
			cluster: c,
			ends:    ends{client: newSocket(client)},
			reading: true,
			idle:    make(chan struct{}),
			room:    make(chan struct{}, 1),
			ended:   make(chan struct{}),
		},
	}

	s.answers.retirement.rest = func() { s.reader.in.breakOff() }
	s.login.end = s.kill
	s.login.drain = s.drain
	name := anonymous
	s.login.principal.Store(&name)

	s.reader = reader{
		cluster: c,
		log:     s.log,
		client:  client,
		peer:    &s.peer,
		login:   &s.login,
		answers: &s.answers,
		in:      newInbox(client, c.gw.memory.requests, cfg.MaxFrame, cfg.FrameTimeout),
		encodes: encodeMemory{pool: c.gw.memory.encodes, timeout: cfg.FrameTimeout},
	}

	s.reader.in.pipelined = s.answers.pipelined
	s.reader.in.memory.owner = c.gw.sources.join(s.peer.source)
	return s
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
func (s *session) run(ctx context.Context, to target) error {
	defer s.cluster.gw.sources.leave(s.peer.source)
	defer s.client.Close()
	if err := s.handshake(ctx); err != nil {
		return err
	}

	s.noteTLS()
	if err := s.login.identify(s.client); err != nil {
		return err
	}

	defer s.login.life.set(0, nil)

	to, err := s.chosen(ctx, to)
	if err != nil {
		return err
	}

	s.answers.node = to.node
	up, err := s.dial(ctx, to)
	if err != nil {
		s.reset()
		return err
	}

	defer up.Close()
	defer s.login.service.set(0, nil)

	s.mu.Lock()
	s.upstream = up
	s.mu.Unlock()

	defer s.age.set(0, nil)
	if limit := s.cluster.gw.cfg.MaxConnectionAge; limit > 0 {
		s.age.set(ageOf(limit), s.retire)
	}

	err = s.relay(ctx, up)
	if s.answers.isDraining() {
		s.part()
	}
	return err
}

// relay runs the reader and the writer until both have ended. The end of either
// ends the other; that of the reader once what was forwarded is answered.
func (s *session) relay(ctx context.Context, up net.Conn) error {
	s.reader.upstream = newSocket(up)
	defer s.reader.in.release()

	var wg sync.WaitGroup
	var writeErr error
	wg.Go(func() {
		defer close(s.answers.ended)
		writeErr = newWriter(s, up).run(ctx)
		s.hangUp() // no answers will come: the reader has nothing to do
	})

	readErr := s.reader.read(ctx)
	linger := s.cluster.gw.cfg.DrainTimeout
	if errors.Is(readErr, errAged) {
		s.answers.drain() // every answer is owed, as at our own end
		linger = longestAnswer
	}
	s.answers.endReading()
	s.answers.lingerForAnswers(ctx, linger)
	up.Close()
	wg.Wait()

	s.cluster.resolver.add(s.answers.abandoned())
	return firstReal(s.login.life.cause(), readErr, writeErr)
}

// handshake ends within a deadline: before it nothing is known of the client,
// and everybody can open connections.
func (s *session) handshake(ctx context.Context) error {
	t, ok := s.client.(*tls.Conn)
	if !ok {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, s.cluster.gw.cfg.DialTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}

	return nil
}

var errHandshake = errors.New("TLS handshake failed")

// dial connects to the broker that the client wants, and authenticates there as
// the gateway where clients are terminated. For a bootstrap connection it tries
// each address once.
func (s *session) dial(ctx context.Context, to target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cluster.gw.cfg.DialTimeout)
	defer cancel()
	var last error
	for range s.cluster.cfg.Upstream.Bootstrap() {
		addr, known := to.addr()
		if !known {
			return nil, fmt.Errorf("dialing broker %d: %w", to.node, errNoBroker)
		}

		up, err := s.cluster.cfg.Upstream.DialNode(ctx, addr)
		if err == nil {
			err = s.asService(ctx, up, addr.String())
		}
		if err == nil {
			return up, nil
		}

		last = err
		if to.node >= 0 {
			break // there is no other address for this broker
		}
	}

	return nil, fmt.Errorf("%w: %w", errUnreachable, last)
}

var errUnreachable = errors.New("dialing the cluster")

// hangUp ends the client's connection because the broker's has ended, as the
// broker would have.
func (s *session) hangUp() {
	if !s.answers.isOver() {
		s.hungUp.Store(true)
	}
	if !s.answers.begun.Load() {
		s.reset()
	}
	s.client.Close()
}

// reset ends the client's connection the way that a host without a broker does:
// clients take an orderly end before the first answer for a TLS mismatch, and
// some give up for good.
func (s *session) reset() {
	raw := s.client
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	abort(raw)
}

// abort ends a connection at once, and says nothing.
func abort(raw net.Conn) {
	if t, ok := raw.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	raw.Close()
}

// drain makes the reader stop after the requests that it has read. Their
// answers still come.
func (s *session) drain() {
	s.answers.drain()
	// A blocked read returns at once; bytes not read yet stay unread, and the
	// client sends them again elsewhere.
	s.reader.in.stop()
}

// kill ends both sides now, and run with err, unless an earlier cause is known.
func (s *session) kill(err error) {
	s.login.life.fail(err)
	s.client.Close()

	s.mu.Lock()
	up := s.upstream
	s.mu.Unlock()

	if up != nil {
		up.Close()
	}
}

// firstReal picks the error that is worth telling: that a peer has ended the
// connection is none.
func firstReal(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}

// logEnd says how the session ended, as a warning where somebody should look.
func (s *session) logEnd(err error) {
	switch {
	case err == nil || errors.Is(err, errAged):
		s.log.Debug("connection closed")
	case errors.Is(err, errFrame) || errors.Is(err, errSlow) || isClientFault(err) || isAccessFault(err):
		s.log.Warn("connection refused", zap.Error(err))
	default:
		s.log.Info("connection ended", zap.Error(err))
	}
}
