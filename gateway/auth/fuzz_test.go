package auth

import (
	"errors"
	"testing"
)

// FuzzMessages sends hostile first messages to every mechanism. None may log
// in, and what the inspector reads must be what the server reads.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{
		"\x00alice\x00pw", "a\x00a\x00p", "n,,n=alice,r=x", "n,a=alice,n=alice,r=x,tokenauth=true", "y,,n=a=2Cb,r=x,e=1",
		"n,,\x01auth=Bearer a.b.c\x01\x01", "n,a=x,\x01k=v\x01auth=bearer " + jwtOf(`{"sub":"x"}`) + "\x01\x01", "p=tls-unique,,n=,r=",
	} {
		f.Add([]byte(seed), []byte("c=biws,r=x,p=AAAA"))
	}

	c := NewCredentials()
	v, err := NewVerifier(&fixedKeys{}, testRules, nil)
	if err != nil {
		f.Fatal(err)
	}

	s, err := NewServer(Config{Mechanisms: []string{ScramSHA256, ScramSHA512, OAuthBearer}, Credentials: func() *Credentials { return c }, Tokens: v})
	if err != nil {
		f.Fatal(err)
	}

	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, m := range []string{ScramSHA256, ScramSHA512, OAuthBearer} {
			e, err := s.Begin(m)
			if err != nil {
				t.Fatal(err)
			}

			_, err = e.Next(t.Context(), first)
			i := NewInspector(m, "")
			// The inspector may refuse more: a token that it cannot read for an
			// identity that is given beside it. It never takes more.
			if read := i.Client(first); read == nil && err != nil && !errors.Is(err, ErrFailed) {
				t.Fatalf("%s: the inspector takes what the server refuses: %v", m, err)
			}
			if err != nil {
				continue
			}
			if r, err := e.Next(t.Context(), second); err == nil || r.Done {
				t.Fatalf("%s: nobody logged in as %q", m, r.Identity.Name)
			}
		}
		if m, err := parsePlain(first); err == nil {
			if checkName(m.name) != nil || len(m.password) == 0 {
				t.Fatalf("a name of %d bytes got through", len(m.name))
			}
		}
	})
}

func FuzzCredentialsFile(f *testing.F) {
	c := NewCredentials()
	r, err := NewRecord(ScramSHA256, []byte("x"), MinIterations)
	if err != nil {
		f.Fatal(err)
	}
	if c, err = c.With("alice", []Record{r}); err != nil {
		f.Fatal(err)
	}

	raw, err := c.Marshal()
	if err != nil {
		f.Fatal(err)
	}

	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCredentials(raw)
		if err != nil {
			return
		}

		again, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCredentials(again); err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := ParseKeySet(raw); err == nil && len(s.keys) == 0 {
			t.Fatal("an empty set was taken")
		}
	})
}
