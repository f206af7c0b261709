package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// twoGateways are logs whose batches come in turn, and the function that adds to both.
func twoGateways(t *testing.T) (query.Logs, func(n int)) {
	t.Helper()
	now := noon
	var logs query.Logs
	var open []*audit.Log
	for _, name := range []string{"gw-a", "gw-b"} {
		l := openMem(t, newMemFiles(), audit.Options{Node: name, SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return now }})
		open = append(open, l)
		logs = append(logs, query.Log{Gateway: name, Reader: query.New(l.Reader())})
	}

	add := func(n int) {
		for i := range n {
			now = now.Add(time.Second)
			e := batchOf("cards", int32(i%2), 100)
			e.Time = now
			mustAppend(t, open[i%2], e, nil)
		}
		for _, l := range open {
			flushed(t, l)
		}
	}

	add(6)
	for i := range logs {
		node, err := logs[i].Reader.Node()
		if err != nil {
			t.Fatal(err)
		}
		logs[i].Node = node
	}
	return logs, add
}

func ids(t *testing.T, logs query.Logs, f query.Filter, after query.Cursor) (all []string, last query.Cursor) {
	t.Helper()
	last = query.Cursor{}
	for node, at := range after {
		last[node] = at
	}
	for d, err := range logs.Query(t.Context(), f, after) {
		if err != nil {
			t.Fatal(err)
		}
		last.Note(&d)
		all = append(all, d.ID.String())
	}
	return all, last
}

func TestLogsAreMergedByTime(t *testing.T) {
	logs, _ := twoGateways(t)
	for _, reverse := range []bool{false, true} {
		var gateways []string
		var last time.Time
		for d, err := range logs.Query(t.Context(), query.Filter{ByBatch: true, Reverse: reverse, Kinds: []audit.Kind{audit.KindBatch}}, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if !last.IsZero() && d.Time.Before(last) != reverse {
				t.Errorf("reverse %t: %s comes after %s", reverse, d.Time, last)
			}
			last = d.Time
			gateways = append(gateways, d.Gateway)
		}
		if len(gateways) != 6 || slices.Equal(gateways[:3], []string{"gw-a", "gw-a", "gw-a"}) {
			t.Errorf("reverse %t: rows of %v", reverse, gateways)
		}
	}
}

// Pages of any size, over logs that grow meanwhile, give each row once.
func TestPagesRepeatNothingAndSkipNothing(t *testing.T) {
	for _, f := range []query.Filter{{}, {ByBatch: true}, {Finer: query.Finer{ByRun: true}}, {Outcomes: []string{"modified"}}} {
		for _, size := range []int{1, 3, 7, 100, 1000} {
			logs, add := twoGateways(t)
			var paged []string
			after := query.Cursor{}
			for n := 0; ; n++ {
				if n < 3 {
					add(4)
				}
				f := f
				f.Limit = size
				if size == 1 && !f.ByBatch && !f.ByRun {
					f.Limit = 13
				}
				if err := logs.Check(after); err != nil {
					t.Fatal(err)
				}

				page, next := ids(t, logs, f, after)
				read, err := query.ParseCursor(next.String())
				if err != nil || read.String() != next.String() {
					t.Fatalf("cursor %s reads as %s, %v", next, read, err)
				}
				after = read
				paged = append(paged, page...)
				if len(page) == 0 && n >= 3 {
					break
				}
			}

			whole, _ := ids(t, logs, f, nil)
			slices.Sort(whole)
			slices.Sort(paged)
			if !slices.Equal(whole, paged) {
				t.Errorf("%+v by %d: pages have %d rows, the logs %d", f, size, len(paged), len(whole))
			}
		}
	}
}

func TestCursorOfAnotherLogIsRefused(t *testing.T) {
	logs, _ := twoGateways(t)
	if err := logs.Check(query.Cursor{logs[0].Node + logs[1].Node + 1: {Seq: 1}}); !errors.Is(err, query.ErrForeignCursor) {
		t.Errorf("another log's: %v", err)
	}
	if err := logs.Check(query.Cursor{logs[0].Node: {Seq: 1 << 40}}); !errors.Is(err, audit.ErrNoPosition) {
		t.Errorf("behind the end: %v", err)
	}
}

