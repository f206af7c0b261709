//go:build kafka

package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/kafkatest"
)

// tokens is the issuer that the cluster believes: set by TestMain, changed by nobody.
var tokens *issuer

// issuer makes JSON Web Tokens. Its public key is in a file.
type issuer struct {
	jwks string
	key  jwk.Key
}

const (
	issuerName = "https://login.example.org"
	audience   = "kafka"
)

func newIssuer(path string) (*issuer, error) {
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}

	private, err := jwk.Import(raw)
	if err != nil {
		return nil, err
	}

	for name, value := range map[string]any{jwk.KeyIDKey: "key-1", jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: "sig"} {
		if err := private.Set(name, value); err != nil {
			return nil, err
		}
	}

	public, err := private.PublicKey()
	if err != nil {
		return nil, err
	}

	text, err := json.Marshal(map[string]any{"keys": []jwk.Key{public}})
	if err != nil {
		return nil, err
	}

	return &issuer{path, private}, os.WriteFile(path, text, 0o600)
}

// settings make nodes believe the issuer.
func (i *issuer) settings() map[string]string {
	return map[string]string{
		"sasl.enabled.mechanisms":                                           "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"listener.name.sasl.oauthbearer.sasl.jaas.config":                   "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
		"listener.name.sasl.oauthbearer.sasl.server.callback.handler.class": "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
		"sasl.oauthbearer.jwks.endpoint.url":                                "file://" + i.jwks,
		"sasl.oauthbearer.expected.issuer":                                  issuerName,
		"sasl.oauthbearer.expected.audience":                                audience,
		// Sessions end with their tokens (KIP-368), and not before.
		"listener.name.sasl.oauthbearer.connections.max.reauth.ms": "86400000",
	}
}

// token is for alice, but for what claims say otherwise.
func (i *issuer) token(t *testing.T, claims map[string]any) kgo.Opt {
	t.Helper()
	return kgo.SASL(oauth.Auth{Token: i.sign(t, claims)}.AsMechanism())
}

func (i *issuer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	tok := must(jwt.NewBuilder().Subject("alice").Issuer(issuerName).Audience([]string{audience}).IssuedAt(now).Expiration(now.Add(time.Hour)).Build())(t)
	for name, value := range claims {
		if err := tok.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}

	signed := must(jwt.Sign(tok, jwt.WithKey(jwa.ES256(), i.key)))(t)
	return string(signed)
}

// takingTokens starts two gateways: one hands tokens on to the cluster, the other checks them itself, by TLS.
func takingTokens(t *testing.T, kind string) (passing, ending *gateway) {
	t.Helper()
	o := options{upstream: cluster.Addresses(kafkatest.SASL), broker: service(t, "SCRAM-SHA-512"), bindings: alices}
	o.node = "passing-" + kind
	o.listen = ", sasl: {mode: passthrough}"
	passing = start(t, o)
	o.node = "ending-" + kind
	o.listen = fmt.Sprintf(", tls: {cert_file: %[1]s, key_file: %[1]s}, sasl: {mode: terminate, oauth: {jwks_file: %[2]s, issuer: %[3]q, audience: [%[4]s]}}",
		cluster.NodeFile(), tokens.jwks, issuerName, audience)

	return passing, start(t, o)
}

