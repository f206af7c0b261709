package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func mechanisms(user, pass string) map[string]sasl.Mechanism {
	return map[string]sasl.Mechanism{
		Plain:       plain.Auth{User: user, Pass: pass}.AsMechanism(),
		ScramSHA256: scram.Auth{User: user, Pass: pass}.AsSha256Mechanism(),
		ScramSHA512: scram.Auth{User: user, Pass: pass}.AsSha512Mechanism(),
	}
}

func TestStockClientsLogIn(t *testing.T) {
	s, _ := passwordServer(t, credentialsOf(t, map[string]string{"alice": "wonder land", "a=b,c": "x"}))
	for user, pass := range map[string]string{"alice": "wonder land", "a=b,c": "x"} {
		for name, m := range mechanisms(user, pass) {
			id, err := login(t, s, m)
			if err != nil || id.Name != user {
				t.Errorf("%s as %s: %+v %v", name, user, id, err)
			}
		}
	}
}

func TestWrongPasswordAndUnknownUserLookTheSame(t *testing.T) {
	s, _ := passwordServer(t, credentialsOf(t, map[string]string{"alice": "secret"}))
	var texts = map[string]map[string]bool{}
	for _, user := range []string{"alice", "nobody"} {
		for name, m := range mechanisms(user, "wrong") {
			_, err := login(t, s, m)
			wantError(t, err, ErrFailed)
			if texts[name] == nil {
				texts[name] = map[string]bool{}
			}
			texts[name][err.Error()] = true
		}
	}

	for name, t2 := range texts {
		if len(t2) != 1 {
			t.Errorf("%s tells who exists: %v", name, t2)
		}
	}
}

func TestUnknownUserCostsTheSameAndHasALastingSalt(t *testing.T) {
	c := credentialsOf(t, map[string]string{"alice": "secret"})
	raw, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}

	again, err := ParseCredentials(raw)
	if err != nil {
		t.Fatal(err)
	}

	for _, m := range []string{ScramSHA256, ScramSHA512} {
		real, known := c.record(m, "alice")
		if !known {
			t.Fatal("alice is not known")
		}

		decoy, known := c.record(m, "mallory")
		after, _ := again.record(m, "mallory")
		other, _ := c.record(m, "trudy")

		switch {
		case known:
			t.Error("mallory is known")
		case decoy.Iterations != real.Iterations || len(decoy.Salt) != len(real.Salt) || len(decoy.StoredKey) != len(real.StoredKey):
			t.Errorf("%s: a decoy %+v does not look like %+v", m, decoy, real)
		case !bytes.Equal(decoy.Salt, after.Salt):
			t.Error("a decoy's salt changed with a restart")
		case bytes.Equal(decoy.Salt, other.Salt):
			t.Error("two decoys share their salt")
		}
	}

	if c.plainMechanism("alice") != c.plainMechanism("mallory") {
		t.Error("PLAIN hashes differently for an unknown user")
	}
}

// The example of RFC 7677 §3.
func TestScramVectorOfRFC7677(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	r, err := derive(ScramSHA256, []byte("pencil"), salt, 4096)
	if err != nil {
		t.Fatal(err)
	}

	c, err := NewCredentials().With("user", []Record{r})
	if err != nil {
		t.Fatal(err)
	}

	s, _ := passwordServer(t, c)
	s.nonce = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }
	const nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	first := "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"

	got, err := say(s, ScramSHA256, first)
	if want := nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"; err != nil || string(got.Reply) != want {
		t.Fatalf("server-first is %s %v, want %s", got.Reply, err, want)
	}

	got, err = say(s, ScramSHA256, first, "c=biws,"+nonce+",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	if want := "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="; err != nil || string(got.Reply) != want || !got.Done || got.Identity.Name != "user" {
		t.Fatalf("server-final is %+v %v, want %s", got, err, want)
	}
}

func TestAnOverheardProofIsWorthNothing(t *testing.T) {
	s, _ := passwordServer(t, credentialsOf(t, map[string]string{"alice": "secret"}))
	m := scram.Auth{User: "alice", Pass: "secret"}.AsSha256Mechanism()
	session, first, err := m.Authenticate(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}

	e, err := s.Begin(ScramSHA256)
	if err != nil {
		t.Fatal(err)
	}

	r, err := e.Next(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}

	_, final, err := session.Challenge(r.Reply)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = e.Next(t.Context(), final); err != nil || !r.Done {
		t.Fatalf("the true exchange failed: %v", err)
	}

	_, err = e.Next(t.Context(), final)
	wantError(t, err, ErrMessage)
	_, err = say(s, ScramSHA256, string(first), string(final))
	wantError(t, err, ErrFailed)
}

