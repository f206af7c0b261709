package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"
)

func TestAnApprovalHoldsOnlyForTheGatewaysThatItNames(t *testing.T) {
	w := newWorld(t)
	digest := sha256.Sum256(wasm())
	production := Gateway{Name: "eu-1", Environment: "production"}
	for name, c := range map[string]struct {
		audience []string
		gateway  Gateway
		want     error
	}{
		"nobody, no environment":        {nil, Gateway{Name: "eu-1"}, nil},
		"nobody, no name":               {nil, Gateway{}, nil},
		"nobody, an environment":        {nil, production, ErrAudience},
		"this environment":              {[]string{"environment:production"}, production, nil},
		"this gateway":                  {[]string{"gateway:eu-1"}, production, nil},
		"this and another":              {[]string{"environment:staging", "gateway:eu-1"}, production, nil},
		"staging":                       {[]string{"environment:staging"}, production, ErrAudience},
		"another gateway":               {[]string{"gateway:eu-2"}, production, ErrAudience},
		"a gateway called production":   {[]string{"environment:production"}, Gateway{Name: "production"}, ErrAudience},
		"an environment called eu-1":    {[]string{"gateway:eu-1"}, Gateway{Environment: "eu-1"}, ErrAudience},
		"somebody, and nobody is asked": {[]string{"environment:production"}, Gateway{}, ErrAudience},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.approved(w.bob, func(a *Approval) { a.Audience = c.audience })
			if _, err := w.root(1).For(c.gateway).VerifyApproval(t.Context(), digest, b, noon()); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// A quorum is of people who approved for the same gateways.
func TestApprovalsForOtherGatewaysAreNotCounted(t *testing.T) {
	w := newWorld(t)
	for _, audience := range []string{"environment:production", "environment:staging"} {
		p := Package{Wasm: wasm(), Config: config(), Signature: w.signed(w.ada), Approvals: [][]byte{
			w.approved(w.bob, func(a *Approval) { a.Audience = []string{"environment:production"} }),
			w.approved(w.eve, func(a *Approval) { a.Audience = []string{audience} }),
		}}

		_, err := w.root(2).For(Gateway{Environment: "production"}).VerifyPackage(t.Context(), p, noon())
		if want := audience != "environment:production"; errors.Is(err, ErrAudience) != want || (err != nil) != want {
			t.Errorf("%s: got %v", audience, err)
		}
	}
}

func TestClocksMayDifferAtTheBeginningAndNeverAtTheEnd(t *testing.T) {
	w := newWorld(t)
	digest := sha256.Sum256(wasm())
	root := w.root(1, func(d *rootDoc) { d.Approvers[0].NotBefore = "2026-03-01T12:00:00Z" })
	b := w.approved(w.bob, func(a *Approval) {
		a.NotBefore = noon()
		a.NotAfter = noon().Add(time.Hour)
	})

	for name, c := range map[string]struct {
		skew time.Duration
		now  time.Time
		want error
	}{
		"a minute early":          {time.Minute, noon().Add(-time.Minute), nil},
		"more than a minute":      {time.Minute, noon().Add(-time.Minute - 1), ErrKeyExpired},
		"ten minutes are allowed": {10 * time.Minute, noon().Add(-9 * time.Minute), nil},
		"none are":                {0, noon().Add(-1), ErrKeyExpired},
		"at its end":              {time.Minute, noon().Add(time.Hour), ErrExpired},
	} {
		if _, err := root.For(Gateway{ClockSkew: c.skew}).VerifyApproval(t.Context(), digest, b, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Approvals that were made before there was an audience keep their digest, and
// so does what the log says of them.
func TestGrantWithoutAudienceKeepsItsDigest(t *testing.T) {
	const want = "a4ab9770cffdbd93bdfa94196a9b093bc104f516e1d82c1594f3a2ec9a8f11dc"
	if got := digestOf(approval()); got != want {
		t.Errorf("got %s", got)
	}
	if digestOf(approval(func(a *Approval) { a.Audience = []string{"environment:x"} })) == want {
		t.Error("the audience is not in the digest")
	}
}

func digestOf(a Approval) string {
	d := a.GrantDigest()
	return hex.EncodeToString(d[:])
}