// TestTokensSayWhoClientsAre: the cluster checks them, straight and with the gateway reading along; or the gateway checks
// them, and is admin to the cluster. What does not verify lets nobody in.
func TestTokensSayWhoClientsAre(t *testing.T) {
	passing, ending := takingTokens(t, "tokens")
	stranger := must(newIssuer(t.TempDir() + "/jwks.json"))(t)
	secure := kgo.DialTLSConfig(must(cluster.ClientTLS(false))(t))
	for _, w := range []way{
		{name: "direct", seeds: cluster.Addresses(kafkatest.SASL)},
		{name: "passed", seeds: []string{passing.addr}},
		{name: "ended", seeds: []string{ending.addr}, opts: []kgo.Opt{secure}},
	} {
		t.Run(w.name, func(t *testing.T) {
			alice := w.with(tokens.token(t, nil))
			bob := w.with(tokens.token(t, map[string]any{"sub": "bob"}))
			own := topic(t, w, "alice", 1)
			policy := kerr.PolicyViolation.Message

			if w.name == "direct" {
				policy = "ok" // nothing stands in the way
			}
			if got := send(t, alice.client(t), records(own, 0, "v")...)[0]; got != "ok" {
				t.Errorf("alice: %s", got)
			}
			if got := send(t, bob.client(t), records(own, 0, "w")...)[0]; got != policy {
				t.Errorf("bob: %s", got)
			}
			if got := consume(t, alice, own)[0]; got[0] != "v" {
				t.Errorf("alice reads %q", got)
			}

			for what, login := range map[string]kgo.Opt{
				"has expired":             tokens.token(t, map[string]any{"exp": time.Now().Add(-time.Hour)}),
				"is for another service":  tokens.token(t, map[string]any{"aud": "billing"}),
				"is from another issuer":  tokens.token(t, map[string]any{"iss": "https://other.example.org"}),
				"is signed by a stranger": stranger.token(t, nil),
			} {
				if err := w.with(login).client(t).Ping(patient(t)); err == nil {
					t.Errorf("a token that %s is let in", what)
				}
			}
		})
	}

	for _, g := range []*gateway{passing, ending} {
		who := map[string]int{}
		for _, d := range g.decisions(t, query.Filter{}) {
			if d.Principal != "" {
				who[d.Principal+" "+d.Outcome]++
			}
		}

		if len(who) != 2 || who["User:alice passed"] != 1 || who["User:bob policy_denied"] != 1 {
			t.Errorf("the log of %s says %v", g.node, who)
		}
	}
}

// sessions makes short tokens for alice, and counts them and the connections that they are for.
type sessions struct {
	tls                 *tls.Config // nil: plaintext
	tokens, connections atomic.Int32
}

func (s *sessions) login(t *testing.T, lifetime time.Duration) []kgo.Opt {
	token := func(context.Context) (oauth.Auth, error) {
		s.tokens.Add(1)
		return oauth.Auth{Token: tokens.sign(t, map[string]any{"exp": time.Now().Add(lifetime)})}, nil
	}

	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		s.connections.Add(1)
		if s.tls != nil {
			return (&tls.Dialer{Config: s.tls}).DialContext(ctx, network, addr)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}

	return []kgo.Opt{kgo.SASL(oauth.Oauth(token)), kgo.Dialer(dial)}
}

// TestClientsAuthenticateAgainAndStay: before its token ends, a client shows a new one on the same connection (KIP-368), to the
// cluster or to the gateway, and goes on.
func TestClientsAuthenticateAgainAndStay(t *testing.T) {
	passing, ending := takingTokens(t, "sessions")
	type stay struct {
		way
		sessions
		load *load
		had  int32
	}

	all := []*stay{
		{way: way{name: "direct", seeds: cluster.Addresses(kafkatest.SASL)}},
		{way: way{name: "passed", seeds: []string{passing.addr}}},
		{way: way{name: "ended", seeds: []string{ending.addr}}, sessions: sessions{tls: must(cluster.ClientTLS(false))(t)}},
	}
	for _, s := range all {
		s.load = startLoad(t, s.with(s.login(t, 6*time.Second)...), topic(t, s.way, "alice", 3), 3)
		s.load.advance(100)
		s.had = s.connections.Load()
	}

	for _, s := range all {
		eventually(t, s.name+": every connection has authenticated twice", func() bool { return s.tokens.Load() >= 2*s.had })
		s.load.advance(100)
		if got := s.connections.Load(); got != s.had {
			t.Errorf("%s: clients connected again: %d connections after %d", s.name, got, s.had)
		}
		s.load.finish(true)
	}

	for g, s := range map[*gateway]*stay{passing: all[1], ending: all[2]} {
		if got := principalOf(t, g, s.load.topic); got != "User:alice passed" {
			t.Errorf("the log of %s says %q", g.node, got)
		}
	}
}
