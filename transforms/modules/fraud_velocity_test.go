package modules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// velocityRule is a configuration with one rule, of the values at $.x.
func velocityRule(within string, moreThan int, options string) string {
	return fmt.Sprintf(`{"threshold":100,"rules":[{"path":"$.x","op":"velocity","within":"%s","more_than":%d,"weight":7,"reason":"fraud_velocity.card"%s}]}`,
		within, moreThan, options)
}

// counted tells whether the rule of velocityRule fired.
func counted(out output) bool {
	return bytes.HasSuffix(out.headers, []byte("allow;score=7;reasons=fraud_velocity.card:7"))
}

// The count of a window is never less than what came in it, and holds at most what came
// up to a sixteenth of the window before.
func TestFraudVelocityCountsAWindow(t *testing.T) {
	const window, moreThan = 60_000, 3
	g := mustOpen(t, "fraud-velocity", velocityRule("60s", moreThan, ""))
	r := rand.New(rand.NewPCG(3, 4))
	spellings := []string{`"%d"`, `%d`, `%d.0`, `%d0e-1`, `"\u003%d"`}
	came := map[int][]int64{}
	at := int64(1_700_000_000_000)
	fired, quiet := 0, 0
	for range 4000 {
		at += r.Int64N(10_000)
		card := 1 + r.IntN(3)
		came[card] = append(came[card], at)
		surely, perhaps := 0, 0
		for _, then := range came[card] {
			if then > at-window {
				surely++
			}
			if then >= at-window-window/16 {
				perhaps++
			}
		}

		value := fmt.Appendf(nil, `{"x":`+spellings[r.IntN(len(spellings))]+`}`, card)
		switch got := counted(g.run(t, input{value: value, at: at})[0]); {
		case got && perhaps <= moreThan:
			t.Fatalf("fired on %s, which came %d times", value, perhaps)
		case !got && surely > moreThan:
			t.Fatalf("did not fire on %s, which came %d times", value, surely)
		case got:
			fired++
		default:
			quiet++
		}
	}

	if fired < 400 || quiet < 400 {
		t.Errorf("fired %d times, and did not %d times", fired, quiet)
	}
}

// velocityKey is what the reference takes for one key: texts by what they say, numbers
// by their value, and plain whole numbers as the text of their digits.
func velocityKey(t *tree) string {
	if t.kind == 's' {
		return "text " + t.text
	}
	n, _ := new(big.Rat).SetString(t.text)
	if digits := new(big.Int).Abs(n.Num()).String(); n.IsInt() && len(digits) <= 64 {
		return "text " + n.Num().String()
	}
	return "number " + n.RatString()
}

// Two values are one key exactly where the reference says so.
func FuzzFraudVelocityKeys(f *testing.F) {
	for _, pair := range [][2]string{
		{`"a"`, `"\u0061"`}, {`"7"`, `7`}, {`7`, `7.0`}, {`70`, `7e1`}, {`0`, `-0.0e5`}, {`-7`, `"-7"`}, {`0.5`, `5e-1`}, {`0.5`, `"0.5"`},
		{`1e63`, `"1e63"`}, {`1e64`, `10e63`}, {`1e64`, `1e65`}, {`""`, `"\u0000"`}, {`"\ud800"`, `"\ufffd"`}, {`12.50`, `12.5`}, {`100.10`, `100.1`},
	} {
		f.Add(pair[0], pair[1])
	}
	g := mustOpen(f, "fraud-velocity", velocityRule("1s", 1, ""))
	at := int64(0)

	f.Fuzz(func(t *testing.T, a, b string) {
		one := parseTree([]byte(a))
		other := parseTree([]byte(b))
		for _, v := range []*tree{one, other} {
			if v == nil || v.kind != 's' && !jsonNum.MatchString(v.text) || len(a) > 500 || len(b) > 500 {
				return
			}
			if _, exponent, _ := strings.Cut(strings.ToLower(v.text), "e"); v.kind != 's' && len(exponent) > 4 {
				return // a fraction of as many digits takes too long to make
			}
		}

		at += 10_000
		outs := g.run(t, input{value: []byte(`{"x":` + a + `}`), at: at}, input{value: []byte(`{"x":` + b + `}`), at: at})
		for _, out := range outs {
			if out.verdict == record.Rejected { // a text that looks like JSON of paths that go on, or frames
				return
			}
		}
		if got, want := counted(outs[1]), velocityKey(one) == velocityKey(other); got != want || counted(outs[0]) {
			t.Errorf("%s and %s are one key: %v, want %v", a, b, got, want)
		}
	})
}

