package audit_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/segment"
)

// held are the keys of the logs here.
var held = [][32]byte{testKey}

// A hold keeps the segments that its topic and time are in, and all behind them; one
// that is lifted, or about something else, keeps none.
func TestHoldKeepsWhatItIsAbout(t *testing.T) {
	base := spread(t, 90)
	whole, err := verifyMem(base)
	if err != nil {
		t.Fatal(err)
	}

	last := whole.Segments[len(whole.Segments)-1].Number
	for name, c := range map[string]struct {
		hold audit.Hold
		want uint32 // the first segment that is left
	}{
		"everything":    {audit.Hold{Topic: "*"}, 1},
		"the topic":     {audit.Hold{Topic: "cards"}, 1},
		"a pattern":     {audit.Hold{Topic: "c*s"}, 1},
		"another topic": {audit.Hold{Topic: "card"}, last},
		"before":        {audit.Hold{Topic: "cards", To: noon.Add(-time.Hour)}, last},
		"after":         {audit.Hold{Topic: "cards", From: noon.Add(1000 * time.Hour)}, last},
		"the first":     {audit.Hold{Topic: "cards", To: noon}, 1},
		"to the end":    {audit.Hold{Topic: "cards", From: noon.Add(89 * time.Minute)}, last},
	} {
		t.Run(name, func(t *testing.T) {
			d := base.killed()
			c.hold.Reason = "case"
			c.hold.Added = noon
			added, err := audit.AddHold(d, held, c.hold)
			if err != nil {
				t.Fatal(err)
			}

			prunes := func(want uint32) {
				t.Helper()
				done, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: last}))
				if err != nil || done.First != want || (done.Held != nil) != (want != last) {
					t.Fatalf("pruned to %d, held %+v, %v; want %d", done.First, done.Held, err, want)
				}
				if report, err := verifyMem(d); err != nil || !report.Proven {
					t.Fatalf("verifying: %v", err)
				}
			}
			prunes(c.want)

			if _, err := audit.LiftHold(d, held, added.ID, audit.Lift{Reason: "closed", Time: noon}); err != nil {
				t.Fatal(err)
			}
			prunes(last)
		})
	}
}

// Wherever a change of the holds ends, they are as before or as after it, and the
// change can be made again.
func TestHoldThatEndsAnywhereIsThereOrNot(t *testing.T) {
	base := spread(t, 40)
	first, err := audit.AddHold(base, held, audit.Hold{Topic: "cards", Reason: "case 1", Added: noon})
	if err != nil {
		t.Fatal(err)
	}

	random := rand.New(rand.NewPCG(7, 1))
	for _, how := range []flavour{failed, persisted} {
		for at := 1; ; at++ {
			d := base.killed()
			d.failAt = at
			d.flavour = how

			_, addErr := audit.AddHold(d, held, audit.Hold{Topic: "*", Reason: "case 2", Added: noon})
			if addErr == nil && d.ops < at {
				break
			}

			for name, left := range map[string]*memFiles{"killed": d.killed(), "power cut": d.powerCut(random)} {
				hs, err := audit.ReadHolds(left, held)
				if err != nil || len(hs) == 0 || hs[0] != first || addErr == nil && len(hs) != 2 {
					t.Fatalf("flavour %d, operation %d, %s: %+v, %v", how, at, name, hs, err)
				}
				if _, err := audit.AddHold(left, held, audit.Hold{Topic: "a", Reason: "case 3", Added: noon}); err != nil {
					t.Fatalf("flavour %d, operation %d, %s: adding again: %v", how, at, name, err)
				}
			}
		}
	}
}

