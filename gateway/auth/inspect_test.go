package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// jwtOf is a token whose signature nobody here checks.
func jwtOf(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestInspectorLearnsTheNameThatTheBrokerAccepts(t *testing.T) {
	bearer := func(token string) string { return "n,,\x01auth=Bearer " + token + "\x01\x01" }
	for _, c := range []struct {
		mechanism string
		exchange  []string // client, broker, client, broker…
		want      string
	}{
		{Plain, []string{"\x00alice\x00pw", ""}, "alice"},
		{Plain, []string{"alice\x00alice\x00pw", ""}, "alice"},
		{ScramSHA256, []string{"n,,n=al=3Dice,r=x", "r=xy,s=c2FsdA==,i=4096", "c=biws,r=xy,p=cA==", "v=dg=="}, "al=ice"},
		{ScramSHA512, []string{"n,,n=id,r=x,tokenauth=true", "r=xy,s=c2FsdA==,i=4096", "c=biws,r=xy,p=cA==", "v=dg=="}, ""},
		{OAuthBearer, []string{bearer(jwtOf(`{"sub":"alice"}`)), ""}, "alice"},
		{OAuthBearer, []string{bearer(jwtOf(`{"sub":7}`)), ""}, ""},
		{OAuthBearer, []string{bearer("opaque"), ""}, ""},
		{OAuthBearer, []string{bearer("a.%.c"), ""}, ""},
		{"GSSAPI", []string{"\x60token", "reply"}, ""},
	} {
		i := NewInspector(c.mechanism, "")
		done := false
		for n, msg := range c.exchange {
			if n%2 == 0 {
				if done {
					t.Fatalf("%s: done before %q", c.mechanism, msg)
				}
				if err := i.Client([]byte(msg)); err != nil {
					t.Fatalf("%s: %v", c.mechanism, err)
				}
				continue
			}
			done = i.Broker([]byte(msg))
		}

		if !done || i.Name() != c.want {
			t.Errorf("%s %q: %q %v, want %q", c.mechanism, c.exchange[0], i.Name(), done, c.want)
		}
	}
}

func TestInspectorTakesNoChallengeForSuccess(t *testing.T) {
	i := NewInspector(OAuthBearer, "sub")
	if err := i.Client([]byte("n,,\x01auth=Bearer x\x01\x01")); err != nil {
		t.Fatal(err)
	}
	if i.Broker([]byte(`{"status":"invalid_token"}`)) {
		t.Error("an error challenge counts as success")
	}
	if err := i.Client([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if i.Broker(nil) {
		t.Error("an empty answer to the failure counts as success")
	}

	i = NewInspector(ScramSHA256, "")
	if err := i.Client([]byte("n,,n=alice,r=x")); err != nil {
		t.Fatal(err)
	}

	for _, answer := range []string{"v=dg==", "e=unknown-user", ""} {
		if i.Broker([]byte(answer)) {
			t.Errorf("%q ends the exchange after client-first", answer)
		}
	}

	if err := i.Client([]byte("c=biws,r=xy,p=cA==")); err != nil {
		t.Fatal(err)
	}
	if i.Broker([]byte("e=invalid-proof")) {
		t.Error("a refused proof counts as success")
	}
}

func TestInspectorRefusesWhatBrokersMightReadDifferently(t *testing.T) {
	for mechanism, msg := range map[string]string{
		Plain:       "bob\x00alice\x00pw",
		ScramSHA256: "n,a=bob,n=alice,r=x",
		ScramSHA512: "n,,n=alice,n=bob",
		OAuthBearer: "n,a=bob,\x01auth=Bearer " + jwtOf(`{"sub":"alice"}`) + "\x01\x01",
		"GSSAPI":    strings.Repeat("x", MaxMessage+1),
	} {
		if err := NewInspector(mechanism, "").Client([]byte(msg)); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

func TestOnlyKnownMechanismsCanBeFollowedWithoutFrames(t *testing.T) {
	for m, want := range map[string]bool{Plain: true, ScramSHA256: true, ScramSHA512: true, OAuthBearer: true, "GSSAPI": false, "": false} {
		if Understood(m) != want {
			t.Errorf("%q: %v", m, !want)
		}
	}
}
