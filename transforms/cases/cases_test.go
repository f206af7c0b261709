package cases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/problem"
)

// none is beside a module that has nothing beside it.
var none = Beside{Read: func(path string) ([]byte, error) { return nil, fmt.Errorf("no file %s", path) }}

func open(t *testing.T, module string) *Sandbox {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("..", "modules", module, module+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func parse(t *testing.T, text string) File {
	t.Helper()
	f, err := Parse("a.yaml", []byte(text), none)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// results runs a file's cases.
func results(t *testing.T, s *Sandbox, f File) []Result {
	t.Helper()
	return s.RunFile(t.Context(), f)
}

const fraudCases = `
routes: [review]
config: {threshold: 80, route_threshold: 60, header: verdict, rules: [
  {path: $.amount, op: gt, value: 100, weight: 90, reason: fraud.amount},
  {path: $.country, op: in, value: [KP], weight: 70, reason: fraud.country}]}
cases:
  - name: a heavy one
    record: {value: {json: {amount: 1000}}}
    expect: {outcome: rejected, reason: fraud.amount}
  - name: one to look at
    record:
      key: k
      value: {json: {amount: 1, country: KP}}
      headers: [{key: a, value: "1"}, {key: a, value: null}, {key: verdict, value: forged}]
    expect:
      outcome: routed
      route: review
      headers:
        - {key: a, value: "1"}
        - {key: a, value: null}
        - {key: verdict, value: {matches: ";score=70;"}}
  - name: a tombstone
    record: {key: k, value: null}
    expect: {outcome: modified, headers: [{key: verdict, value: {matches: "."}}]}
`

func TestEachDifferenceIsToldAndNothingElse(t *testing.T) {
	s := open(t, "uppercase")
	for name, c := range map[string]struct {
		record, expect string
		want           []Difference
	}{
		"as wanted":          {`{value: abc}`, `{outcome: modified, reason: uppercase.changed, value: ABC}`, nil},
		"a pattern":          {`{value: abc}`, `{outcome: modified, value: {matches: "^A.C$"}}`, nil},
		"JSON and its space": {`{value: '{"a": 1}'}`, `{outcome: modified, value: {json: {A: 1}}}`, nil},
		"base64":             {`{value: {base64: /2Fi}}`, `{outcome: modified, value: {base64: /0FC}}`, nil},
		"another outcome":    {`{value: abc}`, `{outcome: rejected}`, []Difference{{"outcome", "rejected", "modified"}}},
		"not changed":        {`{value: ABC}`, `{outcome: modified, value: XBC}`, []Difference{{"outcome", "modified", "passed"}, {"value", "XBC", "ABC"}}},
		"another reason":     {`{value: abc}`, `{outcome: modified, reason: a.b, value: ABC}`, []Difference{{"reason", "a.b", "uppercase.changed"}}},
		"the value":          {`{value: abc}`, `{outcome: modified}`, []Difference{{"value", "abc", "ABC"}}},
		"null is not empty":  {`{value: null}`, `{outcome: passed, value: ""}`, []Difference{{"value", "(empty)", "(null)"}}},
		"headers": {`{value: A, headers: [{key: a, value: x}, {key: a, value: y}]}`, `{outcome: passed, headers: [{key: a, value: y}]}`,
			[]Difference{{"headers[0] a", "y", "x"}, {"headers[1]", "(none)", "a=y"}}},
		"nobody said": {`{value: abc}`, ``, []Difference{{"expect", "(nobody has written it down)", "modified"}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, fmt.Sprintf("cases:\n  - name: a\n    record: %s\n    expect: %s\n", c.record, c.expect))
			got := results(t, s, f)
			if diff := f.Cases[0].Compare(got[0]); !slices.Equal(diff, c.want) {
				t.Errorf("the differences are %q, want %q", diff, c.want)
			}
		})
	}
}

func TestRoutesHeadersAndConfigurationsAreHeld(t *testing.T) {
	s := open(t, "fraud")
	f := parse(t, fraudCases)
	got := results(t, s, f)
	for n, c := range f.Cases {
		if diff := c.Compare(got[n]); len(diff) > 0 {
			t.Errorf("%s: %q", c.Name, diff)
		}
	}
	if f.Cases[1].Line != 10 {
		t.Errorf("the second case is on line %d", f.Cases[1].Line)
	}

	missing := Unreached([]string{"fraud.amount", "fraud.velocity"}, got)
	if !slices.Equal(missing, []string{"fraud.velocity"}) {
		t.Errorf("not reached: %v", missing)
	}
}

func TestAConfigurationThatIsRefusedIsAnOutcome(t *testing.T) {
	s := open(t, "fraud")
	f := parse(t, "cases:\n  - name: a\n    config: {threshold: x}\n    expect: {outcome: config_refused}\n")
	if got := results(t, s, f); got[0].Outcome != ConfigRefused {
		t.Errorf("outcome %+v", got[0])
	}
}

func TestACaseContinuesInTheInstanceOfTheOneBefore(t *testing.T) {
	s := open(t, "sensor")
	const reading = "record: {key: d, value: '{\"v\":%d}'}\n    expect: {outcome: passed}\n"
	f := parse(t, "config: {path: $.v, window: 4, max_jitter: 0.5, min_samples: 1}\ncases:\n"+
		"  - name: a\n    "+fmt.Sprintf(reading, 1)+
		"  - name: b\n    "+fmt.Sprintf(reading, 100)+
		"  - name: c\n    continues: true\n    "+fmt.Sprintf(reading, 1))

	got := results(t, s, f)
	for n, want := range []string{Passed, Passed, Modified} {
		if got[n].Outcome != want {
			t.Errorf("case %d: %s, want %s", n, got[n].Outcome, want)
		}
	}
}

func TestWhatIsWrongWithAFileIsReportedWithItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "a.yaml: it has no cases",
		"topic: a\n":                            "a.yaml: it has no cases",
		"cases:\n  - name: a\n":                 "a.yaml:2: cases[0]: column 5: the case has no record",
		"cases:\n  - name: a\n    recrod: {}\n": "a.yaml:3: column 5: unknown key recrod; did you mean record?",
		"cases:\n  - name: a\n    record: {value: 12}\n":                                                           "a.yaml:3: cases[0].record.value: column 14: `12` is a text only in quotes; a number or object is {json: …}",
		"cases:\n  - name: a\n    record: {value: {jsn: 1}}\n":                                                     "a.yaml:3: cases[0].record.value.jsn: column 22: it is a text, null, or one of {text: …}, {json: …}, {base64: …}, {file: …}",
		"cases:\n  - name: a\n    record: {value: {file: ../../secret}}\n":                                         "a.yaml:3: cases[0].record.value.file: column 22: \"../../secret\" does not lie in the module's directory",
		"cases:\n  - name: a\n    record: {value: {file: x}}\n":                                                    "a.yaml:3: cases[0].record.value.file: column 22: no file x",
		"cases:\n  - name: a\n    record: {}\n    expect: {outcome: fine}\n":                                       "a.yaml:4: cases[0].expect.outcome: column 14: it is one of passed, modified, rejected, dropped, routed, failed, config_refused",
		"cases:\n  - name: a\n    record: {}\n    expect: {outcome: dropped, value: x}\n":                          "a.yaml:4: cases[0].expect.outcome: column 14: no record comes out of one that is dropped",
		"cases:\n  - name: a\n    record: {}\n    expect: {outcome: routed, route: x}\n":                           "a.yaml:4: cases[0].expect.route: column 31: \"x\" is not one of the file's routes",
		"keys: [{name: a, secret: b}]\ncases: [{name: a, record: {}}]\n":                                           "a.yaml:1: keys[0].secret: column 18: a secret has at least 16 bytes; this one protects nothing, so write any",
		"cases: [{name: a, continues: true, record: {}}]\n":                                                        "a.yaml:1: cases[0].continues: column 19: there is no case before",
		"cases: [{name: a, record: {timestamp: noon}}]\n":                                                          "a.yaml:1: cases[0].record.timestamp: column 28: it is neither milliseconds nor a time such as 2030-01-31T12:00:00Z",
		"cases: [{name: a, record: {value: {json: [0x10]}}}]\n":                                                    "a.yaml:1: cases[0].record.value.json: column 36: line 1: `0x10` is not how JSON spells it",
		"cases: [{name: a, config: x, config_file: y, record: {}}]\n":                                              "a.yaml:1: cases[0].config_file: column 30: config is given too",
		"cases: [{name: a, record: {value: {base64: '*'}}}]\n":                                                     "a.yaml:1: cases[0].record.value.base64: column 36: illegal base64 data at input byte 0",
		"cases: [{name: a, record: {}, expect: {outcome: passed, value: {matches: '('}}}]\n":                       "a.yaml:1: cases[0].expect.value.matches: column 65: error parsing regexp: missing closing ): `(`",
		"cases:\n  - record: {}\n    expect: {outcome: passed, headers: [{key: a, value: {text: [1]}}]}\n":         "a.yaml:2: cases[0]: column 5: the case has no name",
		"cases: [{name: a, record: {topic: t, partition: x}}]\n":                                                   "a.yaml:1: column 49: found the text `x`, want a whole number",
		"cases: [{name: a, record: {value: &a {json: {x: *a}}}}]\n":                                                "a.yaml:1",
		"cases: [{name: a, record: {}, expect: {outcome: passed}}, {name: b, record: {}, expect: {outcome: p}}]\n": "a.yaml:1: cases[1].expect.outcome",
	} {
		_, err := Parse("a.yaml", []byte(text), none)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

const beforeUpdate = `# Cases with remarks.
cases:
  - name: letters # of the first kind
    record:
      value: abc
    expect:
      outcome: passed   # wrong
      value: 'x'

  # The second.
  - name: nobody said
    record: {key: k, value: "é b"}

  - name: right
    record: {value: ABC}
    expect: {outcome: passed}
  - name: last
    expect: {outcome: rejected}
    record:
      value: |
        two
        lines
`

const afterUpdate = `# Cases with remarks.
cases:
  - name: letters # of the first kind
    record:
      value: abc
    expect:
      outcome: modified
      reason: uppercase.changed
      value: 'ABC'

  # The second.
  - name: nobody said
    record: {key: k, value: "é b"}
    expect:
      outcome: modified
      reason: uppercase.changed
      value: 'é B'

  - name: right
    record: {value: ABC}
    expect: {outcome: passed}
  - name: last
    expect:
      outcome: modified
      reason: uppercase.changed
      value: {base64: 'VFdPCkxJTkVTCg=='}
    record:
      value: |
        two
        lines
`

func TestUpdateWritesWhatHappenedAndKeepsEveryOtherByte(t *testing.T) {
	s := open(t, "uppercase")
	f := parse(t, beforeUpdate)
	changed := map[int]Result{}
	for n, r := range results(t, s, f) {
		if len(f.Cases[n].Compare(r)) > 0 {
			changed[n] = r
		}
	}

	after, err := f.Update(changed)
	if err != nil || string(after) != afterUpdate {
		t.Fatalf("%v, updated to\n%s", err, after)
	}

	f = parse(t, string(after))
	for n, r := range results(t, s, f) {
		if diff := f.Cases[n].Compare(r); len(diff) > 0 {
			t.Errorf("after the update %s has %q", f.Cases[n].Name, diff)
		}
	}
}

// TestUpdateLeavesWhatHolds: a pattern says what is meant, and a result only what
// happened to come.
func TestUpdateLeavesWhatHolds(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"in lines": {
			`    expect:
      outcome: passed
      key: {text: k}   # as it came
      value:
        # capitals
        matches: ^A.C$
`,
			`    expect:
      outcome: modified
      reason: uppercase.changed
      key: {text: k}   # as it came
      value:
        # capitals
        matches: ^A.C$
`},
		"in one line": {
			"    expect: {outcome: passed, value: {matches: '^A.C$'}, key: {text: k}}\n",
			`    expect:
      outcome: modified
      reason: uppercase.changed
      key: {text: k}
      value: {matches: '^A.C$'}
`},
		"a header": {
			`    expect:
      outcome: modified
      value: ABC
      headers:
        - {key: a, value: {matches: ^x}}
        - key: b
          value: no
`,
			`    expect:
      outcome: modified
      reason: uppercase.changed
      value: ABC
      headers:
        - {key: 'a', value: {matches: ^x}}
        - {key: 'b', value: 'y'}
`},
	} {
		t.Run(name, func(t *testing.T) {
			const record = "cases:\n  - name: a\n    record: {key: k, value: abc, headers: [{key: a, value: xx}, {key: b, value: y}]}\n"
			f := parse(t, record+c.before)
			got := results(t, open(t, "uppercase"), f)
			after, err := f.Update(map[int]Result{0: got[0]})
			if err != nil || string(after) != record+c.after {
				t.Fatalf("%v, updated to\n%s", err, after)
			}
			if diff := parse(t, string(after)).Cases[0].Compare(got[0]); len(diff) > 0 {
				t.Errorf("%q", diff)
			}
		})
	}
}

func TestACaseOnOneLineIsNotUpdated(t *testing.T) {
	f := parse(t, "cases: [{name: a, record: {value: x}}]\n")
	if _, err := f.Update(map[int]Result{0: {Outcome: Passed}}); err == nil || !strings.HasPrefix(err.Error(), "a.yaml:1: ") {
		t.Errorf("got %v", err)
	}
}

func TestExcerptsShowWhereTextsDiffer(t *testing.T) {
	long := strings.Repeat("a", 500)
	a, b := Excerpts([]byte(long+"x"+long), []byte(long+"y"))
	if a != "…"+strings.Repeat("a", 24)+"x"+strings.Repeat("a", 75)+"… (1001 bytes)" || b != "…"+strings.Repeat("a", 24)+"y" {
		t.Errorf("got %q and %q", a, b)
	}
	if got := Excerpt([]byte(strings.Repeat("é", 100))); got != strings.Repeat("é", 50)+"… (200 bytes)" {
		t.Errorf("got %q", got)
	}
}

// FuzzParse: whatever the text, it is read or refused with a list of problems; and
// what was updated is still read, and says what became of each case.
func FuzzParse(f *testing.F) {
	f.Add([]byte(beforeUpdate))
	f.Add([]byte(fraudCases))
	f.Add([]byte("cases: &a [*a]\nconfig: [*a]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := Parse("a.yaml", raw, none)
		if err != nil {
			if _, ok := errors.AsType[problem.List](err); !ok {
				t.Fatalf("not a list of problems: %v", err)
			}
			return
		}

		changed := map[int]Result{}
		for n := range file.Cases {
			changed[n] = Result{Outcome: Modified, Reason: "a.b", Key: []byte("it's"), Value: []byte("\xff"), Headers: []Header{{"h", nil}}}
			if e := file.Cases[n].Expect; e != nil && e.Key != nil && e.Key.Pattern == nil {
				changed[n] = Result{Outcome: Modified, Reason: e.Reason, Key: e.Key.Bytes, Value: []byte("\xff")} // some of it holds
			}
		}
		after, err := file.Update(changed)
		if err != nil {
			return
		}

		again, err := Parse("a.yaml", after, none)
		if err != nil || len(again.Cases) != len(file.Cases) {
			t.Fatalf("updated to\n%s\n%v", after, err)
		}
		for n, c := range again.Cases {
			e := c.Expect
			if e == nil || e.Outcome != Modified || !bytes.Equal(e.Value.Bytes, []byte("\xff")) || e.Key != nil && !e.Key.is(changed[n].Key) {
				t.Fatalf("case %d of\n%s", n, after)
			}
		}
	})
}
