package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
)

// spread is a closed log in memory of several segments and batches a minute apart.
// Each third batch never hears from its broker.
func spread(t testing.TB, batches int) *memFiles {
	t.Helper()
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	addSpread(t, l, batches)
	mustClose(t, l)
	return d
}

func addSpread(t testing.TB, l *audit.Log, batches int) {
	t.Helper()
	for i := range batches {
		e := batchOf("cards", int32(i), 40)
		e.Time = noon.Add(time.Duration(i) * time.Minute)
		seq := mustAppend(t, l, e, []byte{byte(i)})
		if i%3 != 0 {
			l.Place(seq, audit.Placement{BaseOffset: int64(i)})
		}
	}
}

func pruning(cut audit.Cut) audit.Pruning {
	return audit.Pruning{Cut: cut, Keys: [][32]byte{testKey}, Now: noon.Add(24 * time.Hour)}
}

func batchesOf(t testing.TB, r *audit.Reader) (seqs []uint64) {
	t.Helper()
	for _, d := range collect(t, query.New(r), query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}) {
		seqs = append(seqs, d.Batch.Seq)
	}
	return seqs
}

func readerOf(d *memFiles) *audit.Reader {
	return audit.NewReader(d, func() (*segment.Mark, error) { return audit.CommittedMark(d) })
}

// A pruned log says so, is intact from its anchor on, answers for what is left, and
// goes on, past batches that nobody can find again.
func TestPrunedLogIsIntactFromItsAnchorOn(t *testing.T) {
	d := spread(t, 90)
	whole, err := verifyMem(d)
	if err != nil || len(whole.Segments) < 6 {
		t.Fatalf("%d segments, %v", len(whole.Segments), err)
	}

	names := segmentsOf(d)
	d.live["audit-00000001.idx"] = &memFile{dir: d, dirty: map[int]bool{}}
	cut := whole.Segments[3]

	p := pruning(audit.Cut{Segment: cut.Number})
	p.DryRun = true
	plan, err := audit.PruneFiles(d, p)
	if err != nil || !slices.Equal(segmentsOf(d), names) || len(plan.Segments) != 3 {
		t.Fatalf("a dry run removed something, or would not: %+v, %v", plan, err)
	}

	p.DryRun = false
	done, err := audit.PruneFiles(d, p)
	plan.DryRun = false

	if err != nil || !slices.Equal(done.Segments, plan.Segments) || done.Head != plan.Head {
		t.Fatalf("pruned %+v, announced %+v, %v", done, plan, err)
	}
	if !slices.Equal(segmentsOf(d), names[3:]) || d.live["audit-00000001.idx"] != nil {
		t.Fatalf("left: %v", segmentsOf(d))
	}

	report, err := verifyMem(d)
	if err != nil || !report.Proven || report.Head != whole.Head {
		t.Fatalf("proven %v, head %s, want %s; %v", report.Proven, report.Head, whole.Head, err)
	}

	a := report.Anchor
	if a == nil || a.Segment != cut.Number || a.Entries != cut.FirstSeq-1 || a.Batches+report.Batches != whole.Batches || a.Tags != audit.TagsChecked {
		t.Fatalf("the anchor says %+v", a)
	}
	if got := batchesOf(t, readerOf(d)); got[0] != cut.FirstSeq || len(got) != int(report.Batches) {
		t.Errorf("%d batches from %d on", len(got), got[0])
	}

	keptBefore(t, d, whole)
	goesOn(t, d, cut.FirstSeq)
}

