package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Difference is one thing that became of a record and should not have.
type Difference struct {
	Field string `json:"field"`
	Want  string `json:"want"`
	Got   string `json:"got"`
}

// Compare lists what is not as the case wants it, and nothing that is. Of long texts
// it shows the part that differs.
func (c Case) Compare(got Result) []Difference {
	e := c.Expect
	if e == nil {
		return []Difference{{Field: "expect", Want: "(nobody has written it down)", Got: got.Outcome}}
	}

	var all []Difference
	text := func(field, want, got string) {
		if want != "" && want != got {
			all = append(all, Difference{field, want, got})
		}
	}
	text("outcome", e.Outcome, got.Outcome)
	text("reason", e.Reason, got.Reason)
	text("route", e.Route, got.Route)
	text("failure", e.Failure, got.Failure)

	if !stored(got.Outcome) || !stored(e.Outcome) {
		return all
	}

	all = append(all, e.Key.compare("key", c.Record.Key, got.Key)...)
	all = append(all, e.Value.compare("value", c.Record.Value, got.Value)...)
	return append(all, c.compareHeaders(got.Headers)...)
}

// Stored reports whether a record came out.
func (r Result) Stored() bool { return stored(r.Outcome) }

// stored reports whether a record comes out of an outcome.
func stored(outcome string) bool {
	return outcome == Passed || outcome == Modified || outcome == Routed
}

// compare holds a key or value against what it must be: as it came, if nobody says.
func (w *Want) compare(field string, came, got []byte) []Difference {
	if w == nil {
		w = &Want{Bytes: came}
	}
	if w.is(got) {
		return nil
	}

	if w.Pattern != nil {
		return []Difference{{field, "matches " + w.Pattern.String(), Excerpt(got)}}
	}
	want, have := Excerpts(w.Bytes, got)
	return []Difference{{field, want, have}}
}

func (w *Want) is(got []byte) bool {
	switch {
	case w.Pattern != nil:
		return w.Pattern.Match(got)
	case w.Bytes == nil || got == nil:
		return w.Bytes == nil && got == nil
	case w.JSON:
		return bytes.Equal(compact(w.Bytes), compact(got))
	}

	return bytes.Equal(w.Bytes, got)
}

// compact is JSON without white space; what is no JSON stays as it is.
func compact(p []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, p) != nil {
		return p
	}

	return out.Bytes()
}

// compareHeaders looks at all headers, in order: a doubled one counts twice.
func (c Case) compareHeaders(got []Header) []Difference {
	want := c.Expect.Headers
	if want == nil {
		for _, h := range c.Record.Headers {
			want = append(want, WantHeader{h.Key, Want{Bytes: h.Value}})
		}
	}

	var all []Difference
	for n := range max(len(want), len(got)) {
		field := fmt.Sprintf("headers[%d]", n)
		switch {
		case n >= len(got):
			all = append(all, Difference{field, want[n].Key, "(none)"})
		case n >= len(want):
			all = append(all, Difference{field, "(none)", got[n].Key + "=" + Excerpt(got[n].Value)})
		case want[n].Key != got[n].Key:
			all = append(all, Difference{field, want[n].Key, got[n].Key})
		default:
			all = append(all, want[n].Value.compare(field+" "+got[n].Key, nil, got[n].Value)...)
		}
	}

	return all
}

const (
	excerptBytes  = 100 // of what is shown of a text
	contextBytes  = 24  // of that, in front of the first difference
	nullText      = "(null)"
	emptyText     = "(empty)"
	ellipsisText  = "…"
	ellipsisLimit = 8 // fewer bytes than this are not worth leaving out
)

// Excerpt is the beginning of a key or value.
func Excerpt(p []byte) string { return excerpt(p, 0) }

// Excerpts show two texts from shortly before where they begin to differ.
func Excerpts(a, b []byte) (string, string) {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	from := max(same-contextBytes, 0)
	if from < ellipsisLimit {
		from = 0
	}

	return excerpt(a, from), excerpt(b, from)
}

func excerpt(p []byte, from int) string {
	switch {
	case p == nil:
		return nullText
	case len(p) == 0:
		return emptyText
	}

	before := ""
	for from > 0 && from < len(p) && !utf8.RuneStart(p[from]) {
		from--
	}
	if from > 0 {
		before = ellipsisText
	}

	shown := p[min(from, len(p)):]
	if len(shown) <= excerptBytes+ellipsisLimit {
		return before + string(shown)
	}

	to := excerptBytes
	for to > 0 && !utf8.RuneStart(shown[to]) {
		to--
	}
	return fmt.Sprintf("%s%s%s (%d bytes)", before, shown[:to], ellipsisText, len(p))
}

// Unreached lists the declared reasons that none of the results gave.
func Unreached(declared []string, results []Result) []string {
	var missing []string
	for _, reason := range declared {
		if !slices.ContainsFunc(results, func(r Result) bool { return r.Reason == reason }) {
			missing = append(missing, reason)
		}
	}

	return missing
}
