package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// failureDelay slows down whoever guesses passwords.
const failureDelay = 100 * time.Millisecond

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

// saslRequest handles SaslHandshake and SaslAuthenticate.
func (c *conn) saslRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	body := frame[h.BodyOffset:]
	if len(body) > maxUnauthenticatedFrame {
		return fmt.Errorf("checking %s: %w", wire.KeyName(h.Key), wire.ErrTooLarge)
	}
	if err := wire.CheckRequest(h.Key, h.Version, body); err != nil {
		return err
	}
	if h.Key == kmsg.SASLHandshake {
		req := kmsg.SASLHandshakeRequest{Version: h.Version}
		if err := req.ReadFrom(body); err != nil {
			return fmt.Errorf("reading SaslHandshake: %w", wire.ErrMalformed)
		}
		if c.cluster.cfg.Access.Terminate {
			return c.handshakeHere(h, req.Mechanism)
		}
		return c.passHandshake(h, frame, req.Mechanism)
	}
	req := kmsg.SASLAuthenticateRequest{Version: h.Version}
	if err := req.ReadFrom(body); err != nil {
		return fmt.Errorf("reading SaslAuthenticate: %w", wire.ErrMalformed)
	}
	if c.cluster.cfg.Access.Terminate {
		return c.authenticateHere(ctx, h, req.SASLAuthBytes)
	}
	return c.passToken(ctx, h, frame, req.SASLAuthBytes)
}

// bareToken handles what follows SaslHandshake v0: tokens in frames without
// Kafka's headers, until the exchange ends. It reports false when the
// exchange is over, and the frame is a request again.
func (c *conn) bareToken(ctx context.Context, frame []byte) (taken bool, err error) {
	c.exchange.mu.Lock()
	over := c.exchange.phase == phaseNone
	c.exchange.mu.Unlock()
	if over {
		c.bareTokens = false
		return false, nil
	}
	if len(frame) > maxUnauthenticatedFrame {
		return true, fmt.Errorf("reading a SASL token: %w", wire.ErrTooLarge)
	}
	if c.cluster.cfg.Access.Terminate {
		return true, c.bareTokenHere(ctx, frame)
	}
	return true, c.passBareToken(frame)
}

func (c *conn) answer(h wire.RequestHeader, resp kmsg.Response) {
	resp.SetVersion(h.Version)
	c.answerLocally(h, func(dst []byte) []byte {
		return resp.AppendTo(wire.AppendResponseHeader(dst, h.Key, h.Version, h.CorrelationID))
	})
}

// refuseMechanism tells the client which mechanisms there are.
func (c *conn) refuseMechanism(h wire.RequestHeader, offered []string) {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode, resp.SupportedMechanisms = kerr.UnsupportedSaslMechanism.Code, offered
	c.answer(h, resp)
}

// refuseLogin answers SaslAuthenticate with an error and ends the connection.
// All failures look the same to the client, and come late.
func (c *conn) refuseLogin(ctx context.Context, h wire.RequestHeader, cause error) error {
	sleep(ctx, failureDelay)
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	text := "authentication failed"
	resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &text
	if errors.Is(cause, errSASLState) {
		resp.ErrorCode = kerr.IllegalSaslState.Code
	}
	c.answer(h, resp)
	return fmt.Errorf("%w: %w", errLogin, cause)
}

var errSASLState = errors.New("SASL request out of turn")

// handshakeHere begins an exchange with the gateway itself.
func (c *conn) handshakeHere(h wire.RequestHeader, mechanism string) error {
	x := &c.exchange
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase != phaseNone {
		return fmt.Errorf("%w: %w", errLogin, errSASLState)
	}
	server := c.cluster.cfg.Access.Server
	e, err := server.Begin(mechanism)
	if errors.Is(err, auth.ErrMechanism) {
		c.refuseMechanism(h, server.Mechanisms())
		return nil
	}
	if err != nil {
		return err
	}
	x.server, x.phase, c.bareTokens = e, phaseTokens, h.Version == 0
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.SupportedMechanisms = server.Mechanisms()
	c.answer(h, resp)
	return nil
}

func (c *conn) authenticateHere(ctx context.Context, h wire.RequestHeader, token []byte) error {
	r, lifetime, err := c.nextHere(ctx, token)
	if err != nil {
		return c.refuseLogin(ctx, h, err)
	}
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.SASLAuthBytes, resp.SessionLifetimeMillis = nonNil(r.Reply), lifetime.Milliseconds()
	c.answer(h, resp)
	return nil
}

func (c *conn) bareTokenHere(ctx context.Context, token []byte) error {
	r, _, err := c.nextHere(ctx, token)
	if err != nil {
		sleep(ctx, failureDelay)
		return fmt.Errorf("%w: %w", errLogin, err) // without frames there is no way to say it
	}
	p := pending{local: ownFrame(func(dst []byte) []byte { return append(dst, r.Reply...) })}
	c.steps = append(c.steps, step{pend: p, owed: true})
	return nil
}

// nextHere takes one token of the client and, at the end, lets it in.
func (c *conn) nextHere(ctx context.Context, token []byte) (auth.Result, time.Duration, error) {
	defer clear(token) // it may be a password, and buffers live long
	x := &c.exchange
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase != phaseTokens {
		return auth.Result{}, 0, errSASLState
	}
	ctx, cancel := context.WithTimeout(ctx, c.cluster.gw.cfg.AuthTimeout)
	defer cancel()
	r, err := x.server.Next(ctx, token)
	if err != nil || !r.Done {
		return r, 0, err
	}
	x.server, x.phase = nil, phaseNone
	lifetime, ends := c.cluster.cfg.Access.Server.Lifetime(r.Identity)
	if ends && lifetime <= 0 {
		return r, 0, errSessionExpired // within the allowed difference of clocks
	}
	return r, lifetime, c.proved(r.Identity.Name, r.Identity, lifetime)
}

// nonNil: auth_bytes is not nullable.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
