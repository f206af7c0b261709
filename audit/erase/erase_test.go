package erase

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/disk"
)

var noon = time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)

// world is a log of several segments with a signed tree, in which two clients take turns.
type world struct {
	t    *testing.T
	root string
	tree tree.Options
	Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir()}
	w.Dir = filepath.Join(w.root, "audit")
	w.Log = audit.Options{Key: [32]byte{1}, Node: "gw", SegmentBytes: 4 << 10}
	w.By = "operator"
	w.Signers = []Signer{{audit.Signer{Identity: "grace", KeyID: "k1"}, []byte("{1}")}, {audit.Signer{Identity: "linus", KeyID: "k2"}, []byte("{2}")}}
	w.Request = w.request("User:shop-7", "till-3", "192.0.2.7")

	secret, public, err := note.GenerateKey(nil, "guardlock/gw/01")
	if err != nil {
		t.Fatal(err)
	}
	w.tree.Dir = filepath.Join(w.Dir, tree.DirName)
	if w.tree.Signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	if w.tree.Verifier, err = note.NewVerifier(public); err != nil {
		t.Fatal(err)
	}

	w.serve(func(l *audit.Log) {
		for i := range 120 {
			e := audit.BatchEntry{Time: noon, Outcome: audit.OutcomeRejected, Reason: "r"}
			e.Cluster = "main"
			e.Topic = "cards"
			e.ProducerID = -1
			e.Records = 1
			e.Principal = "User:other"
			e.ClientID = "pos"
			e.Source = "192.0.2.8"
			if i%3 == 0 {
				e.Principal = "User:shop-7"
				e.ClientID = "till-3"
				e.Source = "192.0.2.7"
			}
			if err := l.Append(&e, nil).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	return w
}

func (w *world) request(principal, client, source string) *Request {
	w.t.Helper()
	now := time.Now()
	r := &Request{Number: "GDPR-17", Made: now, NotAfter: now.Add(time.Hour), Principals: []string{principal}, ClientIDs: []string{client}, Sources: []string{source}}
	b, err := r.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if r, err = Parse(b); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// serve opens the log and its tree as a gateway does, which finds a log that does not
// contain its last checkpoint, and signs another at the end.
func (w *world) serve(do func(*audit.Log)) {
	w.t.Helper()
	l, err := audit.Open(w.Dir, w.Log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()

	grown, err := tree.Open(w.t.Context(), l.Reader(), w.tree)
	if err != nil {
		w.t.Fatal(err)
	}
	do(l)
	if _, err := grown.Checkpoint(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// erased demands a whole log without a trace of the values, that goes on.
func (w *world) erased() {
	w.t.Helper()
	if report, err := audit.VerifyWith(w.t.Context(), w.Dir, audit.Known{Keys: w.keys()}); err != nil || !report.Proven {
		w.t.Errorf("verifying: %v", err)
	}
	w.serve(func(*audit.Log) {})

	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, v := range w.Request.Values() {
			if bytes.Contains(b, []byte(v.Value)) {
				w.t.Errorf("%s has the %s", d.Name(), v.What)
			}
		}
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}

// erasures are all entries about erasures, in their order.
func (w *world) erasures() (all []audit.ControlEntry) {
	w.t.Helper()
	r, err := audit.OpenReader(w.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()

	everywhere := audit.Search{To: math.MaxInt64, Segment: func(*audit.Summary) bool { return true }}
	err = r.Scan(w.t.Context(), everywhere, func(it *audit.Item) (bool, error) {
		if it.Kind == audit.KindErasure {
			all = append(all, *it.Control)
		}
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// TestErasedValuesAreNowhereAndEveryCheckpointHolds: not in the segment that was written
// either, and the tree that the gateway opens again is the one that it signed before.
func TestErasedValuesAreNowhereAndEveryCheckpointHolds(t *testing.T) {
	w := newWorld(t)
	seen, err := Look(t.Context(), w.Options)
	if err != nil || seen.Entries != 40 || !seen.DryRun || len(w.erasures()) != 0 {
		t.Fatalf("looking: %+v, %v", seen, err)
	}

	looked := 0
	w.Progress = func(done, of int) { looked = done - of }
	done, err := Run(t.Context(), w.Options)
	if err != nil || done.Entries != 40 || len(done.Segments) < 3 || looked != 0 {
		t.Fatalf("erasing: %+v, %v", done, err)
	}
	w.erased()

	told := w.erasures()
	if len(told) != len(done.Segments) {
		t.Errorf("%d entries about %d segments", len(told), len(done.Segments))
	}
	c := told[0]
	if c.Fact("request") == "" || c.Fact("signer") != "grace" || c.Fact("signer.key") != "k1" {
		t.Errorf("the log says %v", c.Facts)
	}
	kept, err := tree.ApprovalsOf(w.Dir).Bundle(c.Fact("request"), "k1")
	if err != nil || string(kept) != "{1}" {
		t.Errorf("the signature is kept as %s, %v", kept, err)
	}

	// The same once more finds nothing to do, and says nothing more.
	again, err := Run(t.Context(), w.Options)
	if err != nil || len(w.erasures()) != len(told) {
		t.Errorf("again: %+v, %v, %d entries", again, err, len(w.erasures()))
	}
	w.erased()
}

func TestAnotherRequestErasesFromTheSameSegments(t *testing.T) {
	w := newWorld(t)
	if _, err := Run(t.Context(), w.Options); err != nil {
		t.Fatal(err)
	}
	w.Request = w.request("User:other", "pos", "192.0.2.8")
	if done, err := Run(t.Context(), w.Options); err != nil || done.Entries != 80 {
		t.Fatalf("%+v, %v", done, err)
	}
	w.erased()
}

// TestSegmentsUnderFormerKeysAreErasedFromWithThoseKeys: and nothing is, without.
func TestSegmentsUnderFormerKeysAreErasedFromWithThoseKeys(t *testing.T) {
	w := newWorld(t)
	former := w.Log.Key
	w.Log.Key = [32]byte{2}
	w.Log.PreviousKey = &former
	w.serve(func(*audit.Log) {})
	w.Log.PreviousKey = nil

	if _, err := Run(t.Context(), w.Options); !errors.Is(err, audit.ErrForeign) || len(w.erasures()) != 0 {
		t.Fatalf("without the former key: %v", err)
	}
	w.Former = [][32]byte{former}
	if done, err := Run(t.Context(), w.Options); err != nil || done.Entries != 40 {
		t.Fatalf("%+v, %v", done, err)
	}
	w.erased()
}

// TestHeldSegmentsAreNotErasedFrom: not one, and nothing says so.
func TestHeldSegmentsAreNotErasedFrom(t *testing.T) {
	w := newWorld(t)
	files := segment.Disk{Dir: w.Dir}
	hold, err := audit.AddHold(files, w.keys(), audit.Hold{Topic: "cards", Reason: "case", Added: noon})
	if err != nil {
		t.Fatal(err)
	}

	for range 2 {
		done, err := Run(t.Context(), w.Options)
		if !errors.Is(err, ErrHeld) || len(done.Held) != 1 || len(w.erasures()) != 0 {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	if seen, err := Look(t.Context(), w.Options); err != nil || len(seen.Held) != 1 {
		t.Errorf("looking: %+v, %v", seen, err)
	}

	if _, err := audit.LiftHold(files, w.keys(), hold.ID, audit.Lift{Reason: "closed", Time: noon}); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), w.Options); err != nil {
		t.Fatal(err)
	}
	w.erased()
}

func TestARunningGatewayIsNotErasedFrom(t *testing.T) {
	w := newWorld(t)
	w.serve(func(*audit.Log) {
		if _, err := Run(t.Context(), w.Options); !errors.Is(err, audit.ErrLocked) {
			t.Errorf("got %v", err)
		}
		if _, err := Look(t.Context(), w.Options); err != nil {
			t.Errorf("looking beside it: %v", err)
		}
	})
}

// interrupted is a context that is given up when it was asked so many times.
type interrupted struct {
	context.Context
	left int
}

func (c *interrupted) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestErasureThatEndsAnywhereIsDoneByAnother: wherever it is given up, the log opens, and
// the same again leaves nothing.
func TestErasureThatEndsAnywhereIsDoneByAnother(t *testing.T) {
	for left := 0; ; left += 5 {
		w := newWorld(t)
		_, err := Run(&interrupted{t.Context(), left}, w.Options)
		if err == nil {
			if left == 0 {
				t.Error("nothing was ever interrupted")
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("given up after %d: %v", left, err)
		}

		if _, err := Run(t.Context(), w.Options); err != nil {
			t.Fatalf("given up after %d, and again: %v", left, err)
		}
		w.erased()
	}
}

// TestWhatIsRepeatedIsNotPassedOver: a hold names who added it in each new segment.
func TestWhatIsRepeatedIsNotPassedOver(t *testing.T) {
	w := newWorld(t)
	if _, err := audit.AddHold(segment.Disk{Dir: w.Dir}, w.keys(), audit.Hold{Topic: "other", Reason: "case", By: "User:shop-7", Added: noon}); err != nil {
		t.Fatal(err)
	}
	w.serve(func(l *audit.Log) {
		holds, err := audit.ReadHolds(segment.Disk{Dir: w.Dir}, w.keys())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.TellHolds(t.Context(), holds); err != nil {
			t.Fatal(err)
		}
	})

	if _, err := Run(t.Context(), w.Options); !errors.Is(err, ErrRemains) {
		t.Errorf("got %v", err)
	}
}

// tellOnly has the log say what an erasure is about to do to segment 1, and does nothing.
func (w *world) tellOnly(r *Request) {
	w.t.Helper()
	w.serve(func(l *audit.Log) {
		e := audit.Erasing{Keys: w.keys(), Request: r.Digest(), Personal: r.personal(), DryRun: true}
		done, err := tree.EraseOn(disk.OS, w.tree.Dir, w.Dir, 1, e)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := l.RecordErasure(w.t.Context(), audit.Erasure{Request: e.Request, Redaction: done, Signers: w.people(), By: w.By, Reason: r.Number}); err != nil {
			w.t.Fatal(err)
		}
	})
}

// TestAKillBehindTheEntryIsToldAndMadeGood: the log says what was not done yet. Verifying
// finds it, and the same again does it without saying so twice.
func TestAKillBehindTheEntryIsToldAndMadeGood(t *testing.T) {
	w := newWorld(t)
	w.tellOnly(w.Request)
	if _, err := audit.VerifyWith(t.Context(), w.Dir, audit.Known{Keys: w.keys()}); !errors.Is(err, audit.ErrNotErased) {
		t.Errorf("verifying: %v", err)
	}

	done, err := Run(t.Context(), w.Options)
	if err != nil || len(w.erasures()) != len(done.Segments) {
		t.Errorf("%d entries about %d segments, %v", len(w.erasures()), len(done.Segments), err)
	}
	w.erased()
}

// TestAnotherRequestThatWasCutShortDoesNotHideWhatWasDone: what the log says last of a
// segment counts, so that it is said again where another request came in between.
func TestAnotherRequestThatWasCutShortDoesNotHideWhatWasDone(t *testing.T) {
	w := newWorld(t)
	w.tellOnly(w.Request)
	w.tellOnly(w.request("User:other", "pos", "192.0.2.8"))
	if _, err := Run(t.Context(), w.Options); err != nil {
		t.Fatal(err)
	}
	w.erased()
}

// TestWhatIsSpelledOtherwiseIsTold: it stays, and the two people can ask for it, too.
func TestWhatIsSpelledOtherwiseIsTold(t *testing.T) {
	w := newWorld(t)
	w.serve(func(l *audit.Log) {
		for _, detail := range []string{"refused User:shop-7", "refused user:SHOP-7", "refused User%3Ashop-7", "refused User:shop-77"} {
			c := audit.ControlEntry{Kind: audit.KindAdmin, Outcome: "denied", Steps: []audit.Step{{Name: "resource", Detail: detail}}}
			if err := l.Record(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	})

	told := func(what string, done Done, err error) {
		t.Helper()
		if err != nil || done.Otherwise != 2 || len(done.Spelled) != 2 {
			t.Fatalf("%s: %d entries, %+v, %v", what, done.Otherwise, done.Spelled, err)
		}
		for _, s := range done.Spelled {
			if len(s.Places) != 1 || s.Places[0] != "detail" || s.Entry.Index != -1 || s.Entry.Seq == 0 {
				t.Errorf("%s: %+v", what, s)
			}
		}
	}
	done, err := Look(t.Context(), w.Options)
	told("a dry run, while they are in the segment that is written", done, err)
	done, err = Run(t.Context(), w.Options)
	told("erasing", done, err)
	done, err = Look(t.Context(), w.Options)
	told("a dry run after that", done, err)

	w.Request.Principals = []string{"user:SHOP-7", "User%3Ashop-7"}
	if done, err = Run(t.Context(), w.Options); err != nil || done.Entries != 2 {
		t.Errorf("asked for as they are spelled: %d entries, %v", done.Entries, err)
	}
	w.erased()
}
