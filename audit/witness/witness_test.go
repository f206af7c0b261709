package witness

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit/evidence"
)

// history is a log that grows, or another one.
type history struct {
	signer   note.Signer
	verifier note.Verifier
	hashes   []tlog.Hash
	size     int64
}

func (h *history) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, x := range indexes {
		out = append(out, h.hashes[x])
	}
	return out, nil
}

func newHistory(t *testing.T) *history {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, "guardlock/gw")
	if err != nil {
		t.Fatal(err)
	}
	h := &history{}
	if h.signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	if h.verifier, err = note.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	return h
}

// fork is another history under the same key.
func (h *history) fork() *history { return &history{signer: h.signer, verifier: h.verifier} }

func (h *history) grow(t *testing.T, n int, what string) *history {
	t.Helper()
	for range n {
		hashes, err := tlog.StoredHashes(h.size, []byte(what), h)
		if err != nil {
			t.Fatal(err)
		}
		h.hashes = append(h.hashes, hashes...)
		h.size++
	}
	return h
}

func (h *history) checkpoint(t *testing.T) (evidence.Checkpoint, []byte) {
	t.Helper()
	root, err := tlog.TreeHash(h.size, h)
	if err != nil {
		t.Fatal(err)
	}
	c := evidence.Checkpoint{Origin: h.signer.Name(), Size: h.size, Root: root}
	signed, err := c.Sign(h.signer)
	if err != nil {
		t.Fatal(err)
	}
	return c, signed
}

// show asks a client to have the history cosigned.
func (h *history) show(t *testing.T, c *Client) ([]byte, []byte, error) {
	t.Helper()
	now, signed := h.checkpoint(t)
	line, err := c.Add(t.Context(), signed, now, func(old int64) ([]tlog.Hash, error) { return tlog.ProveTree(now.Size, old, h) })
	return signed, line, err
}

var signer = evidence.NewWitnessSigner("bank.example/witness", [32]byte{7})

// serve starts a witness of a log.
func serve(t *testing.T, dir string, h *history) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(New(dir, signer, []note.Verifier{h.verifier}))
	t.Cleanup(s.Close)
	return s
}

func TestWitnessSignsWhatGoesOn(t *testing.T) {
	h := newHistory(t)
	s := serve(t, t.TempDir(), h)
	key, err := evidence.ParseWitness(signer.Witness.String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(s.URL, key)
	trust := &evidence.Trust{Logs: []note.Verifier{h.verifier}, Witnesses: []*evidence.Witness{key}, Threshold: 1}

	for _, more := range []int{1, 0, 5, 300, 1} {
		signed, line, err := h.grow(t, more, "entry").show(t, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := trust.Open(signed); err == nil {
			t.Error("a checkpoint without its cosignature counts")
		}
		_, _, all, err := trust.Open(append(bytes.Clone(signed), line...))
		if err != nil || len(all) != 1 || all[0].Witness != "bank.example/witness" || time.Since(all[0].Time) > time.Minute {
			t.Errorf("%+v, %v", all, err)
		}
		if c.Cosigned() != h.size {
			t.Errorf("%d entries are cosigned, of %d", c.Cosigned(), h.size)
		}
	}

	// A gateway that starts anew does not know what the witness saw.
	if _, _, err := h.grow(t, 3, "entry").show(t, NewClient(s.URL, key)); err != nil {
		t.Error(err)
	}
}

// What a witness says that it saw is no signature.
func TestAWitnessThatOnlySaysSoHasCosignedNothing(t *testing.T) {
	h := newHistory(t).grow(t, 5, "entry")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintln(w, 3)
	}))
	defer s.Close()
	c := NewClient(s.URL, &signer.Witness)
	if _, _, err := h.show(t, c); err == nil || c.Cosigned() != 0 {
		t.Errorf("%v, and %d entries are cosigned", err, c.Cosigned())
	}
}

func TestWitnessSignsNoSecondHistory(t *testing.T) {
	h := newHistory(t)
	dir := t.TempDir()
	s := serve(t, dir, h)
	key := &signer.Witness
	if _, _, err := h.grow(t, 10, "entry").show(t, NewClient(s.URL, key)); err != nil {
		t.Fatal(err)
	}

	for _, again := range []*httptest.Server{s, serve(t, dir, h)} { // the second began anew on the same files
		for _, tc := range []struct {
			what string
			h    *history
			want error
		}{
			{"a shorter one", h.fork().grow(t, 9, "entry"), ErrAhead},
			{"as long, with other entries", h.fork().grow(t, 10, "other"), ErrForked},
			{"longer, with other entries", h.fork().grow(t, 20, "other"), ErrForked},
		} {
			if _, line, err := tc.h.show(t, NewClient(again.URL, key)); !errors.Is(err, tc.want) || line != nil {
				t.Errorf("%s: %v", tc.what, err)
			}
		}
	}
}

