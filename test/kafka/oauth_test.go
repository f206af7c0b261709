//go:build kafka

package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/guardlock/guardlock/audit"
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
	}
}

// token is for alice, but for what claims say otherwise.
func (i *issuer) token(t *testing.T, claims map[string]any) kgo.Opt {
	t.Helper()
	now := time.Now()
	tok := must(jwt.NewBuilder().Subject("alice").Issuer(issuerName).Audience([]string{audience}).IssuedAt(now).Expiration(now.Add(time.Hour)).Build())(t)
	for name, value := range claims {
		if err := tok.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	signed := must(jwt.Sign(tok, jwt.WithKey(jwa.ES256(), i.key)))(t)
	return kgo.SASL(oauth.Auth{Token: string(signed)}.AsMechanism())
}

// TestTokensSayWhoClientsAre: the cluster checks them, straight and with the gateway reading along; or the gateway checks
// them, and is admin to the cluster. What does not verify lets nobody in.
func TestTokensSayWhoClientsAre(t *testing.T) {
	passing := start(t, options{node: "passing-tokens", upstream: cluster.Addresses(kafkatest.SASL), broker: service(t, "SCRAM-SHA-512"), bindings: alices,
		listen: ", sasl: {mode: passthrough}"})
	ending := start(t, options{node: "ending-tokens", upstream: cluster.Addresses(kafkatest.SASL), broker: service(t, "SCRAM-SHA-512"), bindings: alices,
		listen: fmt.Sprintf(", tls: {cert_file: %[1]s, key_file: %[1]s}, sasl: {mode: terminate, oauth: {jwks_file: %[2]s, issuer: %[3]q, audience: [%[4]s]}}",
			cluster.NodeFile(), tokens.jwks, issuerName, audience)})
	stranger := must(newIssuer(t.TempDir() + "/jwks.json"))(t)
	secure := kgo.DialTLSConfig(must(cluster.ClientTLS(false))(t))
	for _, w := range []way{
		{name: "direct", seeds: cluster.Addresses(kafkatest.SASL)},
		{name: "passed", seeds: []string{passing.addr}},
		{name: "ended", seeds: []string{ending.addr}, opts: []kgo.Opt{secure}},
	} {
		t.Run(w.name, func(t *testing.T) {
			with := func(login kgo.Opt) way {
				w := w
				w.opts = append(slices.Clone(w.opts), login)
				return w
			}
			alice, bob := with(tokens.token(t, nil)), with(tokens.token(t, map[string]any{"sub": "bob"}))
			own, policy := topic(t, w, "alice", 1), kerr.PolicyViolation.Message
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
				if err := with(login).client(t).Ping(patient(t)); err == nil {
					t.Errorf("a token that %s is let in", what)
				}
			}
		})
	}
	for _, g := range []*gateway{passing, ending} {
		who := map[string]int{}
		for _, d := range g.decisions(t, audit.Filter{}) {
			if d.Principal != "" {
				who[d.Principal+" "+d.Outcome]++
			}
		}
		if len(who) != 2 || who["User:alice passed"] != 1 || who["User:bob policy_denied"] != 1 {
			t.Errorf("the log of %s says %v", g.node, who)
		}
	}
}
