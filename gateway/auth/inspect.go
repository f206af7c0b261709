package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Inspector reads along an exchange between a client and a broker, to learn the
// name that the broker accepts. Whether it does accept, its caller must see.
// For one goroutine at a time.
type Inspector struct {
	mechanism string
	claim     string
	step      int
	name      string
}

// NewInspector begins an exchange. claim is the one that the brokers take names
// from tokens by; empty: sub.
func NewInspector(mechanism, claim string) *Inspector {
	if claim == "" {
		claim = "sub"
	}
	return &Inspector{mechanism: mechanism, claim: claim}
}

// Understood reports whether the mechanism's messages tell who the client is and
// when the exchange is over. Others (GSSAPI, say) can pass where Kafka frames
// tell of success, and leave the client without a name.
func Understood(mechanism string) bool {
	switch mechanism {
	case Plain, ScramSHA256, ScramSHA512, OAuthBearer:
		return true
	}
	return false
}

// Client reads a message on its way to the broker. One that the broker might
// read differently is refused with ErrMessage, since policy would then act on
// another name than the cluster.
func (i *Inspector) Client(msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("reading SASL message of %d bytes: %w", len(msg), ErrMessage)
	}
	i.step++
	if i.step > 1 {
		return nil // names are in first messages only
	}

	switch i.mechanism {
	case Plain:
		m, err := parsePlain(msg)
		i.name = m.name
		return err
	case ScramSHA256, ScramSHA512:
		m, err := parseScramFirst(msg)
		if !m.token {
			i.name = m.name
		}
		return err
	case OAuthBearer:
		m, err := parseBearer(msg)
		if err != nil {
			return err
		}

		i.name = tokenName(m.token, i.claim)
		if m.authzid != "" && m.authzid != i.name {
			return fmt.Errorf("reading OAUTHBEARER message for another identity: %w", ErrMessage)
		}
	}

	return nil
}

// Broker reads a message that the broker sent without an error, and reports
// whether it ends the exchange with success.
func (i *Inspector) Broker(msg []byte) (done bool) {
	switch i.mechanism {
	case ScramSHA256, ScramSHA512:
		return i.step == 2 && bytes.HasPrefix(msg, []byte("v="))
	case OAuthBearer:
		return i.step == 1 && len(msg) == 0
	default:
		return true
	}
}

// Name returns the name that the broker has accepted if the exchange is done,
// or "" where the messages do not tell it.
func (i *Inspector) Name() string { return i.name }

// tokenName takes the name out of a token whose signature is the broker's to
// check. Of what is no token of the usual kind, it knows no name.
func tokenName(token, claim string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxToken {
		return ""
	}

	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}

	var claims map[string]json.RawMessage
	var name string
	if json.Unmarshal(payload, &claims) != nil || json.Unmarshal(claims[claim], &name) != nil || checkName(name) != nil {
		return ""
	}

	return name
}
