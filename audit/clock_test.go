package audit_test

import (
	"context"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// TestLatestTimeOfALogOutlastsRestartsSegmentsAndPruning: a clock that is set back takes
// nothing from it, so that what has ended stays ended.
func TestLatestTimeOfALogOutlastsRestartsSegmentsAndPruning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	l := mustOpen(t, dir, audit.Options{Node: "gw", Now: clock})

	latest := now.Add(48 * time.Hour)
	now = latest
	record(t, l, audit.ControlEntry{Kind: audit.KindStart, Outcome: "started"})
	now = now.Add(-47 * time.Hour)
	step := audit.ClockStep{Was: latest, Is: now}
	record(t, l, step.Entry())
	is := func(when string, got time.Time) {
		t.Helper()
		if !got.Equal(latest) {
			t.Errorf("%s: the latest time is %s, want %s", when, got, latest)
		}
	}
	is("while it is written", l.Latest())
	mustClose(t, l)

	for range 3 { // each begins a segment
		now = now.Add(time.Minute)
		l = mustOpen(t, dir, audit.Options{Node: "gw", Now: clock, NewSegment: true})
		is("opened again", l.Latest())
		record(t, l, audit.ControlEntry{Kind: audit.KindStop, Outcome: "stopped"})
		is("in another segment", l.Latest())
		mustClose(t, l)
	}

	read := func(when string) {
		t.Helper()
		r, err := query.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := r.Latest()
		if err != nil {
			t.Fatal(err)
		}
		is(when, got)
	}
	read("read")

	if _, err := audit.Prune(t.Context(), dir, audit.Pruning{Keys: [][32]byte{testKey}, Cut: audit.Cut{Segment: 3}, Now: now}); err != nil {
		t.Fatal(err)
	}
	read("pruned")
	l = mustOpen(t, dir, audit.Options{Node: "gw", Now: clock})
	is("opened after that", l.Latest())
}

// TestStepOfTheClockIsInTheLog as the document has it.
func TestStepOfTheClockIsInTheLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := mustOpen(t, dir, audit.Options{Node: "gw"})
	was := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, s := range []audit.ClockStep{{Was: was, Is: was.Add(time.Hour)}, {Was: was, Is: was.Add(-time.Hour), Start: true}} {
		record(t, l, s.Entry())
	}

	r := l.Reader()
	var got [][]string
	err := r.Scan(context.Background(), audit.Search{To: math.MaxInt64, Segment: func(*audit.Summary) bool { return true }}, func(it *audit.Item) (bool, error) {
		if c := it.Control; c != nil && c.Kind == audit.KindClock {
			got = append(got, []string{c.Kind.String(), c.Subject, c.Outcome, c.Fact("was"), c.Fact("is"), c.Fact("seen")})
		}
		return true, nil
	})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}

	want := [][]string{
		{"clock", "clock", "clock_forward", "2026-05-01T12:00:00Z", "2026-05-01T13:00:00Z", "running"},
		{"clock", "clock", "clock_back", "2026-05-01T12:00:00Z", "2026-05-01T11:00:00Z", "start"},
	}
	for i := range want {
		for j := range want[i] {
			if got[i][j] != want[i][j] {
				t.Errorf("entry %d has %q, want %q", i, got[i][j], want[i][j])
			}
		}
	}
}

func record(t *testing.T, l *audit.Log, c audit.ControlEntry) {
	t.Helper()
	if err := l.Record(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// TestSegmentsEndByTheirAgeThoughTheClockWasAheadOnce: one that was begun in 2099 must not
// wait until then, since nothing is pruned or erased from a segment that has not ended.
func TestSegmentsEndByTheirAgeThoughTheClockWasAheadOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	right := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	now := right
	l := mustOpen(t, dir, audit.Options{Node: "gw", SegmentAge: time.Hour, Now: func() time.Time { return now }})
	segments := func(want int) {
		t.Helper()
		record(t, l, audit.ControlEntry{Kind: audit.KindStart, Outcome: "started"})
		all, err := l.Reader().Segments()
		if err != nil || len(all) != want {
			t.Errorf("at %s there are segments %d, %v; want %d", now, all, err, want)
		}
	}

	segments(1)
	now = time.Date(2099, 5, 1, 12, 0, 0, 0, time.UTC)
	segments(2)
	now = right.Add(time.Second)
	segments(3) // the one that was begun in 2099 ends
	segments(3)
	now = right.Add(time.Hour)
	segments(3)
	now = now.Add(time.Second)
	segments(4)
}
