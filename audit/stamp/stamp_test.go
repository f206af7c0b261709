package stamp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/stamp"
	"github.com/guardlock/guardlock/audit/stamp/stamptest"
	"github.com/guardlock/guardlock/signing"
)

// authority is one that a test uses.
type authority struct{ *stamptest.Authority }

func newAuthority(tb testing.TB, name string) authority {
	tb.Helper()
	a, err := stamptest.New(name)
	if err != nil {
		tb.Fatal(err)
	}
	return authority{a}
}

func (a authority) trusted(tb testing.TB) *stamp.Authorities {
	tb.Helper()
	all, err := stamp.ParseAuthorities(a.Root)
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// stamped is a note that a log signed and the authority stamped.
func (a authority) stamped(tb testing.TB) (*evidence.Checkpoint, []byte, []byte, error) {
	tb.Helper()
	server := httptest.NewServer(a)
	tb.Cleanup(server.Close)
	secret, _, err := note.GenerateKey(rand.Reader, "guardlock/gw/1")
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		tb.Fatal(err)
	}

	c := &evidence.Checkpoint{Origin: signer.Name(), Size: 7, Root: evidence.HashOf([]byte("x"))}
	signed, err := c.Sign(signer)
	if err != nil {
		tb.Fatal(err)
	}
	line, err := stamp.NewClient(server.URL, a.trusted(tb)).Stamp(tb.Context(), c.Text())
	return c, signed, line, err
}

func TestStampOnACheckpointTellsTheTime(t *testing.T) {
	a := newAuthority(t, "time.example")
	_, signed, line, err := a.stamped(t)
	if err != nil {
		t.Fatal(err)
	}

	whole := append(bytes.Clone(signed), line...)
	all, err := a.trusted(t).Timestamps(whole)
	if err != nil || len(all) != 1 || !all[0].Time.Equal(a.Now) || all[0].Authority != "CN=time.example" {
		t.Errorf("the stamp says %v, %v", all, err)
	}
	if all, err := a.trusted(t).Timestamps(signed); err != nil || len(all) != 0 {
		t.Errorf("a note without a stamp has %v, %v", all, err)
	}
	if all, err := newAuthority(t, "time.example").trusted(t).Timestamps(whole); !errors.Is(err, stamp.ErrStamp) {
		t.Errorf("another authority of that name stands behind %v, %v", all, err)
	}
}

// A stamp holds after its certificate has ended, since it held when it was made.
func TestStampHoldsAtItsOwnTimeAlone(t *testing.T) {
	for name, c := range map[string]struct {
		at    time.Duration
		holds bool
	}{"within the certificate": {-30 * time.Minute, true}, "after it": {2 * time.Hour, false}, "before it": {-2 * time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, "time.example")
			a.Now = a.Now.Add(c.at)
			if _, _, _, err := a.stamped(t); (err == nil) != c.holds {
				t.Errorf("the stamp: %v", err)
			}
		})
	}
}

func TestWhatIsNoStampOfThisTextIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*timestamp.Timestamp){
		"another digest":   func(s *timestamp.Timestamp) { s.HashedMessage[0] ^= 1 },
		"another question": func(s *timestamp.Timestamp) { s.Nonce = big.NewInt(1) },
		"no nonce":         func(s *timestamp.Timestamp) { s.Nonce = nil },
		"no certificate":   func(s *timestamp.Timestamp) { s.AddTSACertificate = false },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, "time.example")
			a.Spoil = spoil
			if _, _, line, err := a.stamped(t); !errors.Is(err, stamp.ErrStamp) {
				t.Errorf("%.60q, %v", line, err)
			}
		})
	}
}

func TestAuthorityThatDoesNotStampIsAnError(t *testing.T) {
	refusal, err := timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.TimeNotAvailable)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func(http.ResponseWriter, []byte){
		"an error":   func(w http.ResponseWriter, _ []byte) { http.Error(w, "no", http.StatusInternalServerError) },
		"a refusal":  func(w http.ResponseWriter, _ []byte) { w.Write(refusal) },
		"nothing":    func(http.ResponseWriter, []byte) {},
		"a megabyte": func(w http.ResponseWriter, _ []byte) { w.Write(make([]byte, 1<<20)) },
		"no DER":     func(w http.ResponseWriter, _ []byte) { io.WriteString(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, "time.example")
			a.Answers = answer
			if _, _, line, err := a.stamped(t); err == nil {
				t.Errorf("a stamp: %q", line)
			}
		})
	}
}

func TestAuthorityThatHangsEndsWithTheContext(t *testing.T) {
	a := newAuthority(t, "time.example")
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	a.Answers = func(http.ResponseWriter, []byte) { cancel(); <-release }
	server := httptest.NewServer(a)
	defer server.Close()
	defer close(release)
	if _, err := stamp.NewClient(server.URL, a.trusted(t)).Stamp(ctx, "text\n"); !errors.Is(err, context.Canceled) {
		t.Errorf("a hanging authority: %v", err)
	}
}

// No bit of a stamp can be changed so that it tells another time or authority.
func TestNoBitOfAStampTellsSomethingElse(t *testing.T) {
	a := newAuthority(t, "time.example")
	_, signed, line, err := a.stamped(t)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Fields(string(line))[2]
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}

	trusted := a.trusted(t)
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		changed := append(bytes.Clone(signed), "— rfc3161 "+base64.StdEncoding.EncodeToString(raw)+"\n"...)
		all, err := trusted.Timestamps(changed)
		if err == nil && len(all) > 0 && (!all[0].Time.Equal(a.Now) || all[0].Authority != "CN=time.example") {
			t.Fatalf("bit %d: %v", bit, all)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
}

func TestFileWithoutARootIsRefused(t *testing.T) {
	a := newAuthority(t, "time.example")
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Leaf.Raw})
	for name, text := range map[string]string{
		"nothing":        "",
		"only a leaf":    string(leaf),
		"a key":          string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})),
		"no certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
		"text behind":    string(a.Root) + "more",
	} {
		if _, err := stamp.ParseAuthorities([]byte(text)); !errors.Is(err, signing.ErrAuthorities) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := stamp.ParseAuthorities(append(leaf, a.Root...)); err != nil {
		t.Errorf("a leaf and its root: %v", err)
	}
}

func FuzzTimestamps(f *testing.F) {
	a := newAuthority(f, "time.example")
	_, signed, line, err := a.stamped(f)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Fields(string(line))[2])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:4])
	trusted := a.trusted(f)

	f.Fuzz(func(t *testing.T, raw []byte) {
		whole := append(bytes.Clone(signed), "— rfc3161 "+base64.StdEncoding.EncodeToString(raw)+"\n"...)
		all, err := trusted.Timestamps(whole)
		if err == nil && len(all) > 0 && !all[0].Time.Equal(a.Now) {
			t.Errorf("a stamp of another time: %v", all)
		}
	})
}
