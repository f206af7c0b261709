package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// bearerExchange is an exchange by OAUTHBEARER (RFC 7628): one message with a
// token, and one more after a refusal.
type bearerExchange struct {
	server *Server
	failed bool
}

// refusedToken is the challenge after a token that does not verify. It tells no
// reason; the client answers it with one byte and is then told that it failed.
const refusedToken = `{"status":"invalid_token"}`

// next takes the client's token. After one that does not verify it sends a
// challenge that tells no reason, and fails with the client's next message (RFC
// 7628 §3.2.3).
func (e *bearerExchange) next(ctx context.Context, msg []byte) (Result, error) {
	if e.failed {
		return Result{}, fmt.Errorf("checking a token: %w", ErrFailed)
	}
	m, err := parseBearer(msg)
	if err != nil {
		return Result{}, err
	}

	id, err := e.server.cfg.Tokens.Verify(ctx, m.token)
	if err == nil && m.authzid != "" && m.authzid != id.Name {
		err = ErrFailed
	}

	switch {
	case errors.Is(err, ErrFailed):
		e.failed = true
		return Result{Reply: []byte(refusedToken)}, nil
	case err != nil:
		return Result{}, err
	}

	return Result{Done: true, Identity: id}, nil
}

type bearerMessage struct {
	authzid string
	token   string
}

// parseBearer reads the client's message: gs2 header, then key=value pairs, each
// ended by 0x01, and one more 0x01. Exactly one pair is "auth".
func parseBearer(msg []byte) (bearerMessage, error) {
	malformed := fmt.Errorf("reading OAUTHBEARER message: %w", ErrMessage)
	header, rest, found := strings.Cut(string(msg), "\x01")
	flag, authzid, _ := strings.Cut(header, ",")
	authzid, ends := strings.CutSuffix(authzid, ",")
	pairs, closed := strings.CutSuffix(rest, "\x01\x01")
	if !found || !closed || !ends || flag != "n" && flag != "y" {
		return bearerMessage{}, malformed
	}

	var m bearerMessage
	if authzid != "" {
		var ok bool
		if m.authzid, ok = saslName(authzid, "a="); !ok || strings.Contains(authzid, ",") {
			return bearerMessage{}, malformed
		}
	}

	seen := map[string]bool{}
	for pair := range strings.SplitSeq(pairs, "\x01") {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" || seen[key] {
			return bearerMessage{}, malformed
		}

		seen[key] = true
		if key != "auth" {
			continue // an extension (KIP-342); nothing here depends on any
		}

		scheme, token, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "bearer") {
			return bearerMessage{}, malformed
		}

		m.token = strings.TrimLeft(token, " ")
	}

	if m.token == "" {
		return bearerMessage{}, malformed
	}
	return m, nil
}
