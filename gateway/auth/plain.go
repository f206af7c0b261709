package auth

import (
	"bytes"
	"context"
	"fmt"
)

// plainMessage is RFC 4616's: [authzid] NUL authcid NUL password. Like Kafka's
// brokers, it takes an authzid only if it is the authcid.
type plainMessage struct {
	name     string
	password []byte // a view
}

func parsePlain(msg []byte) (plainMessage, error) {
	parts := bytes.Split(msg, []byte{0})
	if len(parts) != 3 || len(parts[2]) == 0 {
		return plainMessage{}, fmt.Errorf("reading PLAIN message: %w", ErrMessage)
	}

	m := plainMessage{name: string(parts[1]), password: parts[2]}
	if authzid := string(parts[0]); authzid != "" && authzid != m.name {
		return plainMessage{}, fmt.Errorf("reading PLAIN message for another identity: %w", ErrMessage)
	}
	return m, checkName(m.name)
}

// plain is the one step of a PLAIN exchange (RFC 4616). It waits for a slot,
// since hashing a password takes a processor.
func (s *Server) plain(ctx context.Context, msg []byte) (Result, error) {
	m, err := parsePlain(msg)
	if err != nil {
		return Result{}, err
	}

	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting to check a password: %w", ctx.Err())
	}

	c := s.cfg.Credentials()
	if !c.checkPassword(m.name, m.password) {
		return Result{}, fmt.Errorf("checking a password: %w", ErrFailed)
	}

	return Result{Done: true, Identity: s.identify(c, m.name)}, nil
}
