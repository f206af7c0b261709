package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// AccessConfig says how the clients of a cluster prove who they are. The zero
// value leaves it to the cluster: SASL passes through, is read along, and is
// not demanded here.
type AccessConfig struct {
	// Terminate ends authentication here: the cluster never sees the clients'
	// own. Clients prove who they are to Server or, if that is nil, by the
	// certificate that the TLS configuration must then demand.
	Terminate bool
	Server    *auth.Server
	// Service authenticates the upstream connection of every client that is
	// terminated, before anything of the client goes there. nil: the cluster
	// asks for nothing, or knows us by TLS.
	Service sasl.Mechanism

	// Require lets clients do nothing else until the cluster has accepted
	// them. Terminated clients are always held to that.
	Require bool
	// Mechanisms that may pass to the cluster; empty: all.
	Mechanisms []string
	// Claim names clients in tokens that pass to the cluster; empty: sub.
	Claim string

	// Certificates names clients by their TLS certificates.
	Certificates *auth.Mapping
}

// Bounds before a client is authenticated: nobody knows yet whether it is one.
const maxUnauthenticatedFrame = 64 << 10

var (
	errUnauthenticated   = errors.New("client is not authenticated")
	errLogin             = errors.New("client was not authenticated")
	errLoginDeadline     = errors.New("client was not authenticated in time")
	errSessionExpired    = errors.New("client's session has expired")
	errPrincipalChanged  = errors.New("client changed its principal")
	errCredentialRevoked = errors.New("client's credentials were changed or removed")
	errServiceExpired    = errors.New("gateway's own session at the broker ends")
)

// isAccessFault: worth a warning, since somebody may be trying.
func isAccessFault(err error) bool {
	for _, fault := range []error{errUnauthenticated, errLogin, errLoginDeadline, errPrincipalChanged, errCredentialRevoked, auth.ErrNoRule} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// session is what a client has proved, or was not asked to prove. It is
// immutable; a connection without one may do nothing but authenticate.
type session struct {
	proven   bool   // by SASL, so that it must stay the same (KIP-368)
	name     string // empty: the mechanism does not tell
	expires  time.Time
	identity auth.Identity // of a terminated client
}

func (s *session) expired() bool { return !s.expires.IsZero() && !time.Now().Before(s.expires) }

// lifeline ends a connection when its time is up: for authenticating, or for a
// session that is not renewed. Safe for concurrent use.
type lifeline struct {
	mu     sync.Mutex
	timer  *time.Timer
	reason error
}

// set replaces the time that is left; 0 is for ever.
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

// because remembers the first reason for the end.
func (l *lifeline) because(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil {
		l.reason = err
	}
}

func (l *lifeline) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// identify names the client by its certificate, if it has one, and decides
// whether it must authenticate. The TLS handshake is over.
func (c *conn) identify() error {
	cfg := &c.cluster.cfg.Access
	if t, ok := c.client.(*tls.Conn); ok {
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			name, err := cfg.Certificates.Name(certs[0])
			if err != nil {
				return fmt.Errorf("naming the client: %w", err)
			}
			c.rename(name)
		} else if cfg.Terminate && cfg.Server == nil {
			return fmt.Errorf("looking for the client's certificate: %w", errUnauthenticated)
		}
	} else if cfg.Terminate && cfg.Server == nil {
		return fmt.Errorf("looking for the client's certificate: %w", errUnauthenticated)
	}
	if cfg.Require && !cfg.Terminate || cfg.Server != nil {
		c.closeGate()
		return nil
	}
	c.session.Store(&session{})
	return nil
}

func (c *conn) rename(name string) {
	p := "User:" + name
	c.principal.Store(&p)
}

// closeGate leaves the client AuthTimeout to authenticate, and nothing else.
func (c *conn) closeGate() {
	c.session.Store(nil)
	c.life.set(c.cluster.gw.cfg.AuthTimeout, c.timeUp)
}

// proved opens the gate, or renews what opened it. lifetime 0 is for ever.
// Whoever calls it has not told the client yet.
func (c *conn) proved(name string, id auth.Identity, lifetime time.Duration) error {
	if old := c.session.Load(); old != nil && old.proven && old.name != name {
		return errPrincipalChanged
	}
	s := &session{proven: true, name: name, identity: id}
	if lifetime > 0 {
		s.expires = time.Now().Add(lifetime)
	}
	if name != "" {
		c.rename(name)
	}
	c.session.Store(s)
	c.life.set(lifetime, c.timeUp)
	return nil
}

// timeUp runs when the lifeline ends.
func (c *conn) timeUp() {
	switch s := c.session.Load(); {
	case s == nil:
		c.life.because(errLoginDeadline)
		c.kill(errLoginDeadline)
	case s.expired():
		c.life.because(errSessionExpired)
		c.drain() // what was asked in time is still answered
	}
}

// admit decides whether the client may send such a request now. It is asked
// for every request.
func (c *conn) admit(key kmsg.Key) error {
	s := c.session.Load()
	if api, ok := wire.Lookup(key); ok && api.PreAuth {
		return nil
	}
	switch {
	case s == nil:
		return fmt.Errorf("checking %s: %w", wire.KeyName(key), errUnauthenticated)
	case s.expired():
		return fmt.Errorf("checking %s: %w", wire.KeyName(key), errSessionExpired)
	case s.proven && c.cluster.cfg.Access.Server != nil && !c.cluster.cfg.Access.Server.Holds(s.identity):
		return fmt.Errorf("checking %s: %w", wire.KeyName(key), errCredentialRevoked)
	}
	return nil
}

// bound sets how large the next frame may be, and how small: bare SASL tokens
// may be empty.
func (c *conn) bound() {
	c.in.maxFrame, c.in.minFrame = c.cluster.gw.cfg.MaxFrame, minFrame
	if c.session.Load() == nil {
		c.in.maxFrame = min(c.in.maxFrame, maxUnauthenticatedFrame)
	}
	if c.bareTokens {
		c.in.minFrame = 0
	}
}

// identityAPIs are about who may connect to the cluster. Where authentication
// ends here they would act for the gateway's own identity: a client could take
// a delegation token of it, or change its password.
var identityAPIs = [...]kmsg.Key{kmsg.CreateDelegationToken, kmsg.RenewDelegationToken, kmsg.ExpireDelegationToken, kmsg.DescribeDelegationToken, kmsg.DescribeUserSCRAMCredentials, kmsg.AlterUserSCRAMCredentials}

// apiOptions is what a cluster's clients may ask for.
func apiOptions(cfg ClusterConfig) wire.ApiOptions {
	o := wire.ApiOptions{Telemetry: cfg.Telemetry, TerminateSASL: cfg.Access.Terminate && cfg.Access.Server != nil}
	if cfg.Access.Terminate {
		o.Caps = map[kmsg.Key]int16{}
		for _, key := range identityAPIs {
			o.Caps[key] = -1
		}
		if cfg.Access.Server == nil {
			o.Caps[kmsg.SASLHandshake], o.Caps[kmsg.SASLAuthenticate] = -1, -1
		}
	}
	return o
}