// What cannot be counted fires, and each rule counts for itself.
func TestFraudVelocityErrsOnTheSafeSide(t *testing.T) {
	r := newRuntime(t)
	value := func(x string) input { return input{value: []byte(`{"x":` + x + `}`), at: 1_700_000_000_000} }
	for x, fires := range map[string]bool{
		`"` + strings.Repeat("x", 1023) + `"`: false, `"` + strings.Repeat("x", 1024) + `"`: true,
		strings.Repeat("9", 900) + `.5`: false, strings.Repeat("9", 1100) + `.5`: true, `1e-` + strings.Repeat("9", 1100): false,
	} {
		g, err := open(t, r, "fraud-velocity", velocityRule("1s", 1, ""))
		if err != nil {
			t.Fatal(err)
		}
		if out := g.run(t, value(x))[0]; counted(out) != fires {
			t.Errorf("a value of %d bytes: %s %q", len(x), out.reason, out.headers)
		}
	}

	// A gateway that has just started does not know what came before.
	g, err := open(t, r, "fraud-velocity", velocityRule("1s", 1, `,"on_incomplete":"fire"`))
	if err != nil {
		t.Fatal(err)
	}
	if out := g.run(t, value(`"a"`))[0]; !counted(out) {
		t.Errorf("at first, with on_incomplete fire: %q", out.headers)
	}
	later := value(`"a"`)
	later.at = 5_000_000_000_000 // long after this process began
	if out := g.run(t, later)[0]; counted(out) {
		t.Errorf("long after the start, with on_incomplete fire: %q", out.headers)
	}

	for _, x := range []string{`true`, `{}`, `["a"]`} {
		if out := g.run(t, value(x))[0]; out.reason != "fraud_velocity.wrong_type" {
			t.Errorf("%s: %s (%s)", x, out.verdict, out.reason)
		}
	}
	if out := g.run(t, value(`null`))[0]; counted(out) {
		t.Errorf("null was counted: %q", out.headers)
	}
}

func TestFraudVelocityRefusesConfigurations(t *testing.T) {
	r := newRuntime(t)
	rule := func(name, members string) {
		_, err := open(t, r, name, `{"threshold":1,"rules":[{"path":"$.x","weight":1,`+members+`}]}`)
		if err == nil || !strings.Contains(err.Error(), "refused its configuration") {
			t.Errorf("%s: %s: %v", name, members, err)
		}
	}

	for _, members := range []string{
		`"op":"velocity"`, `"op":"velocity","within":"60s"`, `"op":"velocity","more_than":2`, `"op":"velocity","within":"60s","more_than":2,"value":1`,
		`"op":"velocity","within":"60","more_than":2`, `"op":"velocity","within":"s","more_than":2`, `"op":"velocity","within":"0s","more_than":2`,
		`"op":"velocity","within":"-1s","more_than":2`, `"op":"velocity","within":"169h","more_than":2`, `"op":"velocity","within":"1d","more_than":2`,
		`"op":"velocity","within":60,"more_than":2`, `"op":"velocity","within":"60s","more_than":-1`, `"op":"velocity","within":"60s","more_than":2,"on_incomplete":"reject"`,
		`"op":"exists","within":"60s"`, `"op":"gt","value":1,"more_than":2`, `"op":"exists","on_incomplete":"fire"`,
	} {
		rule("fraud-velocity", members)
	}
	rule("fraud", `"op":"velocity","within":"60s","more_than":2`)
}

var verdictText = regexp.MustCompile(`(allow|route);.*`)

// fraud's own configurations mean the same to fraud-velocity.
func TestFraudVelocityScoresAsFraud(t *testing.T) {
	plain := mustOpen(t, "fraud", fraudConfig)
	both := mustOpen(t, "fraud-velocity", strings.ReplaceAll(fraudConfig, "fraud.", "fraud_velocity."))
	gen := &generator{r: rand.New(rand.NewPCG(15, 16))}
	for range 1000 {
		gen.b.Reset()
		gen.value(4)
		v := bytes.Clone(gen.b.Bytes())
		one := plain.run(t, input{value: v})[0]
		other := both.run(t, input{value: v})[0]
		verdict := string(verdictText.Find(one.headers))
		also := strings.ReplaceAll(string(verdictText.Find(other.headers)), "fraud_velocity.", "fraud.")
		if one.verdict != other.verdict || one.reason != strings.Replace(other.reason, "fraud_velocity.", "fraud.", 1) || verdict != also {
			t.Fatalf("%s (%s) %q, and %s (%s) %q, for %s", one.verdict, one.reason, one.headers, other.verdict, other.reason, other.headers, v)
		}
	}
}

// BenchmarkFraudVelocity counts a card and an account besides fraud's rules: a hundred
// thousand payments by as many cards as a busy minute has.
func BenchmarkFraudVelocity(b *testing.B) {
	recs := make([]input, 200)
	for i := range recs {
		var fields map[string]any
		if err := json.Unmarshal(payment(i), &fields); err != nil {
			b.Fatal(err)
		}
		fields["card"].(map[string]any)["id"] = fmt.Sprint("card-", i*7919%5000)
		fields["account"] = fmt.Sprint("account-", i*104729%3000)
		recs[i].value, _ = json.Marshal(fields)
		recs[i].at = 1_700_000_000_000 + int64(i)*20
	}

	rules := strings.ReplaceAll(example(b, "fraud-velocity"), `"more_than": 2,`, `"more_than": 1000000,`)
	b.Run("counting", func(b *testing.B) {
		bench(b, "fraud-velocity", strings.ReplaceAll(rules, `"more_than": 10,`, `"more_than": 1000000,`), recs)
	})
	b.Run("fraud", func(b *testing.B) { bench(b, "fraud", example(b, "fraud"), recs) })
}
