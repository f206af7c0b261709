package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// Algorithms lists the signatures that tokens may have: asymmetric ones only. A
// token without a signature, or with one that we could make ourselves, proves
// nothing.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// TokenRules say which tokens count. Issuer and Audiences are needed: a token
// that the same issuer made for another service must not open this one.
type TokenRules struct {
	Issuer     string
	Audiences  []string // the token must be for one of them
	Claim      string   // that holds the name; empty: sub
	Algorithms []string // empty: all of Algorithms
}

// KeySource gives the issuer's keys. Its methods are called by many goroutines
// at once.
type KeySource interface {
	// Keys returns the newest keys without waiting, nil if there are none that
	// may still be believed.
	Keys() *KeySet
	// Refresh tries to get newer ones, since a token names a key that is not
	// there. It must bound how often it really does: clients cause it.
	Refresh(ctx context.Context)
}

// Verifier checks JSON Web Tokens by rules that never change. It is safe for
// concurrent use.
type Verifier struct {
	keys  KeySource
	rules TokenRules
	now   func() time.Time
}

// clockSkew is how far the issuer's clock may be off from ours, at either end
// of a token's time.
const clockSkew = 30 * time.Second

// maxToken bounds a token in bytes, before anything of it is decoded.
const maxToken = 16 << 10

// NewVerifier checks the rules: there must be an issuer, an audience, and no
// algorithm but those of Algorithms. A nil now means time.Now.
func NewVerifier(keys KeySource, rules TokenRules, now func() time.Time) (*Verifier, error) {
	if rules.Issuer == "" || len(rules.Audiences) == 0 || slices.Contains(rules.Audiences, "") {
		return nil, errors.New("verifying tokens needs an issuer and an audience")
	}
	if len(rules.Algorithms) == 0 {
		rules.Algorithms = Algorithms()
	}

	for _, a := range rules.Algorithms {
		if !slices.Contains(Algorithms(), a) {
			return nil, fmt.Errorf("signature algorithm %q is not one of %s", a, strings.Join(Algorithms(), ", "))
		}
	}

	if rules.Claim == "" {
		rules.Claim = "sub"
	}
	if now == nil {
		now = time.Now
	}

	return &Verifier{keys: keys, rules: rules, now: now}, nil
}

// Verify returns who the token speaks for. Whatever is wrong with the token, the
// error wraps ErrFailed and says what, in words of ours.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	// Compact form only: the JSON form can hold several signatures, of which
	// readers pick different ones.
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return Identity{}, refuse("it is not a compact JSON Web Token")
	}
	key, err := v.keyFor(ctx, token)
	if err != nil {
		return Identity{}, err
	}

	t, err := jwt.Parse([]byte(token), jwt.WithKey(key.algorithm, key.key), jwt.WithStrictStringClaims(true), jwt.WithValidate(false))
	if err != nil {
		return Identity{}, refuse("its signature does not verify")
	}

	err = jwt.Validate(t, jwt.WithIssuer(v.rules.Issuer), jwt.WithRequiredClaim(jwt.ExpirationKey),
		jwt.WithAcceptableSkew(clockSkew), jwt.WithClock(jwt.ClockFunc(v.now)))
	if err != nil {
		return Identity{}, refuse(whyInvalid(err))
	}

	audiences, _ := t.Audience()
	if !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(v.rules.Audiences, a) }) {
		return Identity{}, refuse("it is for another audience")
	}

	expires, _ := t.Expiration()
	var name string
	if t.Get(v.rules.Claim, &name) != nil || checkName(name) != nil {
		return Identity{}, refuse("its claim " + v.rules.Claim + " holds no name")
	}

	return Identity{Name: name, Expires: expires}, nil
}

func refuse(why string) error { return fmt.Errorf("checking a token: %s: %w", why, ErrFailed) }

func whyInvalid(err error) string {
	switch {
	case errors.Is(err, jwt.TokenExpiredError()):
		return "it has expired"
	case errors.Is(err, jwt.TokenNotYetValidError()):
		return "it is not valid yet"
	case errors.Is(err, jwt.InvalidIssuerError()):
		return "it is from another issuer"
	default:
		return "a claim is missing or out of range"
	}
}

// keyFor finds the key that the token says it is signed with, asking for newer
// keys once if it is not there. The algorithm comes from our list; the token
// only picks from it.
func (v *Verifier) keyFor(ctx context.Context, token string) (verificationKey, error) {
	m, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil || len(m.Signatures()) != 1 {
		return verificationKey{}, refuse("it is not a compact JSON Web Token")
	}

	h := m.Signatures()[0].ProtectedHeaders()
	algorithm, ok := h.Algorithm()
	if !ok || !slices.Contains(v.rules.Algorithms, algorithm.String()) {
		return verificationKey{}, refuse("its signature algorithm is not allowed")
	}
	if crit, ok := h.Critical(); ok && len(crit) > 0 {
		return verificationKey{}, refuse("it demands extensions that are not known")
	}

	kid, _ := h.KeyID()
	for fresh := false; ; fresh = true {
		if key, ok := v.keys.Keys().find(kid, algorithm); ok {
			return verificationKey{algorithm: algorithm, key: key}, nil
		}
		if fresh {
			return verificationKey{}, refuse("it is signed with a key that the issuer does not publish")
		}
		v.keys.Refresh(ctx)
	}
}
