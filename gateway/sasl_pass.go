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
func (r *reader) passHandshake(h wire.RequestHeader, frame []byte, mechanism string) error {
	cfg := &r.cluster.cfg.Access
	if len(cfg.Mechanisms) > 0 && !slices.Contains(cfg.Mechanisms, mechanism) {
		r.refuseMechanism(h, cfg.Mechanisms)
		return nil
	}

	bare := h.Version == 0
	if bare && !auth.Understood(mechanism) {
		r.refuseMechanism(h, []string{auth.Plain, auth.ScramSHA256, auth.ScramSHA512, auth.OAuthBearer})
		return nil
	}

	x := &r.login.exchange
	x.mu.Lock()
	defer x.mu.Unlock()

	if x.phase != phaseNone && !(x.opaque && x.phase == phaseTokens) {
		return fmt.Errorf("%w: %w", errLogin, errSASLState)
	}
	x.phase, x.inspector, x.opaque = phaseAsked, auth.NewInspector(mechanism, cfg.Claim), !auth.Understood(mechanism)
	r.bareTokens = bare

	if s := r.login.proof.Load(); s != nil && !s.proven {
		r.login.closeGate()
	}
	r.forward(h, frame)
	r.lastStep().pend.sasl = true
	return nil
}

func (r *reader) lastStep() *step { return &r.steps[len(r.steps)-1] }

func (r *reader) passToken(ctx context.Context, h wire.RequestHeader, frame, token []byte) error {
	if err := r.login.inspect(token); err != nil {
		return r.refuseLogin(ctx, h, err)
	}
	r.forward(h, frame)
	r.lastStep().pend.sasl = true
	return nil
}

func (r *reader) passBareToken(token []byte) error {
	if err := r.login.inspect(token); err != nil {
		return fmt.Errorf("%w: %w", errLogin, err)
	}
	r.steps = append(r.steps, step{pend: pending{sasl: true, bare: true}, owed: true, raw: r.withLength(token)})
	return nil
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

// maxLifetimeMillis keeps a session's lifetime, which the broker says, within
// what a Duration holds.
const maxLifetimeMillis = int64(1) << 40