// While the holds cannot be read, or somebody changes them, nothing is removed.
func TestHoldsThatCannotBeReadKeepEverything(t *testing.T) {
	base := spread(t, 40)
	if _, err := audit.AddHold(base, held, audit.Hold{Topic: "other", Reason: "case", Added: noon}); err != nil {
		t.Fatal(err)
	}

	size := len(base.live[audit.HoldsName].cache)
	for at := range size {
		d := base.killed()
		d.live[audit.HoldsName].cache[at] ^= 0x20
		names := segmentsOf(d)

		if _, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: 3})); !errors.Is(err, audit.ErrHolds) {
			t.Fatalf("byte %d: %v", at, err)
		}
		if !slices.Equal(segmentsOf(d), names) {
			t.Fatalf("byte %d: left %v", at, segmentsOf(d))
		}
	}

	dir := t.TempDir()
	l := mustOpen(t, dir, small)
	addSpread(t, l, 40)
	mustClose(t, l)

	draft, err := segment.OpenDraft(segment.Disk{Dir: dir}, audit.HoldsName)
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Close()

	p := pruning(audit.Cut{Segment: 2})
	if _, err := audit.Prune(t.Context(), dir, p); !errors.Is(err, segment.ErrLocked) {
		t.Errorf("while the holds are changed: %v", err)
	}
}

// What somebody wrote who has no audit key, or took from another log, keeps everything and
// is refused by every command, as is what has no tag: until somebody says that it is what
// was added.
func TestHoldsOfSomebodyElseAreRefused(t *testing.T) {
	base := spread(t, 40)
	if _, err := audit.AddHold(base, held, audit.Hold{Topic: "other", Reason: "case", Added: noon}); err != nil {
		t.Fatal(err)
	}
	another := spread(t, 40)
	if _, err := audit.AddHold(another, held, audit.Hold{Topic: "other", Reason: "case", Added: noon}); err != nil {
		t.Fatal(err)
	}
	untagged := []byte("{\n \"format\": \"guardlock holds v1\",\n \"holds\": []\n}\n")
	lifted := slices.Clone(base.live[audit.HoldsName].cache)
	lifted = bytes.Replace(lifted, []byte(`"topic": "other"`), []byte(`"topic": "nobody"`), 1)

	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"another log's": {another.live[audit.HoldsName].cache, audit.ErrHoldsTag},
		"changed":       {lifted, audit.ErrHoldsTag},
		"no tag":        {untagged, audit.ErrHoldsUntagged},
	} {
		t.Run(name, func(t *testing.T) {
			d := base.killed()
			d.live[audit.HoldsName] = &memFile{dir: d, cache: slices.Clone(c.file), dirty: map[int]bool{}}
			names := segmentsOf(d)

			_, pruned := audit.PruneFiles(d, pruning(audit.Cut{Segment: 3}))
			_, added := audit.AddHold(d, held, audit.Hold{Topic: "a", Reason: "b", Added: noon})
			_, lifted := audit.LiftHold(d, held, "1", audit.Lift{Reason: "closed", Time: noon})
			for _, err := range []error{pruned, added, lifted} {
				if !errors.Is(err, c.want) || !errors.Is(err, audit.ErrHolds) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			}
			if !slices.Equal(segmentsOf(d), names) || !bytes.Equal(d.live[audit.HoldsName].cache, c.file) {
				t.Error("something was removed, or the holds were replaced")
			}

			_, err := audit.TagHolds(d, held)
			if c.want != audit.ErrHoldsUntagged {
				if !errors.Is(err, c.want) {
					t.Errorf("tagging: %v", err)
				}
				return
			}
			if _, read := audit.ReadHolds(d, held); err != nil || read != nil {
				t.Errorf("after tagging: %v, %v", err, read)
			}
		})
	}

	stranger := [32]byte{0xee}
	if _, err := audit.AddHold(base, [][32]byte{stranger}, audit.Hold{Topic: "a", Reason: "b", Added: noon}); !errors.Is(err, audit.ErrForeign) {
		t.Errorf("adding under another key: %v", err)
	}
	if hs, err := audit.ReadHolds(base, [][32]byte{stranger, testKey}); err != nil || len(hs) != 1 {
		t.Errorf("reading with several keys: %v, %v", hs, err)
	}
	if hs, err := audit.ReadHolds(base, [][32]byte{stranger}); !errors.Is(err, audit.ErrHoldsTag) {
		t.Errorf("reading with another key: %v, %v", hs, err)
	}
}

