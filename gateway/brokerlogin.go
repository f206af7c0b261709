package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
)

// logIn authenticates the gateway on a fresh connection to a broker, within the
// deadline of ctx. It returns how long the broker's session lasts, 0 for ever.
func logIn(ctx context.Context, up net.Conn, m sasl.Mechanism, host string) (time.Duration, error) {
	if until, ok := ctx.Deadline(); ok {
		if err := up.SetDeadline(until); err != nil {
			return 0, fmt.Errorf("logging in to the broker: %w", err)
		}
	}

	s := serviceLogin{conn: up, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("guardlock"))}
	lifetime, err := s.run(ctx, m, host)
	if err != nil {
		return 0, fmt.Errorf("logging in to the broker with broker.upstream.sasl: %w", err)
	}

	return lifetime, up.SetDeadline(time.Time{})
}

// serviceLogin is the gateway's own login on one connection to a broker, before
// anything of a client goes there.
type serviceLogin struct {
	conn        net.Conn
	format      *kmsg.RequestFormatter
	correlation int32
}

// run makes the handshake and the exchange, and returns how long the session
// lasts; 0 is for ever. A mechanism may have one more token to send once it is
// done.
func (s *serviceLogin) run(ctx context.Context, m sasl.Mechanism, host string) (time.Duration, error) {
	hello := kmsg.NewPtrSASLHandshakeRequest()
	hello.Version, hello.Mechanism = 1, m.Name()
	offer := kmsg.NewPtrSASLHandshakeResponse()
	if err := s.ask(hello, offer); err != nil {
		return 0, err
	}
	if offer.ErrorCode != 0 {
		return 0, fmt.Errorf("the broker does not take mechanism %s: %w", m.Name(), kerr.ErrorForCode(offer.ErrorCode))
	}

	session, token, err := m.Authenticate(ctx, host)
	if err != nil {
		return 0, err
	}

	var lifetime time.Duration
	for done := false; !done || len(token) > 0; {
		req := kmsg.NewPtrSASLAuthenticateRequest()
		resp := kmsg.NewPtrSASLAuthenticateResponse()
		req.Version = 1
		req.SASLAuthBytes = token

		if err := s.ask(req, resp); err != nil {
			return 0, err
		}
		if resp.ErrorCode != 0 {
			return 0, fmt.Errorf("the broker refused: %w", kerr.ErrorForCode(resp.ErrorCode))
		}

		token = nil
		lifetime = time.Duration(min(resp.SessionLifetimeMillis, maxLifetimeMillis)) * time.Millisecond
		if !done {
			if done, token, err = session.Challenge(resp.SASLAuthBytes); err != nil {
				return 0, err
			}
		}
	}

	return lifetime, nil
}

// ask sends one request to the broker and reads its answer. Nothing else is on
// the connection yet, so the next frame is the answer.
func (s *serviceLogin) ask(req kmsg.Request, resp kmsg.Response) error {
	s.correlation++
	if _, err := s.conn.Write(s.format.AppendRequest(nil, req, s.correlation)); err != nil {
		return fmt.Errorf("writing to the broker: %w", err)
	}

	var head [8]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return fmt.Errorf("reading from the broker: %w", err)
	}

	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > maxUnauthenticatedFrame || int32(binary.BigEndian.Uint32(head[4:])) != s.correlation {
		return errProtocol
	}

	body := make([]byte, size-4)
	if _, err := io.ReadFull(s.conn, body); err != nil {
		return fmt.Errorf("reading from the broker: %w", err)
	}

	resp.SetVersion(req.GetVersion())
	return resp.ReadFrom(body)
}

// asService makes an upstream connection ours, where the clients' own
// authentication ends here. When the broker's session is about to end, the
// connection is drained: its client comes back on a new one, and loses nothing.
func (s *session) asService(ctx context.Context, up net.Conn, host string) error {
	cfg := &s.cluster.cfg.Access
	if !cfg.Terminate || cfg.Service == nil {
		return nil
	}

	lifetime, err := logIn(ctx, up, cfg.Service, host)
	if err != nil {
		up.Close()
		return err
	}

	s.login.service.set(lifetime-lifetime/20, func() {
		s.login.life.fail(errServiceExpired)
		s.drain()
	})

	return nil
}
