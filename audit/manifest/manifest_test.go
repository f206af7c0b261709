package manifest

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/signing"
)

// logKey is a new public key of a log.
func logKey(t *testing.T) string {
	t.Helper()
	_, public, err := note.GenerateKey(rand.Reader, "guardlock/gw/0011")
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// two is a manifest of two gateways, of which one has a former log.
func two(t *testing.T) *Manifest {
	t.Helper()
	m := &Manifest{Cluster: "payments", Revision: 3}
	m.Add("gw-a", Log{ID: "0011223344556677", Key: logKey(t), Dir: "a"})
	m.Add("gw-b", Log{ID: "8899aabbccddeeff", Key: logKey(t)})
	if former := m.Add("gw-b", Log{ID: "0123456789abcdef", Key: logKey(t)}); former != "8899aabbccddeeff" {
		t.Fatalf("the former log is %q", former)
	}
	return m
}

func TestManifestIsReadAsItWasWritten(t *testing.T) {
	text, err := two(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Encode()
	if err != nil || string(again) != string(text) {
		t.Errorf("got %s, %v, want %s", again, err, text)
	}

	// A log that is known changes nothing, wherever it is listed.
	next := m.Next()
	for i, id := range []string{"0011223344556677", "8899aabbccddeeff"} {
		if former := next.Add([]string{"gw-a", "gw-b"}[i], Log{ID: id, Key: m.Gateways[0].Key}); former != "" {
			t.Errorf("%s made %s a former log", id, former)
		}
	}
	if next.Revision != 4 || len(next.Gateways) != 2 || len(next.Gateways[1].Former) != 1 {
		t.Errorf("got %+v", next)
	}
}

func TestManifestThatLeavesALogUncertainIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Manifest)
		want string
	}{
		"nobody":               {func(m *Manifest) { m.Gateways = nil }, "gateways: names none"},
		"no revision":          {func(m *Manifest) { m.Revision = 0 }, "revision: must be at least 1"},
		"revision of a list":   {func(m *Manifest) { m.Cluster = "" }, "revision: is of a manifest"},
		"a name twice":         {func(m *Manifest) { m.Gateways[1].Name = "gw-a" }, "gateways[1].name: needs a name of its own"},
		"a name in other case": {func(m *Manifest) { m.Gateways[1].Name = "GW-A" }, "gateways[1].name: needs a name of its own"},
		"no node's name":       {func(m *Manifest) { m.Gateways[1].Name = "gw b" }, "gateways[1].name: \"gw b\" must be"},
		"a log twice":          {func(m *Manifest) { m.Gateways[1].ID = m.Gateways[0].ID }, "gateways[1].log_id: is listed twice"},
		"a former log twice":   {func(m *Manifest) { m.Gateways[1].Former[0].ID = m.Gateways[0].ID }, "former[0].log_id: is listed twice"},
		"an id cut short":      {func(m *Manifest) { m.Gateways[0].ID = "0011" }, "gateways[0].log_id: must be 16"},
		"an id in upper case":  {func(m *Manifest) { m.Gateways[1].ID = "0123456789ABCDEF" }, "gateways[1].log_id: must be 16"},
		"a key on two lines":   {func(m *Manifest) { m.Gateways[1].Key += "\n" }, "gateways[1].log_key: must be on one line"},
		"a key in two texts":   {func(m *Manifest) { m.Gateways[1].Key = m.Gateways[0].Key + "\n" }, "gateways[1].log_key: must be on one line"},
		"a key twice":          {func(m *Manifest) { m.Gateways[1].Key = m.Gateways[0].Key }, "gateways[1].log_key: is listed twice"},
		"a key's file":         {func(m *Manifest) { m.Gateways[1].Key = "log.key.pub" }, "gateways[1].log_key: must be a public key itself"},
		"a lost log in use":    {func(m *Manifest) { m.Gateways[1].Lost = "why" }, "gateways[1].lost: is of a former log"},
	} {
		m := two(t)
		c.edit(m)
		text, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}

	for text, want := range map[string]string{
		"":                                      "empty",
		"gateways: [{name: a}]":                 "gateways[0].dir: is needed",
		"gateways: [{name: a, dir: b, url: c}]": "unknown key",
		"gateways: [{name: a, dir: b, log_id: 0011223344556677}]": "are of a manifest with a cluster",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestManifestCountsOnceEnoughApproversSignedItAsItIs(t *testing.T) {
	keys := map[string]*signing.PrivateKey{}
	root := "threshold: 2\nauthors: [{identity: ada, key: KEY-ada}]\napprovers: [{identity: grace, key: KEY-grace}, {identity: linus, key: KEY-linus}]\n"
	for _, who := range []string{"ada", "grace", "linus"} {
		key, err := signing.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pem, err := key.Public().MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		keys[who] = key
		root = strings.Replace(root, "KEY-"+who, `"`+strings.ReplaceAll(string(pem), "\n", `\n`)+`"`, 1)
	}
	trust, err := signing.ParseTrustRoot([]byte(root))
	if err != nil {
		t.Fatal(err)
	}

	text, err := two(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Parse([]byte("gateways: [{name: a, dir: b}]"))
	if err != nil {
		t.Fatal(err)
	}

	signed := func(m *Manifest, who ...string) (all [][]byte) {
		for _, name := range who {
			b, err := signing.SignArtifact(t.Context(), m.Source(), keys[name])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
		return all
	}
	for name, c := range map[string]struct {
		of      *Manifest
		bundles [][]byte
		want    error
	}{
		"two approvers":        {m, signed(m, "linus", "grace"), nil},
		"nobody":               {m, nil, ErrUnsigned},
		"one":                  {m, signed(m, "grace"), signing.ErrSignatories},
		"one and the author":   {m, signed(m, "grace", "ada"), signing.ErrSignatories},
		"of another file":      {m, signed(plain, "grace", "linus"), signing.ErrFileChanged},
		"of a list without id": {plain, signed(plain, "grace", "linus"), ErrPlain},
	} {
		got, err := c.of.Verify(t.Context(), trust, c.bundles, time.Now())
		if !errors.Is(err, c.want) || err == nil && len(got.Signers) != 2 {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestGatewayMustBeAsTheManifestHasIt(t *testing.T) {
	m := two(t)
	id, other := [8]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77}, [8]byte{1}
	if err := m.Has("gw-a", id, m.Gateways[0].Key+"\n"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another name": m.Has("gw-c", id, m.Gateways[0].Key),
		"another's":    m.Has("gw-b", id, m.Gateways[0].Key),
		"another log":  m.Has("gw-a", other, m.Gateways[0].Key),
		"another key":  m.Has("gw-a", id, m.Gateways[1].Key),
		"no key":       m.Has("gw-a", id, ""),
	} {
		if !errors.Is(err, ErrNotListed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