// Whatever a summary and a count are asked, they count what a query gives.
func TestCountsAreThoseOfTheRows(t *testing.T) {
	l := mixed(t)
	first, last := int64(505), int64(520)
	node, err := l.Reader().Node()
	if err != nil {
		t.Fatal(err)
	}
	logs := query.Logs{{Node: node, Reader: query.New(l.Reader())}}
	for _, f := range []query.Filter{
		{}, {Topics: []string{"cards"}},
		{Finer: query.Finer{States: []query.State{query.StateRefused}}},
		{Finer: query.Finer{States: []query.State{query.StateStored, query.StateUnknown}}},
		{Topics: []string{"cards"}, Partition: ptr(int32(1)), Offset: &first, Finer: query.Finer{LastOffset: &last}},
	} {
		f.Kinds = []audit.Kind{audit.KindBatch}
		rows, _ := ids(t, logs, f, nil)
		totals, err := logs.Summarize(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		groups, err := logs.Count(t.Context(), f, []string{"outcome", "hour"}, query.MaxGroups)
		if err != nil {
			t.Fatal(err)
		}

		counted := int64(0)
		for _, g := range groups.Groups {
			counted += g.Records
		}
		want := int64(len(rows))
		if want == 0 || counted != want || totals.Decisions != want {
			t.Errorf("%+v: %d rows, groups of %d, a summary of %d", f, want, counted, totals.Decisions)
		}
	}
}

func TestRangeOfOffsetsHasEachOnce(t *testing.T) {
	l := mixed(t)
	first, last := int64(598), int64(602)
	f := query.Filter{Topics: []string{"cards"}, Partition: ptr(int32(1)), Offset: &first, Finer: query.Finer{LastOffset: &last}}
	var got []int64
	for _, d := range collect(t, query.New(l.Reader()), f) {
		got = append(got, d.Offset)
	}
	if want := []int64{598, 599, 600, 601, 602}; !slices.Equal(got, want) {
		t.Errorf("offsets %v, want %v", got, want)
	}
}

func TestGroupsBeyondTheLimitAreSaid(t *testing.T) {
	logs, _ := twoGateways(t)
	groups, err := logs.Count(t.Context(), query.Filter{Kinds: []audit.Kind{audit.KindBatch}}, []string{"outcome"}, 1)
	if err != nil || len(groups.Groups) != 1 || groups.Groups[0].Records+groups.Rest != 600 {
		t.Errorf("%+v, %v", groups, err)
	}
}

func TestCellBeginsNoFormulaAndNoLine(t *testing.T) {
	for in, want := range map[string]string{
		"User:ada": "User:ada", "": "", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", " =1": "' =1",
		"a\nb": `a\u000ab`, "\t=1": `\u0009=1`, "\r": `\u000d`, "a\u2028b": `a\u2028b`, "＝1": "'＝1",
	} {
		if got := query.Cell(in); got != want {
			t.Errorf("%q is the cell %q, want %q", in, got, want)
		}
	}
}

func FuzzCell(f *testing.F) {
	f.Add("=cmd|' /C calc'!A0")
	f.Add("a\r\n=1")
	f.Fuzz(func(t *testing.T, s string) {
		cell := query.Cell(s)
		if strings.ContainsAny(cell, "\r\n\t\x00\x0b\x0c\u0085\u2028\u2029") || cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
			t.Errorf("%q is the cell %q", s, cell)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("gl-0a1b2c3d-4k2-7,gl-ffffffff-1")
	f.Add(fmt.Sprintf("gl-%08x-1", 0))
	f.Fuzz(func(t *testing.T, s string) {
		c, err := query.ParseCursor(s)
		if err != nil {
			return
		}
		if again, err := query.ParseCursor(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q reads as %s, and that as %s, %v", s, c, again, err)
		}
	})
}
