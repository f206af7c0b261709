package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
)

// issuer makes tokens.
type issuer struct {
	t    *testing.T
	keys map[string]any // private, by id
	alg  map[string]jwa.SignatureAlgorithm
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}

	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	_, d, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	return &issuer{t: t, keys: map[string]any{"r": r, "e": e, "d": d},
		alg: map[string]jwa.SignatureAlgorithm{"r": jwa.RS256(), "e": jwa.ES256(), "d": jwa.EdDSA()}}
}

func (i *issuer) published() []byte {
	i.t.Helper()
	set := jwk.NewSet()
	for id, key := range i.keys {
		k, err := jwk.Import(key)
		if err != nil {
			i.t.Fatal(err)
		}

		public, err := k.PublicKey()
		if err != nil {
			i.t.Fatal(err)
		}
		if err := errors.Join(public.Set(jwk.KeyIDKey, id), set.AddKey(public)); err != nil {
			i.t.Fatal(err)
		}
	}

	raw, err := json.Marshal(set)
	if err != nil {
		i.t.Fatal(err)
	}

	return raw
}

func (i *issuer) keySet() *KeySet {
	i.t.Helper()
	s, err := ParseKeySet(i.published())
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

type claims map[string]any

func goodClaims() claims {
	return claims{"iss": "https://issuer.example", "aud": []string{"other", "kafka"}, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
}

func (c claims) with(key string, v any) claims { c[key] = v; return c }
func (c claims) without(key string) claims     { delete(c, key); return c }

func (i *issuer) token(id string, c claims) string {
	i.t.Helper()
	t := jwt.New()
	for k, v := range c {
		if err := t.Set(k, v); err != nil {
			i.t.Fatal(err)
		}
	}

	h := jws.NewHeaders()
	if err := h.Set(jws.KeyIDKey, id); err != nil {
		i.t.Fatal(err)
	}

	raw, err := jwt.Sign(t, jwt.WithKey(i.alg[id], i.keys[id], jws.WithProtectedHeaders(h)))
	if err != nil {
		i.t.Fatal(err)
	}

	return string(raw)
}

// rawToken signs whatever it is given, with HMAC or not at all.
func rawToken(header string, c claims, sign func(string) string) string {
	body, _ := json.Marshal(c)
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + sign(text)
}

type fixedKeys struct {
	set       *KeySet
	refreshed int
	next      *KeySet
}

func (k *fixedKeys) Keys() *KeySet { return k.set }
func (k *fixedKeys) Refresh(context.Context) {
	k.refreshed++
	if k.next != nil {
		k.set = k.next
	}
}

var testRules = TokenRules{Issuer: "https://issuer.example", Audiences: []string{"kafka", "kafka-2"}}

func tokenServer(t *testing.T, keys KeySource, rules TokenRules) *Server {
	t.Helper()
	v, err := NewVerifier(keys, rules, nil)
	if err != nil {
		t.Fatal(err)
	}

	s, err := NewServer(Config{Mechanisms: []string{OAuthBearer}, Tokens: v, SessionLifetime: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokensOfTheIssuerLogIn(t *testing.T) {
	i := newIssuer(t)
	s := tokenServer(t, &fixedKeys{set: i.keySet()}, testRules)
	for id := range i.keys {
		got, err := login(t, s, oauth.Auth{Token: i.token(id, goodClaims()), Extensions: map[string]string{"traceId": "1"}}.AsMechanism())
		if err != nil || got.Name != "alice" {
			t.Errorf("key %s: %+v %v", id, got, err)
		}
		if left, ok := s.Lifetime(got); !ok || left > time.Hour || left < 59*time.Minute {
			t.Errorf("a session of %v outlives its token", left)
		}
		if !s.Holds(got) {
			t.Error("a token does not hold")
		}
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	i := newIssuer(t)
	other := newIssuer(t)
	hmacWithPublicKey := func(text string) string {
		return base64.RawURLEncoding.EncodeToString(mac(hashOf(ScramSHA256), i.published(), text))
	}

	now := time.Now()
	bad := map[string]string{
		"expired":            i.token("e", goodClaims().with("exp", now.Add(-time.Minute).Unix())),
		"never expires":      i.token("e", goodClaims().without("exp")),
		"not valid yet":      i.token("e", goodClaims().with("nbf", now.Add(time.Hour).Unix())),
		"issued later":       i.token("e", goodClaims().with("iat", now.Add(time.Hour).Unix())),
		"wrong audience":     i.token("e", goodClaims().with("aud", "billing")),
		"no audience":        i.token("e", goodClaims().without("aud")),
		"wrong issuer":       i.token("e", goodClaims().with("iss", "https://evil.example")),
		"no issuer":          i.token("e", goodClaims().without("iss")),
		"no name":            i.token("e", goodClaims().without("sub")),
		"empty name":         i.token("e", goodClaims().with("sub", "")),
		"unprintable name":   i.token("e", goodClaims().with("sub", "a\nb")),
		"foreign signature":  other.token("e", goodClaims()),
		"none":               rawToken(`{"alg":"none"}`, goodClaims(), func(string) string { return "" }),
		"None":               rawToken(`{"alg":"None","kid":"e"}`, goodClaims(), func(string) string { return "" }),
		"HMAC by public key": rawToken(`{"alg":"HS256","kid":"r"}`, goodClaims(), hmacWithPublicKey),
		"unknown key":        rawToken(`{"alg":"ES256","kid":"zz"}`, goodClaims(), func(string) string { return "AA" }),
		"no signature":       strings.TrimRightFunc(i.token("e", goodClaims()), func(r rune) bool { return r != '.' }),
		"critical header":    rawToken(`{"alg":"ES256","kid":"e","crit":["exp"],"exp":1}`, goodClaims(), func(string) string { return "AA" }),
		"other algorithm":    strings.Replace(i.token("r", goodClaims()), "eyJhbGciOiJSUzI1NiIs", "eyJhbGciOiJSUzM4NCIs", 1),
		"garbage":            "a.b.c",
		"two parts":          "a.b",
		"JSON form":          `{"payload":"","signatures":[]}`,
		"long":               strings.Repeat("a", maxToken) + ".b.c",
	}

	s := tokenServer(t, &fixedKeys{set: i.keySet()}, testRules)
	for name, token := range bad {
		r, err := say(s, OAuthBearer, "n,,\x01auth=Bearer "+token+"\x01\x01")
		if err != nil || r.Done || string(r.Reply) != refusedToken {
			t.Errorf("%s: %+v %v", name, r, err)
		}

		_, err = say(s, OAuthBearer, "n,,\x01auth=Bearer "+token+"\x01\x01", "\x01")
		if !errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusedTokenCannotBeReplacedInTheSameExchange(t *testing.T) {
	i := newIssuer(t)
	s := tokenServer(t, &fixedKeys{set: i.keySet()}, testRules)
	good := "n,,\x01auth=Bearer " + i.token("e", goodClaims()) + "\x01\x01"
	_, err := say(s, OAuthBearer, "n,,\x01auth=Bearer a.b.c\x01\x01", good)
	wantError(t, err, ErrFailed)
}

func TestOnlyConfiguredAlgorithmsCount(t *testing.T) {
	i := newIssuer(t)
	rules := testRules
	rules.Algorithms = []string{"RS256"}

	v, err := NewVerifier(&fixedKeys{set: i.keySet()}, rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), i.token("r", goodClaims())); err != nil {
		t.Error(err)
	}

	_, err = v.Verify(t.Context(), i.token("e", goodClaims()))
	wantError(t, err, ErrFailed)
	for _, a := range []string{"none", "HS256", "", "rs256"} {
		rules.Algorithms = []string{a}
		if _, err := NewVerifier(&fixedKeys{}, rules, nil); err == nil {
			t.Errorf("%q can be allowed", a)
		}
	}

	for _, r := range []TokenRules{{Issuer: "x"}, {Audiences: []string{"x"}}, {Issuer: "x", Audiences: []string{""}}} {
		if _, err := NewVerifier(&fixedKeys{}, r, nil); err == nil {
			t.Errorf("%+v is taken without issuer or audience", r)
		}
	}
}

func TestNameComesFromTheConfiguredClaim(t *testing.T) {
	i := newIssuer(t)
	rules := testRules
	rules.Claim = "client_id"

	v, err := NewVerifier(&fixedKeys{set: i.keySet()}, rules, nil)
	if err != nil {
		t.Fatal(err)
	}

	id, err := v.Verify(t.Context(), i.token("d", goodClaims().with("client_id", "payments")))
	if err != nil || id.Name != "payments" {
		t.Fatalf("%+v %v", id, err)
	}

	_, err = v.Verify(t.Context(), i.token("d", goodClaims().with("client_id", 7)))
	wantError(t, err, ErrFailed)
}

func TestUnknownKeyIdFetchesKeysOnce(t *testing.T) {
	old := newIssuer(t)
	rotated := newIssuer(t)
	rotated.keys = map[string]any{"new": rotated.keys["e"]}
	rotated.alg = map[string]jwa.SignatureAlgorithm{"new": jwa.ES256()}
	keys := &fixedKeys{set: old.keySet(), next: rotated.keySet()}

	v, err := NewVerifier(keys, testRules, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := v.Verify(t.Context(), rotated.token("new", goodClaims())); err != nil || id.Name != "alice" {
		t.Fatalf("%+v %v", id, err)
	}
	if keys.refreshed != 1 {
		t.Errorf("keys were fetched %d times", keys.refreshed)
	}

	_, err = v.Verify(t.Context(), old.token("e", goodClaims()))
	wantError(t, err, ErrFailed)
}

func TestKeysThatProveNothingAreLeftOut(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}

	short := `{"kty":"RSA","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(weak.N.Bytes()) + `"}`
	for name, set := range map[string]string{
		"symmetric":  `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"r"}]}`,
		"short RSA":  `{"keys":[` + short + `]}`,
		"encryption": strings.Replace(string(newIssuer(t).published()), `"kty"`, `"use":"enc","kty"`, 3),
		"empty":      `{"keys":[]}`,
		"no set":     `[]`,
		"too large":  `{"keys":[]}` + strings.Repeat(" ", MaxKeySet),
	} {
		if _, err := ParseKeySet([]byte(set)); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestFetcherAsksRarelyAndBelievesKeysForADay(t *testing.T) {
	i := newIssuer(t)
	var asked atomic.Int32
	var down atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Write(i.published())
	}))

	defer server.Close()
	now := time.Now()
	failures := 0
	f := NewFetcher(server.Client(), server.URL, func(error) { failures++ })
	f.now = func() time.Time { return now }

	if f.Keys() != nil {
		t.Fatal("keys before any were fetched")
	}
	for range 5 {
		f.Refresh(t.Context())
	}

	if n := asked.Load(); n != 1 || f.Keys() == nil {
		t.Fatalf("the issuer was asked %d times", n)
	}
	down.Store(true)
	now = now.Add(time.Hour)

	if f.Refresh(t.Context()); f.Keys() == nil || asked.Load() != 2 {
		t.Fatal("a failure lost the keys")
	}
	now = now.Add(24 * time.Hour)
	if f.Refresh(t.Context()); f.Keys() != nil {
		t.Fatal("keys are believed for ever")
	}

	down.Store(false)
	now = now.Add(time.Hour)
	if f.Refresh(t.Context()); f.Keys() == nil {
		t.Fatal("keys did not come back")
	}
	if failures != 2 {
		t.Errorf("%d failures were told", failures)
	}
}

func TestFetcherTrustsNobodyElse(t *testing.T) {
	i := newIssuer(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(i.published()) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(i.published())
		w.Write(bytes.Repeat([]byte(" "), MaxKeySet))
	})

	server := httptest.NewTLSServer(mux)
	defer server.Close()
	for _, c := range []struct {
		path   string
		client *http.Client
		ok     bool
	}{{"/keys", server.Client(), true}, {"/moved", server.Client(), false}, {"/huge", server.Client(), false}, {"/keys", &http.Client{}, false}} {
		var failure error
		f := NewFetcher(c.client, server.URL+c.path, func(err error) { failure = err })
		if f.Refresh(t.Context()); (f.Keys() != nil) != c.ok || (failure == nil) != c.ok {
			t.Errorf("%s: %v", c.path, failure)
		}
	}
}

func TestFetcherEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	i := newIssuer(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(i.published()); cancel() }))
	defer server.Close()
	NewFetcher(server.Client(), server.URL, func(error) {}).Run(ctx)
}

func TestBearerMessagesAreReadStrictly(t *testing.T) {
	for _, msg := range []string{
		"", "n,,", "n,,\x01\x01", "n,,\x01auth=Bearer x\x01", "n,,\x01auth=Basic x\x01\x01", "n,,\x01auth=Bearer \x01\x01",
		"p=x,,\x01auth=Bearer x\x01\x01", "n\x01auth=Bearer x\x01\x01", "n,,,\x01auth=Bearer x\x01\x01", "n,b=x,\x01auth=Bearer x\x01\x01",
		"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01", "n,,\x01auth\x01\x01", "n,,\x01x=1\x01\x01", "n,,\x01=1\x01auth=Bearer x\x01\x01",
	} {
		if m, err := parseBearer([]byte(msg)); !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %+v %v", msg, m, err)
		}
	}

	for msg, want := range map[string]bearerMessage{
		"n,,\x01auth=Bearer a.b.c\x01\x01":         {token: "a.b.c"},
		"n,a=me,\x01auth=bearer  t\x01x=y\x01\x01": {authzid: "me", token: "t"},
		"y,,\x01x=y\x01auth=BEARER t\x01\x01":      {token: "t"},
	} {
		if m, err := parseBearer([]byte(msg)); err != nil || m != want {
			t.Errorf("%q: %+v %v", msg, m, err)
		}
	}

	i := newIssuer(t)
	s := tokenServer(t, &fixedKeys{set: i.keySet()}, testRules)
	r, err := say(s, OAuthBearer, fmt.Sprintf("n,a=bob,\x01auth=Bearer %s\x01\x01", i.token("e", goodClaims())))
	if err != nil || r.Done {
		t.Errorf("a token of alice speaks for bob: %+v %v", r, err)
	}
}
