package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// A log of another gateway, or under another key, is not continued without a
// word; with the operator's word it is, and the log says what was changed.
func TestForeignLogIsNotContinuedWithoutAWord(t *testing.T) {
	mine := audit.Options{Key: testKey, Node: "gw-1"}
	otherKey := [32]byte{7}
	for name, c := range map[string]struct {
		by   audit.Options
		want string // of the refusal; empty: it is continued
		step string // of the opening
	}{
		"itself":                {by: mine},
		"another gateway":       {by: audit.Options{Key: testKey, Node: "gw-2"}, want: `the log of gateway "gw-1", and this one is "gw-2"`},
		"another key":           {by: audit.Options{Key: otherKey, Node: "gw-1"}, want: "under the audit key"},
		"another, adopting":     {by: audit.Options{Key: testKey, Node: "gw-2", Adopt: "gw-1"}, step: "gateway"},
		"another, adopting gw3": {by: audit.Options{Key: testKey, Node: "gw-2", Adopt: "gw-3"}, want: "the log of gateway"},
		"a new key":             {by: audit.Options{Key: otherKey, PreviousKey: &testKey, Node: "gw-1"}, step: "audit_key"},
	} {
		dir := t.TempDir()
		l, err := audit.Open(dir, mine)
		if err != nil {
			t.Fatal(err)
		}

		mustAppend(t, l, batchOf("a", 0, 3), []byte("bytes"))
		mustClose(t, l)

		l, err = audit.Open(dir, c.by)
		if c.want != "" {
			if !errors.Is(err, audit.ErrForeign) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want ErrForeign with %q", name, err, c.want)
			}
			continue
		}

		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		mustAppend(t, l, batchOf("a", 0, 3), []byte("bytes"))
		mustClose(t, l)
		checkContinued(t, name, dir, c.by, c.step)
	}
}

// checkContinued looks at a log that was continued: it verifies under the keys
// that it had, and only under both.
func checkContinued(t *testing.T, name, dir string, by audit.Options, step string) {
	t.Helper()
	r, err := query.Open(dir)
	if err != nil {
		t.Fatal(err)
	}

	openings := collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindOpen}})
	found := slices.ContainsFunc(openings[1].Control.Steps, func(s audit.Step) bool { return s.Name == step && s.Verdict == "changed" })
	if len(openings) != 2 || found != (step != "") {
		t.Errorf("%s: openings %+v", name, openings)
	}

	report, err := audit.VerifyWith(t.Context(), dir, audit.Known{Keys: [][32]byte{testKey, by.Key}})
	if err != nil || !report.Proven {
		t.Errorf("%s: proven %v, %v", name, report.Proven, err)
	}

	report, err = keyed(dir)
	if err != nil || report.Proven != (by.Key == testKey) {
		t.Errorf("%s: under the first key alone: proven %v, %v", name, report.Proven, err)
	}

	by.Adopt = ""
	by.PreviousKey = nil
	l, err := audit.Open(dir, by)
	if err != nil {
		t.Errorf("%s: it is not this gateway's own afterwards: %v", name, err)
		return
	}

	mustClose(t, l)
}

// A log without its mark is continued on the operator's word alone, and says so.
func TestLogWithoutItsMarkIsContinuedOnTheOperatorsWord(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{Node: "gw-1"})
	mustAppend(t, l, batchOf("a", 0, 3), nil)
	mustClose(t, l)
	delete(d.live, "committed")

	o := audit.Options{Key: testKey, Node: "gw-1", SegmentBytes: 256 << 10}
	if _, err := audit.OpenFiles(d, o); !errors.Is(err, audit.ErrNoMark) {
		t.Fatalf("got %v, want ErrNoMark", err)
	}

	o.Adopt = "gw-1"
	l, err := audit.OpenFiles(d, o)
	if err != nil {
		t.Fatal(err)
	}

	openings := collect(t, query.New(l.Reader()), query.Filter{Kinds: []audit.Kind{audit.KindOpen}})
	if s := openings[len(openings)-1].Control.Steps; len(s) != 1 || s[0].Name != "committed_mark" || s[0].Verdict != "missing" {
		t.Errorf("the opening says %+v", s)
	}

	mustClose(t, l)

	// Whoever verifies the log later is told.
	report, err := audit.VerifyFiles(d, audit.Known{Keys: [][32]byte{testKey}})
	if err != nil || len(report.Continued) != 1 || report.Continued[0].Steps[0].Name != "committed_mark" {
		t.Errorf("verifying says %+v, %v", report.Continued, err)
	}
}
