package clients

import (
	"slices"
	"strings"
	"testing"
)

// perfect is a report with nothing wrong.
func perfect(gateway bool) Report {
	r := Report{Cases: make(map[string]Result)}
	for _, name := range Cases() {
		r.Cases[name] = expected(name, gateway)
	}

	for _, name := range []string{"reject/plain", "reject/idempotent"} {
		r.Cases[name] = Result{Outcomes: [][]string{{"ok"}, {"ok", "ok", "ok"}, {"ok"}},
			Values: []string{"fine 0", "fine 1", "BAD 2", "fine 3", "fine 4"}}
		if gateway {
			r.Cases[name] = Result{Outcomes: [][]string{{"ok"}, {"X", "INVALID_RECORD", "X"}, {"ok"}}, Values: []string{"fine 0", "fine 4"}}
		}
	}

	return r
}

var stock = Client{Rejection: "INVALID_RECORD"}

func TestRightReportsPass(t *testing.T) {
	for _, gateway := range []bool{false, true} {
		if p := stock.Check(perfect(gateway), Pass{Gateway: gateway}); len(p) > 0 {
			t.Errorf("gateway %v: %v", gateway, p)
		}
	}
}

func TestAPassOfFewCasesWantsThose(t *testing.T) {
	r := perfect(true)
	delete(r.Cases, "seek")
	for name, want := range map[string]int{"codec/lz4": 0, "seek": 1} {
		if p := stock.Check(r, Pass{Gateway: true, Cases: []string{name}}); len(p) != want {
			t.Errorf("%s: %v", name, p)
		}
	}
}

func TestWrongReportsFail(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(Report)
		says  string
	}{
		"policy does not act":      {func(r Report) { r.Cases["upper"] = expected("upper", false) }, "upper: got"},
		"a dropped record is seen": {func(r Report) { r.Cases["drop/plain"] = expected("drop/plain", false) }, "drop/plain: got"},
		"a rejected record is acknowledged": {func(r Report) { r.Cases["reject/plain"] = perfect(false).Cases["reject/plain"] },
			`the bad record's outcome is "ok"`},
		"an acknowledged record is lost": {func(r Report) {
			c := r.Cases["reject/plain"]
			c.Values = c.Values[:1]
			r.Cases["reject/plain"] = c
		}, "was acknowledged"},
		"a good batch fails": {func(r Report) {
			r.Cases["reject/plain"] = Result{Outcomes: [][]string{{"X"}, {"X", "INVALID_RECORD", "X"}, {"ok"}}}
		}, `the outcome of "fine 0" is "X"`},
		"a case is missing":       {func(r Report) { delete(r.Cases, "seek") }, "seek: not in the report"},
		"a client fails":          {func(r Report) { r.Cases["seek"] = Result{Error: "boom"} }, "seek: boom"},
		"a client declines":       {func(r Report) { r.Cases["seek"] = Result{Unsupported: true} }, "seek: unsupported"},
		"a batch has no outcomes": {func(r Report) { r.Cases["reject/plain"] = Result{} }, "reject/plain: outcomes"},
	} {
		r := perfect(true)
		c.spoil(r)
		p := stock.Check(r, Pass{Gateway: true})
		if len(p) != 1 || !slices.ContainsFunc(p, func(s string) bool { return strings.Contains(s, c.says) }) {
			t.Errorf("%s: %q", name, p)
		}
	}
}