func TestAmbiguousMessagesAreRefused(t *testing.T) {
	s, _ := passwordServer(t, credentialsOf(t, map[string]string{"alice": "secret", "bob": "secret"}))
	for _, c := range []struct{ name, mechanism, msg string }{
		{"empty", Plain, ""},
		{"two parts", Plain, "alice\x00secret"},
		{"four parts", Plain, "\x00alice\x00secret\x00"},
		{"no password", Plain, "\x00alice\x00"},
		{"no name", Plain, "\x00\x00secret"},
		{"another identity", Plain, "bob\x00alice\x00secret"},
		{"control character", Plain, "\x00ali\nce\x00secret"},
		{"not UTF-8", Plain, "\x00ali\xffce\x00secret"},
		{"long name", Plain, "\x00" + strings.Repeat("a", 256) + "\x00secret"},
		{"channel binding", ScramSHA256, "p=tls-unique,,n=alice,r=x"},
		{"another identity", ScramSHA256, "n,a=bob,n=alice,r=x"},
		{"mandatory extension", ScramSHA256, "n,,m=x,n=alice,r=x"},
		{"no nonce", ScramSHA256, "n,,n=alice"},
		{"empty nonce", ScramSHA256, "n,,n=alice,r="},
		{"bad escape", ScramSHA256, "n,,n=al=ice,r=x"},
		{"extension without value", ScramSHA256, "n,,n=alice,r=x,y"},
		{"garbage", ScramSHA512, "\x00\x01\x02"},
		{"too long", ScramSHA256, "n,,n=alice,r=" + strings.Repeat("x", MaxMessage)},
	} {
		if _, err := say(s, c.mechanism, c.msg); !errors.Is(err, ErrMessage) {
			t.Errorf("%s, %s: %v", c.mechanism, c.name, err)
		}
	}
}

func TestIdentityIsTheSameOneWhenItMayBeGiven(t *testing.T) {
	s, _ := passwordServer(t, credentialsOf(t, map[string]string{"alice": "secret"}))
	if r, err := say(s, Plain, "alice\x00alice\x00secret"); err != nil || r.Identity.Name != "alice" {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestUnofferedMechanismIsRefused(t *testing.T) {
	s, _ := passwordServer(t, credentialsOf(t, nil))
	for _, m := range []string{OAuthBearer, "GSSAPI", "", "plain"} {
		_, err := s.Begin(m)
		wantError(t, err, ErrMechanism)
	}

	if _, err := NewServer(Config{Mechanisms: []string{"GSSAPI"}}); !errors.Is(err, ErrMechanism) {
		t.Errorf("a server offers what it cannot do: %v", err)
	}
	for _, m := range []string{Plain, ScramSHA256, OAuthBearer} {
		if _, err := NewServer(Config{Mechanisms: []string{m}}); err == nil {
			t.Errorf("%s needs something to check against", m)
		}
	}
}

func TestChangedOrRemovedUserNoLongerHolds(t *testing.T) {
	before := credentialsOf(t, map[string]string{"alice": "secret", "bob": "b"})
	s, st := passwordServer(t, before)
	id, err := login(t, s, mechanisms("alice", "secret")[ScramSHA256])
	if err != nil || !s.Holds(id) {
		t.Fatalf("alice does not hold: %v", err)
	}

	st.set(before.Without("bob"))
	if !s.Holds(id) {
		t.Error("removing bob ended alice")
	}

	again := credentialsOf(t, map[string]string{"alice": "secret"})
	st.set(again)
	if s.Holds(id) {
		t.Error("alice holds with a password set anew")
	}

	st.set(before.Without("alice"))
	if s.Holds(id) {
		t.Error("alice holds after removal")
	}
	if _, err := login(t, s, mechanisms("alice", "secret")[Plain]); !errors.Is(err, ErrFailed) {
		t.Errorf("alice logs in after removal: %v", err)
	}
}

func TestCredentialsFileIsStrict(t *testing.T) {
	c := credentialsOf(t, map[string]string{"alice": "secret"})
	raw, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}

	good := string(raw)
	if bytes.Contains(raw, []byte("secret")) {
		t.Error("the file holds a password")
	}

	for name, text := range map[string]string{
		"empty":          "",
		"unknown key":    good + "password: x\n",
		"no decoy key":   strings.Replace(good, "decoy_key", "# decoy_key", 1),
		"few iterations": strings.ReplaceAll(good, "iterations: 4096", "iterations: 1"),
		"mechanism":      strings.Replace(good, ScramSHA256, "MD5", 1),
		"twice":          strings.Replace(good, ScramSHA256, ScramSHA512, 1),
		"short key":      strings.Replace(good, "stored_key: ", "stored_key: QUJD #", 1),
		"no base64":      strings.Replace(good, "salt: ", "salt: '%' #", 1),
		"no records":     "decoy_key: MDEyMzQ1Njc4OWFiY2RlZg==\nusers: {alice: []}\n",
		"bad name":       strings.Replace(good, "alice:", "\"a\\nb\":", 1),
	} {
		if _, err := ParseCredentials([]byte(text)); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}
