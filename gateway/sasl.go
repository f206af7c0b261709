package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// failureDelay slows down whoever guesses passwords: a client hears of each
// failure only after it.
const failureDelay = 100 * time.Millisecond

// saslRequest handles SaslHandshake and SaslAuthenticate, for a client that
// authenticates here or at the cluster.
func (r *reader) saslRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
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
		if r.cluster.cfg.Access.Terminate {
			return r.handshakeHere(h, req.Mechanism)
		}

		return r.passHandshake(h, frame, req.Mechanism)
	}

	req := kmsg.SASLAuthenticateRequest{Version: h.Version}
	if err := req.ReadFrom(body); err != nil {
		return fmt.Errorf("reading SaslAuthenticate: %w", wire.ErrMalformed)
	}
	if r.cluster.cfg.Access.Terminate {
		return r.authenticateHere(ctx, h, req.SASLAuthBytes)
	}

	return r.passToken(ctx, h, frame, req.SASLAuthBytes)
}

// bareToken handles what follows SaslHandshake v0: tokens in frames without
// Kafka's headers, until the exchange ends. It reports false when the
// exchange is over, and the frame is a request again.
func (r *reader) bareToken(ctx context.Context, frame []byte) (taken bool, err error) {
	r.login.exchange.mu.Lock()
	over := r.login.exchange.phase == phaseNone
	r.login.exchange.mu.Unlock()

	if over {
		r.bareTokens = false
		return false, nil
	}

	if len(frame) > maxUnauthenticatedFrame {
		return true, fmt.Errorf("reading a SASL token: %w", wire.ErrTooLarge)
	}
	if r.cluster.cfg.Access.Terminate {
		return true, r.bareTokenHere(ctx, frame)
	}

	return true, r.passBareToken(frame)
}

func (r *reader) answer(h wire.RequestHeader, resp kmsg.Response) {
	resp.SetVersion(h.Version)
	r.answerLocally(h, func(dst []byte) []byte {
		return resp.AppendTo(wire.AppendResponseHeader(dst, h.Key, h.Version, h.CorrelationID))
	})
}

// refuseMechanism tells the client which mechanisms there are, as Kafka does,
// in the answer that refuses.
func (r *reader) refuseMechanism(h wire.RequestHeader, offered []string) {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
	resp.SupportedMechanisms = offered
	r.answer(h, resp)
}

// refuseLogin answers SaslAuthenticate with an error and ends the connection.
// All failures look the same to the client, and come late.
func (r *reader) refuseLogin(ctx context.Context, h wire.RequestHeader, cause error) error {
	sleep(ctx, failureDelay)
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	text := "authentication failed"
	resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
	resp.ErrorMessage = &text

	if errors.Is(cause, errSASLState) {
		resp.ErrorCode = kerr.IllegalSaslState.Code
	}
	r.answer(h, resp)
	return fmt.Errorf("%w: %w", errLogin, cause)
}

var errSASLState = errors.New("SASL request out of turn")

// handshakeHere begins an exchange with the gateway itself, which the cluster
// never hears of.
func (r *reader) handshakeHere(h wire.RequestHeader, mechanism string) error {
	x := &r.login.exchange
	x.mu.Lock()
	defer x.mu.Unlock()

	if x.phase != phaseNone {
		return fmt.Errorf("%w: %w", errLogin, errSASLState)
	}
	server := r.cluster.cfg.Access.Server
	e, err := server.Begin(mechanism)
	if errors.Is(err, auth.ErrMechanism) {
		r.refuseMechanism(h, server.Mechanisms())
		return nil
	}

	if err != nil {
		return err
	}
	x.server = e
	x.phase = phaseTokens
	r.bareTokens = h.Version == 0
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.SupportedMechanisms = server.Mechanisms()
	r.answer(h, resp)

	return nil
}

func (r *reader) authenticateHere(ctx context.Context, h wire.RequestHeader, token []byte) error {
	next, lifetime, err := r.login.nextHere(ctx, token)
	if err != nil {
		return r.refuseLogin(ctx, h, err)
	}

	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.SASLAuthBytes, resp.SessionLifetimeMillis = nonNil(next.Reply), lifetime.Milliseconds()
	r.answer(h, resp)
	return nil
}

func (r *reader) bareTokenHere(ctx context.Context, token []byte) error {
	next, _, err := r.login.nextHere(ctx, token)
	if err != nil {
		sleep(ctx, failureDelay)
		return fmt.Errorf("%w: %w", errLogin, err) // without frames there is no way to say it
	}

	p := pending{local: ownFrame(func(dst []byte) []byte { return append(dst, next.Reply...) })}
	r.steps = append(r.steps, step{pend: p, owed: true})
	return nil
}

// nonNil makes nil an empty slice: auth_bytes of an answer is not nullable, and
// nil would be written as null.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
