package auth

import (
	"context"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"
)

// scram returns the steps of a SCRAM exchange. The server's nonce is 24 random
// bytes, so no proof that was overheard is worth anything twice. The nonce that
// comes back must be the one that was sent: clients that repeat their own part
// before it (librdkafka 2.0) are refused, as by Kafka since CVE-2024-56128.
func (s *Server) scram(mechanism string) (func(context.Context, []byte) (Result, error), error) {
	c := s.cfg.Credentials()
	server, err := scramHash(mechanism).NewServer(func(name string) (scram.StoredCredentials, error) {
		r, _ := c.record(mechanism, name) // of somebody unknown: one that no proof fits
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(r.Salt), Iters: r.Iterations},
			StoredKey:  r.StoredKey, ServerKey: r.ServerKey}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", mechanism, err)
	}
	if s.nonce != nil {
		server = server.WithNonceGenerator(s.nonce)
	}

	e := &scramExchange{
		server:       s,
		credentials:  c,
		mechanism:    mechanism,
		conversation: server.NewConversation(),
	}

	return e.next, nil
}

func scramHash(mechanism string) scram.HashGeneratorFcn {
	if mechanism == ScramSHA256 {
		return scram.SHA256
	}
	return scram.SHA512
}

// scramExchange is one exchange by SCRAM (RFC 5802), of which the library does
// the arithmetic.
type scramExchange struct {
	server       *Server
	credentials  *Credentials // one snapshot for both steps
	mechanism    string
	conversation *scram.ServerConversation
	name         string
}

// next takes client-first, and then client-final, as RFC 5802 has them.
func (e *scramExchange) next(_ context.Context, msg []byte) (Result, error) {
	if e.name == "" {
		first, err := parseScramFirst(msg)
		if err != nil {
			return Result{}, err
		}
		e.name = first.name
	}

	reply, err := e.conversation.Step(string(msg))
	if err != nil {
		// The library's error may quote the client, so that it is not repeated.
		return Result{}, fmt.Errorf("checking a SCRAM message: %w", ErrFailed)
	}

	if !e.conversation.Done() {
		return Result{Reply: []byte(reply)}, nil
	}
	if _, known := e.credentials.record(e.mechanism, e.name); !known || !e.conversation.Valid() || e.conversation.Username() != e.name {
		return Result{}, fmt.Errorf("checking a SCRAM proof: %w", ErrFailed)
	}

	return Result{Reply: []byte(reply), Done: true, Identity: e.server.identify(e.credentials, e.name)}, nil
}

// scramFirst is the part of a client-first message that names the client, which
// the library does not tell.
type scramFirst struct {
	name  string
	token bool // the name is that of a delegation token, not of its owner (KIP-48)
}

// parseScramFirst reads client-first (RFC 5802 §7): gs2 header, name, nonce and
// extensions. Channel binding does not exist in Kafka; an authzid must be the
// name itself.
func parseScramFirst(msg []byte) (scramFirst, error) {
	fields := strings.Split(string(msg), ",")
	if len(fields) < 4 || fields[0] != "n" && fields[0] != "y" {
		return scramFirst{}, fmt.Errorf("reading SCRAM header: %w", ErrMessage)
	}

	name, ok := saslName(fields[2], "n=")
	if nonce, found := strings.CutPrefix(fields[3], "r="); !ok || !found || nonce == "" {
		return scramFirst{}, fmt.Errorf("reading SCRAM name and nonce: %w", ErrMessage)
	}

	if fields[1] != "" {
		if authzid, ok := saslName(fields[1], "a="); !ok || authzid != name {
			return scramFirst{}, fmt.Errorf("reading SCRAM message for another identity: %w", ErrMessage)
		}
	}

	f := scramFirst{name: name}
	for _, extension := range fields[4:] {
		key, value, found := strings.Cut(extension, "=")
		if !found || key == "" {
			return scramFirst{}, fmt.Errorf("reading SCRAM extensions: %w", ErrMessage)
		}
		f.token = f.token || key == "tokenauth" && strings.EqualFold(value, "true")
	}

	return f, checkName(name)
}

// saslName undoes the encoding of ',' and '=' in names (RFC 5802 §5.1), and
// refuses other uses of '='.
func saslName(field, prefix string) (string, bool) {
	s, ok := strings.CutPrefix(field, prefix)
	if !ok {
		return "", false
	}

	for rest := s; ; {
		_, after, found := strings.Cut(rest, "=")
		if !found {
			break
		}
		if !strings.HasPrefix(after, "2C") && !strings.HasPrefix(after, "3D") {
			return "", false
		}

		rest = after[2:]
	}

	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), true
}
