package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// login is how one client proves who it is, and for how long. The reader sees
// the client's requests, the writer the broker's answers. It is safe for
// concurrent use.
type login struct {
	// Fixed after newSession.
	access  *AccessConfig
	timeout time.Duration // for authenticating, and for one step of it
	end     func(error)   // ends the session now
	drain   func()        // ends it once what was asked is answered
	counts  *clusterCounts

	principal atomic.Pointer[string]
	proof     atomic.Pointer[proof] // nil: the client must authenticate first
	exchange  exchange
	life      lifeline // of the client's session
	service   lifeline // of our own session at the broker
}

// proof is what a client has proved, or was not asked to prove. It is
// immutable; a connection without one may do nothing but authenticate.
type proof struct {
	proven   bool   // by SASL, so that it must stay the same (KIP-368)
	name     string // empty: the mechanism does not tell
	expires  time.Time
	identity auth.Identity // of a terminated client
}

func (p *proof) expired() bool { return !p.expires.IsZero() && !time.Now().Before(p.expires) }

// lifeline ends a connection when its time is up: for authenticating, or for a
// session that is not renewed. It is safe for concurrent use.
type lifeline struct {
	mu     sync.Mutex
	timer  *time.Timer
	reason error
}

// set replaces the time that is left before up is called; 0 is for ever.
func (l *lifeline) set(left time.Duration, up func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}

	if left > 0 {
		l.timer = time.AfterFunc(left, up)
	}
}

// fail remembers the first cause of the end. Later ones follow from it.
func (l *lifeline) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil {
		l.reason = err
	}
}

func (l *lifeline) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// identify names the client by its certificate, if it has one, and decides
// whether it must authenticate. The TLS handshake is over.
func (l *login) identify(client net.Conn) error {
	cfg := l.access
	if t, ok := client.(*tls.Conn); ok {
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			name, err := cfg.Certificates.Name(certs[0])
			if err != nil {
				return fmt.Errorf("naming the client: %w", err)
			}
			l.rename(name)
		} else if cfg.Terminate && cfg.Server == nil {
			return fmt.Errorf("looking for the client's certificate: %w", errUnauthenticated)
		}
	} else if cfg.Terminate && cfg.Server == nil {
		return fmt.Errorf("looking for the client's certificate: %w", errUnauthenticated)
	}

	if cfg.Require && !cfg.Terminate || cfg.Server != nil {
		l.closeGate()
		return nil
	}

	l.proof.Store(&proof{})
	return nil
}

func (l *login) rename(name string) {
	p := "User:" + name
	l.principal.Store(&p)
}

// closeGate leaves the client a while to authenticate, and nothing else to do
// until then.
func (l *login) closeGate() {
	l.proof.Store(nil)
	l.life.set(l.timeout, l.timeUp)
}

// proved opens the gate, or renews what opened it. lifetime 0 is for ever.
// Whoever calls it has not told the client yet.
func (l *login) proved(name string, id auth.Identity, lifetime time.Duration) error {
	if old := l.proof.Load(); old != nil && old.proven && old.name != name {
		return errPrincipalChanged
	}
	s := &proof{proven: true, name: name, identity: id}
	if lifetime > 0 {
		s.expires = time.Now().Add(lifetime)
	}
	if name != "" {
		l.rename(name)
	}

	l.proof.Store(s)
	l.counts.authenticated.Add(1)
	l.life.set(lifetime, l.timeUp)
	return nil
}

// timeUp runs when the lifeline ends, and ends the session if it was not
// renewed in the meantime.
func (l *login) timeUp() {
	switch s := l.proof.Load(); {
	case s == nil:
		l.end(errLoginDeadline)
	case s.expired():
		l.life.fail(errSessionExpired)
		l.drain() // what was asked in time is still answered
	}
}

// allows decides whether the client may send such a request now. It is asked
// for every request.
func (l *login) allows(key kmsg.Key) error {
	s := l.proof.Load()
	if api, ok := wire.Lookup(key); ok && api.PreAuth {
		return nil
	}

	switch {
	case s == nil:
		return fmt.Errorf("checking %s: %w", wire.KeyName(key), errUnauthenticated)
	case s.expired():
		return fmt.Errorf("checking %s: %w", wire.KeyName(key), errSessionExpired)
	case s.proven && l.access.Server != nil && !l.access.Server.Holds(s.identity):
		return fmt.Errorf("checking %s: %w", wire.KeyName(key), errCredentialRevoked)
	}

	return nil
}

// exchange is one SASL exchange between the client and whoever authenticates
// it. The reader sees the client's messages, the writer the broker's.
type exchange struct {
	mu        sync.Mutex
	phase     phase
	server    *auth.Exchange  // the gateway authenticates
	inspector *auth.Inspector // the cluster does
	opaque    bool            // its end cannot be told: further tokens may follow success
}

type phase uint8

const (
	phaseNone   phase = iota
	phaseAsked        // the mechanism was asked for, and the broker has not answered
	phaseTokens       // the client's next token may come
	phaseSent         // the broker has not answered a token
)

// nextHere takes one token of the client and, at the end of the exchange, lets
// it in. It returns for how long; 0 is for ever.
func (l *login) nextHere(ctx context.Context, token []byte) (auth.Result, time.Duration, error) {
	defer clear(token) // it may be a password, and buffers live long
	x := &l.exchange
	x.mu.Lock()
	defer x.mu.Unlock()

	if x.phase != phaseTokens {
		return auth.Result{}, 0, errSASLState
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()

	r, err := x.server.Next(ctx, token)
	if err != nil || !r.Done {
		return r, 0, err
	}

	x.server = nil
	x.phase = phaseNone
	lifetime, ends := l.access.Server.Lifetime(r.Identity)
	if ends && lifetime <= 0 {
		return r, 0, errSessionExpired // within the allowed difference of clocks
	}

	return r, lifetime, l.proved(r.Identity.Name, r.Identity, lifetime)
}

// inspect reads the client's token before it is forwarded, so that the gateway
// knows who is authenticating.
func (l *login) inspect(token []byte) error {
	x := &l.exchange
	x.mu.Lock()
	defer x.mu.Unlock()

	if x.phase != phaseTokens {
		return errSASLState
	}
	if err := x.inspector.Client(token); err != nil {
		return err
	}

	x.phase = phaseSent
	return nil
}

// reported follows the exchange in the broker's answers. It is called before
// the client sees the answer, so that whatever the client sends next is judged
// under its name. An error ends the connection.
func (l *login) reported(p *pending, frame []byte) error {
	x := &l.exchange
	x.mu.Lock()
	defer x.mu.Unlock()
	token, lifetime, ok, err := readSASLAnswer(p, frame)

	switch {
	case err != nil:
		return err
	case !ok:
		x.phase = phaseNone
		return nil
	case p.key == kmsg.SASLHandshake && !p.bare:
		x.phase = phaseTokens
		return nil
	}

	x.phase = phaseTokens
	if !x.inspector.Broker(token) {
		return nil
	}
	if !x.opaque {
		x.phase = phaseNone
	}

	return l.proved(x.inspector.Name(), auth.Identity{}, lifetime)
}