func TestWitnessRefusesWhoItDoesNotKnow(t *testing.T) {
	h := newHistory(t)
	s := serve(t, t.TempDir(), h)
	stranger := newHistory(t)
	if _, _, err := stranger.grow(t, 1, "entry").show(t, NewClient(s.URL, &signer.Witness)); err == nil || errors.Is(err, ErrForked) {
		t.Errorf("a log under another key: %v", err)
	}
}

func TestAnswerThatIsNotTheWitnessesIsRefused(t *testing.T) {
	h := newHistory(t)
	s := serve(t, t.TempDir(), h)
	other := evidence.NewWitnessSigner("bank.example/witness", [32]byte{8})
	if _, line, err := h.grow(t, 1, "entry").show(t, NewClient(s.URL, &other.Witness)); err == nil || line != nil {
		t.Errorf("the signature of another key: %q, %v", line, err)
	}
}

func TestWitnessThatCannotKeepDoesNotSign(t *testing.T) {
	h := newHistory(t)
	dir := filepath.Join(t.TempDir(), "seen")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where its directory would be
		t.Fatal(err)
	}
	s := serve(t, dir, h)
	if _, line, err := h.grow(t, 1, "entry").show(t, NewClient(s.URL, &signer.Witness)); err == nil || line != nil {
		t.Errorf("%q, %v", line, err)
	}
}

func TestWitnessThatIsDownIsNoVerdict(t *testing.T) {
	h := newHistory(t)
	s := serve(t, t.TempDir(), h)
	s.Close()
	if _, _, err := h.grow(t, 1, "entry").show(t, NewClient(s.URL, &signer.Witness)); err == nil || errors.Is(err, ErrForked) || errors.Is(err, ErrAhead) {
		t.Error(err)
	}
}

func TestKeysOfWitnessesHaveOneSpelling(t *testing.T) {
	again, err := evidence.ParseWitnessSigner(signer.Secret())
	if err != nil || again.Witness.String() != signer.Witness.String() {
		t.Fatal(again, err)
	}
	for _, text := range []string{"", "a+b", "a+00000000+AQ==", "+00000000+" + signer.Secret(), signer.Secret()} {
		if _, err := evidence.ParseWitness(text); !errors.Is(err, evidence.ErrWitnessKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzQuestion: whatever a witness reads, it reads as it was meant.
func FuzzQuestion(f *testing.F) {
	f.Add([]byte("old 0\n\ncheckpoint"))
	f.Add([]byte("old 5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nx"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if q, err := parse(body); err == nil && !bytes.Equal(q.encode(), body) {
			t.Errorf("%q has two spellings", body)
		}
	})
}

// TestWitnessKeepsTheNoteThatItCosigned: in a dispute it shows what the log signed.
func TestWitnessKeepsTheNoteThatItCosigned(t *testing.T) {
	h := newHistory(t)
	dir := t.TempDir()
	s := httptest.NewServer(New(dir, signer, []note.Verifier{h.verifier}))
	t.Cleanup(s.Close)

	for range 2 {
		h.grow(t, 3, "entry")
		if _, _, err := h.show(t, NewClient(s.URL, &signer.Witness)); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(FileOf(dir, h.signer.Name()))
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(kept, note.VerifierList(h.verifier, &signer.Witness))
		c, _ := h.checkpoint(t)
		if err != nil || len(n.Sigs) != 2 || len(n.UnverifiedSigs) > 0 || n.Text != c.Text() {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
}

// TestWitnessGoesOnFromWhatAnOlderVersionKept: that had no signatures.
func TestWitnessGoesOnFromWhatAnOlderVersionKept(t *testing.T) {
	h := newHistory(t).grow(t, 3, "entry")
	dir := t.TempDir()
	c, _ := h.checkpoint(t)
	if err := os.WriteFile(FileOf(dir, c.Origin), []byte(c.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(New(dir, signer, []note.Verifier{h.verifier}))
	t.Cleanup(s.Close)

	if _, _, err := h.fork().grow(t, 4, "another").show(t, NewClient(s.URL, &signer.Witness)); err == nil {
		t.Error("another history is signed")
	}
	if _, _, err := h.grow(t, 1, "entry").show(t, NewClient(s.URL, &signer.Witness)); err != nil {
		t.Error(err)
	}
}