// keptBefore verifies a log that was pruned to segment 4 against heads that were
// kept before: behind the anchor, at it, and before it.
func keptBefore(t *testing.T, d *memFiles, whole audit.Report) {
	t.Helper()
	for at, want := range map[int]error{4: nil, 2: nil, 1: audit.ErrPruned} {
		head, err := audit.ParseHead(fmt.Sprintf("%d:%s", whole.Segments[at].NextSeq, whole.Segments[at].Chain))
		if err != nil {
			t.Fatal(err)
		}
		f := t.TempDir()
		for name, m := range d.live {
			if err := os.WriteFile(filepath.Join(f, name), m.cache, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := audit.VerifyWith(t.Context(), f, audit.Known{Head: &head}); !errors.Is(err, want) {
			t.Errorf("against the head of segment %d: got %v, want %v", at+1, err, want)
		}
	}
}

// goesOn starts a gateway on a pruned log, and prunes it again.
func goesOn(t *testing.T, d *memFiles, first uint64) {
	t.Helper()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	for _, r := range l.Unplaced() {
		if r.Seq < first {
			t.Errorf("batch %d was pruned, and is to be found again", r.Seq)
		}
	}

	addSpread(t, l, 30)

	followed := 0
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	for row, err := range query.New(l.Reader()).Follow(ctx, query.Filter{From: noon.Add(-time.Hour), ByBatch: true, Limit: 5}) {
		if err != nil || row.ID.Seq < first {
			t.Errorf("followed to entry %d, %v", row.ID.Seq, err)
		}
		followed++
	}

	if followed != 5 {
		t.Errorf("followed %d entries", followed)
	}
	mustClose(t, l)

	before, err := verifyMem(d)
	if err != nil || !before.Proven {
		t.Fatalf("after it went on: proven %v, %v", before.Proven, err)
	}
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: 1 << 20})); err != nil {
		t.Fatal(err)
	}

	report, err := verifyMem(d)
	if err != nil || len(report.Segments) != 1 || report.Anchor.Batches+report.Batches != before.Anchor.Batches+before.Batches {
		t.Errorf("pruned to the last segment: %+v, %v", report, err)
	}
}

// By time only segments go that hold nothing from it on.
func TestPruneByTimeKeepsWhatIsFromThenOn(t *testing.T) {
	d := spread(t, 60)
	from := noon.Add(25 * time.Minute)
	done, err := audit.PruneFiles(d, pruning(audit.Cut{Before: from}))
	if err != nil || len(done.Segments) == 0 || !done.Latest.Before(from) {
		t.Fatalf("%+v, %v", done, err)
	}

	rows := collect(t, query.New(readerOf(d)), query.Filter{From: from, Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true})
	if len(rows) != 60-25 {
		t.Errorf("%d batches from then on are left, want 35", len(rows))
	}
	if again, err := audit.PruneFiles(d, pruning(audit.Cut{Before: from})); err != nil || len(again.Segments) != 0 || again.First != done.First {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// What is missing at the front without an anchor that fits is damage.
func TestAnchorThatDoesNotFitIsDamage(t *testing.T) {
	pruned := func() *memFiles {
		d := spread(t, 60)
		if _, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: 3})); err != nil {
			t.Fatal(err)
		}
		return d
	}

	other := pruned()
	raw := pruned().live[segment.AnchorName].cache
	cases := map[string]func(d *memFiles){
		"deleted":              func(d *memFiles) { delete(d.live, segment.AnchorName) },
		"of another log":       func(d *memFiles) { d.live[segment.AnchorName] = other.live[segment.AnchorName] },
		"next segment deleted": func(d *memFiles) { delete(d.live, segment.Name(3)) },
		"all segments deleted": func(d *memFiles) {
			for _, name := range segmentsOf(d) {
				delete(d.live, name)
			}
		},
		"of an unpruned log": func(d *memFiles) {
			whole := spread(t, 60)
			clear(d.live)
			for name, f := range whole.live {
				d.live[name] = f
			}
			delete(d.live, segment.Name(1))
		},
		"under another key": func(d *memFiles) {
			a, err := segment.ReadAnchor(d)
			if err != nil {
				t.Fatal(err)
			}

			a.Gone.Decisions++
			if err := a.Put(d, segment.NewKey(a.KeyID, []byte("a guess"))); err != nil {
				t.Fatal(err)
			}
		},
	}
	for at := range raw {
		if at%7 != 0 {
			continue
		}
		cases["flipped"] = func(d *memFiles) { d.live[segment.AnchorName].cache[at] ^= 4 }
		for name, harm := range cases {
			if at > 0 && name != "flipped" {
				continue
			}
			d := pruned().killed()
			harm(d)

			if _, err := verifyMem(d); !errors.Is(err, audit.ErrCorrupt) {
				t.Errorf("%s: verifying: got %v, want ErrCorrupt", name, err)
			}
			if err := reopens(d); !errors.Is(err, audit.ErrCorrupt) {
				t.Errorf("%s: opening: got %v, want ErrCorrupt", name, err)
			}
		}
	}
}

