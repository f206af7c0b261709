package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/audit/segment/segmenttest"
)

// manySegments is a closed log of one frame a batch, in several segments.
func manySegments(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{SegmentBytes: audit.MinSegmentBytes})
	for i := range 60 {
		e := batchOf("cards", int32(i), 40)
		e.Principal = "User:mallory"
		e.Reason = "score_too_high"
		mustAppend(t, l, e, []byte{byte(i)})
	}

	mustClose(t, l)
	return dir
}

func keyed(dir string) (audit.Report, error) {
	return audit.VerifyWith(context.Background(), dir, audit.Known{Keys: [][32]byte{testKey}})
}

// starts opens and closes a log as its gateway does.
func starts(dir string) error {
	l, err := audit.Open(dir, audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes})
	if err != nil {
		return err
	}
	return l.Close()
}

// Whoever rewrites decisions without the audit key is found by whoever has it,
// and by whoever kept a head; a gateway does not go on with such a log. Without
// either, nothing is called proven.
func TestRewritingWithoutTheKeyIsFound(t *testing.T) {
	dir := manySegments(t)
	if report, err := keyed(dir); err != nil || !report.Proven || len(report.Segments) < 3 {
		t.Fatalf("before: %d segments, proven %v, %v", len(report.Segments), report.Proven, err)
	}

	kept := headOf(t, dir)

	g := segmenttest.Forgery{Dir: dir, Replace: map[string]string{"User:mallory": "User:alice--", "score_too_high": "limit_exceeded"}}
	g.Run(t)
	r, err := query.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if rows := collect(t, r, query.Filter{Topics: []string{"cards"}, Limit: 1}); len(rows) != 1 || rows[0].Principal != "User:alice--" {
		t.Fatalf("the forger did not reach the decisions: %+v", rows)
	}

	report, err := audit.VerifyChain(dir)
	if err != nil || report.Proven {
		t.Errorf("without the key: proven %v, %v; want a chain that fits and proves nothing", report.Proven, err)
	}
	if _, err := keyed(dir); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("with the key: %v", err)
	}
	if _, err := audit.VerifyWith(t.Context(), dir, audit.Known{Head: kept}); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("with a kept head: %v", err)
	}
	if err := starts(dir); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("a gateway goes on with it: %v", err)
	}
}

// What is cut off at the end shows as long as the mark is not one that the
// gateway itself once made there.
func TestCuttingShortIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		want error
	}{
		"tail zeroed": {func(t *testing.T, dir string) { segmenttest.ZeroTail(t, dir) }, audit.ErrCorrupt},
		"tail zeroed and mark deleted": {func(t *testing.T, dir string) {
			segmenttest.ZeroTail(t, dir)
			if err := os.Remove(filepath.Join(dir, "committed")); err != nil {
				t.Fatal(err)
			}
		}, audit.ErrNoMark},
		"cut and mark rewritten": {func(t *testing.T, dir string) { (&segmenttest.Forgery{Dir: dir, Frames: 1}).Run(t) }, audit.ErrCorrupt},
		"last segment deleted": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, segment.Name(uint32(len(segmentFiles(t, dir)))))); err != nil {
				t.Fatal(err)
			}
		}, audit.ErrCorrupt},
		"mark made anew in the old version": {func(t *testing.T, dir string) {
			(&segmenttest.Forgery{Dir: dir, Version: segment.Untagged}).Mark(t, 1, segment.HeaderSize)
		}, audit.ErrCorrupt},
	} {
		dir := manySegments(t)
		c.harm(t, dir)
		if _, err := keyed(dir); !errors.Is(err, c.want) {
			t.Errorf("%s: verifying: got %v, want %v", name, err, c.want)
		}
		if err := starts(dir); !errors.Is(err, c.want) {
			t.Errorf("%s: a gateway goes on with it: got %v, want %v", name, err, c.want)
		}
	}
}

func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit-*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A copy of the directory that was made earlier and is put back has each tag and
// the mark of its time: only a head that was kept elsewhere tells. SECURITY.md
// says so.
func TestOldCopyPutBackIsFoundByAKeptHeadAlone(t *testing.T) {
	dir := written(t, 5)
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}

	grow(t, dir, 5)
	kept := headOf(t, dir)
	if report, err := keyed(before); err != nil || !report.Proven {
		t.Errorf("an old copy: proven %v, %v", report.Proven, err)
	}
	if _, err := audit.VerifyWith(t.Context(), before, audit.Known{Head: kept, Keys: [][32]byte{testKey}}); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("an old copy against a kept head: %v", err)
	}
}

// A log that is made anew in the version without tags proves nothing, and none of
// its segments can stand behind one with tags.
func TestOldVersionIsNoWayAroundTheTags(t *testing.T) {
	dir := manySegments(t)
	(&segmenttest.Forgery{Dir: dir, Version: segment.Untagged}).Run(t)
	report, err := keyed(dir)
	if err != nil || report.Proven || report.Segments[0].Tags != audit.TagsAbsent {
		t.Errorf("all of the old version: proven %v, tags %v, %v", report.Proven, report.Segments[0].Tags, err)
	}

	dir = manySegments(t)
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}

	(&segmenttest.Forgery{Dir: old, Version: segment.Untagged}).Run(t)
	names := segmentFiles(t, dir)
	last := names[len(names)-1]

	raw, err := os.ReadFile(filepath.Join(old, filepath.Base(last)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyed(dir); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("the last of the old version: %v", err)
	}
}

// A log that was written before there were tags goes on with them: its segments
// are read as they are, ended, and said to have none.
func TestOldLogGoesOnWithTags(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/without-tls")); err != nil {
		t.Fatal(err)
	}

	before := len(segmentFiles(t, dir))
	if _, err := audit.Open(dir, audit.Options{Key: testKey, Node: "gw-1"}); !errors.Is(err, audit.ErrUntagged) {
		t.Fatalf("a log that anybody could have written goes on without a word: %v", err)
	}
	l, err := audit.Open(dir, audit.Options{Key: testKey, Node: "gw-1", Adopt: "gw-1"})
	if err != nil {
		t.Fatal(err)
	}

	mustAppend(t, l, batchOf("cards", 0, 10), nil)
	mustClose(t, l)

	report, err := keyed(dir)
	if err != nil || !report.Proven || len(report.Segments) != before+1 {
		t.Fatalf("%d segments, proven %v, %v", len(report.Segments), report.Proven, err)
	}

	for i, s := range report.Segments {
		want := audit.TagsAbsent
		if i == before {
			want = audit.TagsChecked
		}
		if s.Tags != want || s.Sealed != (i < before) {
			t.Errorf("segment %d: tags %s, sealed %v", s.Number, s.Tags, s.Sealed)
		}
	}
}
