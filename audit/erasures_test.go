package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
)

// tell has the log say what was erased.
func tell(t testing.TB, d *memFiles, request audit.Digest, done ...audit.Redaction) {
	t.Helper()
	l := openMem(t, d, audit.Options{SegmentBytes: 2 * audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	for _, r := range done {
		if err := l.RecordErasure(t.Context(), audit.Erasure{Request: request, Redaction: r, By: "dana", Reason: "GDPR-17"}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
}

// A rewritten segment is intact only where the log tells of just that erasure later on,
// and what it tells of must have been carried out.
func TestRewrittenSegmentIsIntactOnlyAsTheLogTellsOfIt(t *testing.T) {
	base := withEve(t, 80)
	d := base.killed()
	done := eraseAll(t, d, erasing())
	if len(done) < 2 {
		t.Fatalf("%d segments", len(done))
	}
	if _, err := verifyMem(d); !errors.Is(err, audit.ErrUntold) || !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("untold: %v", err)
	}

	some := d.killed()
	tell(t, some, gdpr17, done[1:]...)
	if _, err := verifyMem(some); !errors.Is(err, audit.ErrUntold) {
		t.Errorf("one is untold: %v", err)
	}
	other := d.killed()
	tell(t, other, audit.Digest{9}, done...)
	if _, err := verifyMem(other); !errors.Is(err, audit.ErrUntold) {
		t.Errorf("told of another request: %v", err)
	}
	shuffled := d.killed()
	wrong := slices.Clone(done)
	wrong[0].Chain, wrong[1].Chain = wrong[1].Chain, wrong[0].Chain
	tell(t, shuffled, gdpr17, wrong...)
	if _, err := verifyMem(shuffled); !errors.Is(err, audit.ErrNotErased) {
		t.Errorf("told of another segment: %v", err)
	}

	tell(t, d, gdpr17, done...)
	report, err := verifyMem(d)
	if err != nil || !report.Proven || report.Segments[0].Erasure != gdpr17.String() || report.Segments[len(done)].Erasure != "" {
		t.Fatalf("told: %+v, %v", report, err)
	}
	if rows := collect(t, query.New(readerOf(d)), query.Filter{Kinds: []audit.Kind{audit.KindErasure}, Reasons: []string{"GDPR-17"}}); len(rows) != len(done) {
		t.Errorf("%d entries of %d tell of it", len(rows), len(done))
	}

	// The old segment was put back, with every value in it.
	back := d.killed()
	back.live[segment.Name(1)].cache = slices.Clone(base.live[segment.Name(1)].cache)
	if _, err := verifyMem(back); !errors.Is(err, audit.ErrNotErased) {
		t.Errorf("put back: %v", err)
	}

	// Told first and not carried out yet is not intact either, nor is a second erasure
	// that nobody told of.
	early := base.killed()
	tell(t, early, gdpr17, done...)
	if _, err := verifyMem(early); !errors.Is(err, audit.ErrNotErased) {
		t.Errorf("not carried out: %v", err)
	}
	if again := eraseAll(t, early, erasing()); again[0].Chain != done[0].Chain {
		t.Errorf("an erasure is not the same twice: %s, %s", again[0].Chain, done[0].Chain)
	}
	if _, err := audit.EraseIn(d, 1, audit.Erasing{Keys: [][32]byte{testKey}, Request: audit.Digest{18}, Names: nameOf,
		Personal: audit.Personal{Principals: []string{"User:alice"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := verifyMem(d); !errors.Is(err, audit.ErrUntold) {
		t.Errorf("a second, untold: %v", err)
	}
}

// Whoever lacks the key cannot pass a rewriting off as an erasure: it has tags, too.
func TestErasureOfAForgerIsFound(t *testing.T) {
	d := withEve(t, 80)
	done := eraseAll(t, d, erasing())
	tell(t, d, gdpr17, done...)
	f := d.live[segment.Name(2)]
	for at := len(f.cache) - 200; ; at-- {
		if f.cache[at] != 0 {
			f.cache[at] ^= 1
			break
		}
	}
	if _, err := verifyMem(d); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// A head that was kept before an erasure says nothing of what is in the segment since, nor
// is the log called another one for that. One that was kept later speaks for all of it.
func TestHeadKeptBeforeAnErasure(t *testing.T) {
	d := withEve(t, 80)
	early := headsOf(t, d)
	done := eraseAll(t, d, erasing())
	tell(t, d, gdpr17, done...)

	for i := range early {
		if err := audit.AskedOfHead(d, testKey, &early[i]); !errors.Is(err, audit.ErrPruned) {
			t.Errorf("head %s, from before: %v", early[i], err)
		}
	}

	last := headNow(t, d)
	if err := audit.AskedOfHead(d, testKey, last); err != nil {
		t.Errorf("head %s, from after: %v", last, err)
	}
	other := *last
	other.Chain[0] ^= 1
	if err := audit.AskedOfHead(d, testKey, &other); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("the head of another log: %v", err)
	}
}

// Whoever has the audit key can have a rewritten segment say what it never said, and the log
// tell of it. Neither a head from before nor one from after an erasure of which it was
// told passes that off: a head from before each entry that tells of one does not speak for it.
func TestHeadSpeaksForNoSegmentThatAForgerWithTheKeyRewrote(t *testing.T) {
	d := withEve(t, 80)
	tell(t, d, gdpr17, eraseAll(t, d, erasing())...)
	kept := headNow(t, d)
	if err := audit.AskedOfHead(d, testKey, kept); err != nil {
		t.Fatal(err)
	}

	forged := audit.Digest{0xf0}
	done, err := audit.EraseIn(d, 1, audit.Erasing{Keys: [][32]byte{testKey}, Request: forged, Names: nameOf,
		Personal: audit.Personal{Principals: []string{"User:alice"}}})
	if err != nil || done.Chain == "" {
		t.Fatalf("%+v, %v", done, err)
	}
	tell(t, d, forged, done)
	if _, err := verifyMem(d); err != nil {
		t.Errorf("whoever has the key can do that: %v", err)
	}
	if err := audit.AskedOfHead(d, testKey, kept); !errors.Is(err, audit.ErrPruned) {
		t.Errorf("the kept head passes: %v", err)
	}
}

// headNow is the head that a verification prints.
func headNow(t testing.TB, d *memFiles) *audit.Head {
	t.Helper()
	report, err := verifyMem(d)
	if err != nil {
		t.Fatal(err)
	}
	head, err := audit.ParseHead(fmt.Sprintf("%d:%s", report.NextSeq, report.Chain))
	if err != nil {
		t.Fatal(err)
	}
	return &head
}

// headsOf are the heads at the ends of a log's frames.
func headsOf(t testing.TB, d *memFiles) (heads []audit.Head) {
	t.Helper()
	c := readerOf(d).Cursor(audit.Position{})
	err := c.Read(t.Context(), func(*audit.Frame) error {
		if at := c.Position(); at.Segment > 0 {
			heads = append(heads, audit.Head{NextSeq: at.Next, Chain: at.Chain})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return heads
}

func TestErasureThatSaysNothingIsNotRecorded(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{})
	whole := audit.Redaction{Segment: 1, Chain: audit.Digest{1}.String()[len("sha256:"):]}
	for name, e := range map[string]audit.Erasure{
		"no request": {Redaction: whole},
		"no chain":   {Request: gdpr17, Redaction: audit.Redaction{Segment: 1}},
		"no segment": {Request: gdpr17, Redaction: audit.Redaction{Chain: whole.Chain}},
	} {
		if err := l.RecordErasure(t.Context(), e); !errors.Is(err, audit.ErrInvalidEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