// TestHoldOutlivesItsFile: the log says that it stands, whatever became of the entry that
// said so first; without the file that has it, nothing is removed and no hold is changed.
func TestHoldOutlivesItsFile(t *testing.T) {
	d := newMemFiles()
	opts := audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }}
	l := openMem(t, d, opts)
	decide(t, l, 0, 10)

	before := &memFile{dir: d, dirty: map[int]bool{}}
	for i, topic := range []string{"another", "other"} {
		if _, err := audit.AddHold(d, held, audit.Hold{Topic: topic, From: noon.Add(1000 * time.Hour), Reason: "case", Added: noon}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before.cache = slices.Clone(d.live[audit.HoldsName].cache)
		}
	}
	tell := func() error {
		t.Helper()
		hs, err := audit.ReadHolds(d, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l.TellHolds(t.Context(), hs)
	}
	if err := tell(); err != nil {
		t.Fatal(err)
	}

	for from := 10; from < 460; from += 150 { // over segments and restarts
		mustClose(t, l)
		l = openMem(t, d, opts)
		decide(t, l, from, 150)
	}
	mustClose(t, l)
	if done, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(4 * time.Hour)})); err != nil || len(done.Segments) < 2 {
		t.Fatalf("pruning: %+v, %v", done, err)
	}
	if _, err := audit.VerifyFiles(d, audit.Known{}); err != nil {
		t.Error(err)
	}

	whole := d.live[audit.HoldsName]
	refused := func(name string) {
		t.Helper()
		_, pruned := audit.PruneFiles(d, pruning(audit.Cut{Segment: 1 << 20}))
		_, added := audit.AddHold(d, held, audit.Hold{Topic: "a", Reason: "b", Added: noon})
		for _, err := range []error{pruned, added} {
			if !errors.Is(err, audit.ErrHoldsMissing) || !errors.Is(err, audit.ErrHolds) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	delete(d.live, audit.HoldsName)
	refused("no file")
	d.live[audit.HoldsName] = before
	refused("an older file")

	d.live[audit.HoldsName] = whole
	if _, err := audit.LiftHold(d, held, "2", audit.Lift{Reason: "closed", Time: noon}); err != nil {
		t.Fatal(err)
	}
	l = openMem(t, d, opts)
	if err := tell(); err != nil {
		t.Fatal(err)
	}
	d.live[audit.HoldsName] = before
	if err := tell(); err != nil {
		t.Errorf("a hold that was lifted is asked for: %v", err)
	}
	mustClose(t, l)
	if _, err := audit.ReadHolds(d, held); err != nil {
		t.Errorf("a hold that was lifted is asked for: %v", err)
	}
}

// TestHoldThatWasLiftedAtOnceIsToldOnce: added and lifted before the log was told of it, and
// never again, whatever segments, restarts and prunings come.
func TestHoldThatWasLiftedAtOnceIsToldOnce(t *testing.T) {
	opts := audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }}
	d := newMemFiles()
	l := openMem(t, d, opts)
	decide(t, l, 0, 10)
	hold, err := audit.AddHold(d, held, audit.Hold{Topic: "other", Reason: "case", Added: noon})
	if err != nil {
		t.Fatal(err)
	}
	if hold, err = audit.LiftHold(d, held, hold.ID, audit.Lift{Reason: "closed", Time: noon}); err != nil {
		t.Fatal(err)
	}

	tell := func() (added int) {
		t.Helper()
		before, _ := l.Head()
		if err := l.TellHolds(t.Context(), audit.Holds{hold}); err != nil {
			t.Fatal(err)
		}
		after, _ := l.Head()
		return int(after - before)
	}
	if n := tell(); n != 2 {
		t.Fatalf("%d entries of a hold that was added and lifted", n)
	}
	for from := 10; from < 460; from += 150 {
		mustClose(t, l)
		l = openMem(t, d, opts)
		decide(t, l, from, 150)
		if n := tell(); n != 0 {
			t.Fatalf("%d entries more", n)
		}
	}
	mustClose(t, l)

	if done, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(4 * time.Hour)})); err != nil || len(done.Segments) < 2 {
		t.Fatalf("pruning: %+v, %v", done, err)
	}
	l = openMem(t, d, opts)
	if n := tell(); n != 0 {
		t.Errorf("%d entries more behind a pruning", n)
	}
	mustClose(t, l)
}

