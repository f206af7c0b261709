// Package auth decides who a Kafka client is. It is pure: messages in, messages
// and verdicts out. Sockets, Kafka frames and files belong to its callers.
//
// [Server] authenticates clients itself: PLAIN (RFC 4616), SCRAM-SHA-256 and
// SCRAM-SHA-512 (RFC 5802, RFC 7677) against one file of salted hashes, and
// OAUTHBEARER (RFC 7628) with JSON Web Tokens. [Inspector] reads along where the
// cluster authenticates, so that policy knows the name that the cluster accepted.
// [Mapping] names the holder of a client certificate.
//
// Trust: every message of a client is hostile, and none may make two readers
// disagree about the name in it: what is not exactly as the mechanism's
// specification has it is refused. A name counts only after success. An unknown
// user costs what a wrong password costs and looks the same. No error text holds
// anything that a client sent.
package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// The mechanisms that are understood here, as Kafka and SASL spell them.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
)

// MaxMessage bounds one message of a client, in bytes. A longer one ends the
// exchange before anything of it is read.
const MaxMessage = 64 << 10

var (
	// ErrMechanism is returned where a client asks for a mechanism that is not
	// offered, or a configuration offers one that is not understood.
	ErrMechanism = errors.New("SASL mechanism is not offered")
	// ErrFailed means that the client did not prove who it is. It is all that a
	// client is told, whatever the reason.
	ErrFailed = errors.New("authentication failed")
	// ErrMessage is returned for a message that is not what the mechanism's
	// specification says. Nothing was checked then.
	ErrMessage = errors.New("malformed SASL message")
)

// Identity is who a client has proved to be, and for how long. Only an Exchange
// and a Verifier make one.
type Identity struct {
	Name    string    // as Kafka has it behind "User:"
	Expires time.Time // when the proof ends; zero: never by itself

	stamp [32]byte // of the credentials that proved it; zero for tokens
}

// Result is what one message of a client led to. Reply goes back to the client
// whether or not the exchange is done; Identity is set when it is.
type Result struct {
	Reply    []byte
	Done     bool
	Identity Identity
}

// Config is what a Server is built from. What a mechanism needs is required
// only where that mechanism is offered.
type Config struct {
	Mechanisms  []string
	Credentials func() *Credentials // the newest; needed for PLAIN and SCRAM
	Tokens      *Verifier           // needed for OAUTHBEARER
	Now         func() time.Time    // nil: time.Now
	// SessionLifetime ends every session, which the client can renew (KIP-368).
	// 0: only tokens end sessions.
	SessionLifetime time.Duration
}

// Server authenticates clients, each by an Exchange of its own. It is safe for
// concurrent use.
type Server struct {
	cfg     Config
	hashing chan struct{} // slots for password hashing: logins must not starve records
	nonce   func() string // nil: 24 random bytes; RFC 7677's own in a test
}

// NewServer checks that every mechanism has what it needs: credentials for
// PLAIN and SCRAM, rules for tokens for OAUTHBEARER.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	for _, m := range cfg.Mechanisms {
		switch m {
		case Plain, ScramSHA256, ScramSHA512:
			if cfg.Credentials == nil {
				return nil, fmt.Errorf("offering %s: it needs credentials", m)
			}
		case OAuthBearer:
			if cfg.Tokens == nil {
				return nil, fmt.Errorf("offering %s: it needs rules for tokens", m)
			}
		default:
			return nil, fmt.Errorf("offering %q: %w", m, ErrMechanism)
		}
	}

	return &Server{cfg: cfg, hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}, nil
}

// Mechanisms lists what is offered, in the configured order, as a handshake
// answers it.
func (s *Server) Mechanisms() []string { return slices.Clone(s.cfg.Mechanisms) }

// Begin starts an exchange by a mechanism, or returns ErrMechanism for one that
// is not offered.
func (s *Server) Begin(mechanism string) (*Exchange, error) {
	if !slices.Contains(s.cfg.Mechanisms, mechanism) {
		return nil, ErrMechanism
	}
	e := &Exchange{}
	switch mechanism {
	case Plain:
		e.next = s.plain
	case OAuthBearer:
		e.next = (&bearerExchange{server: s}).next
	default:
		next, err := s.scram(mechanism)
		if err != nil {
			return nil, err
		}
		e.next = next
	}

	return e, nil
}

// Lifetime returns how long a session of id lasts from now; ok is false when it
// has no end.
func (s *Server) Lifetime(id Identity) (d time.Duration, ok bool) {
	d = s.cfg.SessionLifetime
	ok = s.cfg.SessionLifetime > 0
	if !id.Expires.IsZero() {
		if left := id.Expires.Sub(s.cfg.Now()); !ok || left < d {
			d = left
			ok = true
		}
	}

	return d, ok
}

// Holds reports whether the credentials that proved id are still in force. A
// removed user, and one with a new password, is nobody.
func (s *Server) Holds(id Identity) bool {
	if id.stamp == ([32]byte{}) {
		return true // a token speaks for itself until it expires
	}
	stamp, known := s.cfg.Credentials().stamp(id.Name)
	return known && stamp == id.stamp
}

// Exchange is one authentication of one client, for one goroutine. After an
// error or Done it is over.
type Exchange struct {
	next func(ctx context.Context, msg []byte) (Result, error)
	over bool
}

// Next takes the client's next message, which it does not keep. An error wraps
// ErrFailed or ErrMessage, or is that of ctx.
func (e *Exchange) Next(ctx context.Context, msg []byte) (Result, error) {
	if e.over {
		return Result{}, fmt.Errorf("going on after the end: %w", ErrMessage)
	}
	if len(msg) > MaxMessage {
		e.over = true
		return Result{}, fmt.Errorf("reading SASL message of %d bytes: %w", len(msg), ErrMessage)
	}

	r, err := e.next(ctx, msg)
	e.over = err != nil || r.Done
	return r, err
}

// identify names whoever proved the credentials of name, with a stamp of these
// credentials, by which Holds sees that they changed.
func (s *Server) identify(c *Credentials, name string) Identity {
	stamp, _ := c.stamp(name)
	return Identity{Name: name, stamp: stamp}
}

// maxName bounds a user's name in bytes, far below what Kafka could carry,
// since names are stored with every decision.
const maxName = 255

// checkName refuses what must not become part of a principal: it is matched by
// policy, printed in logs and kept for auditors.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("reading user name: %w", ErrMessage)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return fmt.Errorf("reading user name: %w", ErrMessage)
		}
	}

	return nil
}