// Wherever a pruning ends, by a fault, a kill or a power cut, what is left is
// intact: as it was, or from the anchor on; and it can be pruned again.
func TestPruningThatEndsAnywhereLeavesAnIntactLog(t *testing.T) {
	base := spread(t, 40)
	random := rand.New(rand.NewPCG(4, 2))
	for _, how := range []flavour{failed, persisted} {
		for at := 1; ; at++ {
			d := base.killed()
			d.failAt = at
			d.flavour = how

			_, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: 3}))
			if err == nil && d.ops < at {
				break
			}

			for name, left := range map[string]*memFiles{"killed": d.killed(), "power cut": d.powerCut(random)} {
				report, err := verifyMem(left)
				if err != nil || !report.Proven {
					t.Fatalf("flavour %d, operation %d, %s: proven %v, %v", how, at, name, report.Proven, err)
				}
				if err := reopens(left); err != nil { // which renews the mark
					t.Fatalf("flavour %d, operation %d, %s: opening: %v", how, at, name, err)
				}
				if _, err := audit.PruneFiles(left, pruning(audit.Cut{Segment: 3})); err != nil {
					t.Fatalf("flavour %d, operation %d, %s: pruning again: %v", how, at, name, err)
				}
				if got := segmentsOf(left); got[0] != segment.Name(3) {
					t.Fatalf("flavour %d, operation %d, %s: left %v", how, at, name, got)
				}
			}
		}
	}
}

// Damage is not made to go away, and nothing goes that was not proven.
func TestPruneRemovesNothingThatIsNotProven(t *testing.T) {
	d := spread(t, 40)
	names := segmentsOf(d)
	if _, err := audit.PruneFiles(d, audit.Pruning{Cut: audit.Cut{Segment: 3}, Keys: [][32]byte{{9}}, Now: noon}); !errors.Is(err, audit.ErrForeign) {
		t.Errorf("another key: %v", err)
	}

	d.live[names[1]].cache[segment.HeaderSize+100] ^= 1
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: 3})); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	if !slices.Equal(segmentsOf(d), names) {
		t.Errorf("left: %v", segmentsOf(d))
	}
}

// A gateway goes on writing while its log is pruned again and again, and readers
// beside it find all that is left.
func TestPruneBesideAWritingGateway(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, small)
	written := make(chan []uint64)
	stop := make(chan struct{})
	progress := make(chan struct{})
	go func() {
		var seqs []uint64
		for {
			seqs = append(seqs, mustAppend(t, l, batchOf("cards", 0, 60), nil))
			select {
			case <-stop:
				written <- seqs
				return
			case progress <- struct{}{}:
			default:
			}
		}
	}()

	for range 8 {
		for range 40 {
			<-progress
		}
		r, err := audit.OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Refresh(); err != nil { // it knows segments that are about to go
			t.Fatal(err)
		}

		mark := l.CommittedMark()
		done, err := audit.Prune(t.Context(), dir, audit.Pruning{Cut: audit.Cut{Segment: mark.Segment}, Keys: [][32]byte{testKey}, Now: noon})
		if err != nil {
			t.Fatal(err)
		}
		if got := batchesOf(t, r); len(got) == 0 || len(done.Segments) > 0 && !slices.IsSorted(got) {
			t.Errorf("%d batches", len(got))
		}
		if report, err := keyed(dir); err != nil || !report.Proven {
			t.Fatalf("proven %v, %v", report.Proven, err)
		}
	}

	close(stop)
	seqs := <-written
	mustClose(t, l)

	report, err := keyed(dir)
	if err != nil || report.Anchor == nil {
		t.Fatalf("it was never pruned: %v", err)
	}

	kept := slices.DeleteFunc(seqs, func(seq uint64) bool { return seq <= report.Anchor.Entries })
	holdsAll(t, dir, kept)
	if _, err := os.Stat(filepath.Join(dir, segment.Name(1))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first segment is still there: %v", err)
	}
}