// TestHoldIsToldWhereverAnOpeningOrASegmentEnds: whatever fails while segments begin, and
// whatever is left, the log that is opened again asks for the hold.
func TestHoldIsToldWhereverAnOpeningOrASegmentEnds(t *testing.T) {
	opts := audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }}
	base := newMemFiles()
	l := openMem(t, base, opts)
	decide(t, l, 0, 10)
	hold, err := audit.AddHold(base, held, audit.Hold{Topic: "other", Reason: "case", Added: noon})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.TellHolds(t.Context(), audit.Holds{hold}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)

	random := rand.New(rand.NewPCG(7, 2))
	write := func(d *memFiles) {
		l, err := audit.OpenFiles(d, opts)
		if err != nil {
			return
		}
		for i := range 60 {
			e := batchOf("cards", 0, 40)
			e.Principal = strings.Repeat("x", 200)
			e.Time = noon.Add(time.Duration(i) * time.Minute)
			if l.Append(e, []byte{1}).Wait(t.Context()) != nil {
				break
			}
		}
		l.Close()
	}

	whole := base.killed()
	write(whole)
	if n := len(segmentsOf(whole)); n < 3 {
		t.Fatalf("%d segments: none began behind the hold", n)
	}
	for at := 1; at <= whole.ops; at++ {
		d := base.killed()
		d.failAt = at
		d.flavour = flavour(at % 3)
		write(d)

		for name, left := range map[string]*memFiles{"killed": d.killed(), "power cut": d.powerCut(random)} {
			l, err := audit.OpenFiles(left, opts)
			if err != nil {
				t.Fatalf("operation %d, %s: %v", at, name, err)
			}
			if err := l.TellHolds(t.Context(), nil); !errors.Is(err, audit.ErrHoldsMissing) {
				t.Fatalf("operation %d, %s: %v", at, name, err)
			}
			mustClose(t, l)
			delete(left.live, audit.HoldsName)
			if _, err := audit.ReadHolds(left, held); !errors.Is(err, audit.ErrHoldsMissing) {
				t.Fatalf("operation %d, %s: reading: %v", at, name, err)
			}
		}
	}
}

// Holds that read are written the same way, and each is one that could have been added.
func FuzzHolds(f *testing.F) {
	f.Add([]byte("{\n \"format\": \"guardlock holds v1\",\n \"holds\": []\n}\n"))
	d := spread(f, 4)
	if _, err := audit.AddHold(d, held, audit.Hold{Topic: "a*", From: noon, To: noon, Reason: "<case>", Added: noon}); err != nil {
		f.Fatal(err)
	}
	if _, err := audit.LiftHold(d, held, "1", audit.Lift{Reason: "closed", Time: noon}); err != nil {
		f.Fatal(err)
	}
	f.Add(slices.Clone(d.live[audit.HoldsName].cache))

	f.Fuzz(func(t *testing.T, b []byte) {
		d := newMemFiles()
		d.live[audit.HoldsName] = &memFile{dir: d, cache: slices.Clone(b), dirty: map[int]bool{}}
		hs, err := audit.ReadHolds(d, nil)
		if err != nil {
			if !errors.Is(err, audit.ErrHolds) {
				t.Fatal(err)
			}
			return
		}

		for i, h := range hs {
			if h.Topic == "" || h.Reason == "" || h.Added.IsZero() || h.InForce() != (h.LiftReason == "") {
				t.Fatalf("hold %d: %+v", i, h)
			}
		}
	})
}
