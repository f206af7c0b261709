package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// Where the cluster authenticates its clients, SASL passes as it is. What is
// read along names the client, once the broker has said that it believes it.

// passHandshake begins an exchange with the broker. From the first one on,
// until it succeeds, the client may do nothing else: otherwise what it sends
// meanwhile would be judged under another name than the broker's.
func (c *conn) passHandshake(h wire.RequestHeader, frame []byte, mechanism string) error {
	cfg := &c.cluster.cfg.Access
	if len(cfg.Mechanisms) > 0 && !slices.Contains(cfg.Mechanisms, mechanism) {
		c.refuseMechanism(h, cfg.Mechanisms)
		return nil
	}
	bare := h.Version == 0
	if bare && !auth.Understood(mechanism) {
		c.refuseMechanism(h, []string{auth.Plain, auth.ScramSHA256, auth.ScramSHA512, auth.OAuthBearer})
		return nil
	}
	x := &c.exchange
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase != phaseNone && !(x.opaque && x.phase == phaseTokens) {
		return fmt.Errorf("%w: %w", errLogin, errSASLState)
	}
	x.phase, x.inspector, x.opaque = phaseAsked, auth.NewInspector(mechanism, cfg.Claim), !auth.Understood(mechanism)
	c.bareTokens = bare
	if s := c.session.Load(); s != nil && !s.proven {
		c.closeGate()
	}
	c.forward(h, frame)
	c.lastStep().pend.sasl = true
	return nil
}

func (c *conn) lastStep() *step { return &c.steps[len(c.steps)-1] }

func (c *conn) passToken(ctx context.Context, h wire.RequestHeader, frame, token []byte) error {
	if err := c.inspect(token); err != nil {
		return c.refuseLogin(ctx, h, err)
	}
	c.forward(h, frame)
	c.lastStep().pend.sasl = true
	return nil
}

func (c *conn) passBareToken(token []byte) error {
	if err := c.inspect(token); err != nil {
		return fmt.Errorf("%w: %w", errLogin, err)
	}
	c.steps = append(c.steps, step{pend: pending{sasl: true, bare: true}, owed: true, raw: c.withLength(token)})
	return nil
}

// inspect reads the client's token before it is forwarded.
func (c *conn) inspect(token []byte) error {
	x := &c.exchange
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

// brokerSaid follows the exchange in the broker's answers. It is called before
// the client sees the answer, so that whatever the client sends next is judged
// under its name. An error ends the connection.
func (c *conn) brokerSaid(p *pending, frame []byte) error {
	x := &c.exchange
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
	return c.proved(x.inspector.Name(), auth.Identity{}, lifetime)
}

// readSASLAnswer returns the broker's token and the lifetime of the session;
// ok is false when the broker refuses.
func readSASLAnswer(p *pending, frame []byte) (token []byte, lifetime time.Duration, ok bool, err error) {
	if p.bare {
		return frame, 0, true, nil
	}
	_, at, err := wire.ParseResponseHeader(p.key, p.version, frame)
	if err != nil {
		return nil, 0, false, err
	}
	if p.key == kmsg.SASLHandshake {
		resp := kmsg.SASLHandshakeResponse{Version: p.version}
		err = resp.ReadFrom(frame[at:])
		return nil, 0, resp.ErrorCode == 0, err
	}
	resp := kmsg.SASLAuthenticateResponse{Version: p.version}
	if err := resp.ReadFrom(frame[at:]); err != nil {
		return nil, 0, false, errors.Join(errProtocol, err)
	}
	lifetime = time.Duration(min(resp.SessionLifetimeMillis, maxLifetimeMillis)) * time.Millisecond
	return resp.SASLAuthBytes, lifetime, resp.ErrorCode == 0, nil
}

// maxLifetimeMillis keeps a lifetime within what a Duration holds.
const maxLifetimeMillis = int64(1) << 40
