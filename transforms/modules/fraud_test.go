package modules_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

const fraudConfig = `{"threshold":80,"route_threshold":40,"on_wrong_type":"fire","rules":[
	{"path":"$.customer.email","op":"in","value":["abcdefgh","",true,12.5],"weight":11},
	{"path":"$.a[*].b","op":"gt","value":1e18,"weight":13,"reason":"fraud.amount"},
	{"path":"$.a[*].b","op":"missing","weight":17,"reason":"fraud.time"},
	{"path":"$..x","op":"lt","value":-3.25,"weight":19,"reason":"fraud.card"},
	{"path":"$..iban","op":"exists","weight":23,"reason":"fraud.account"},
	{"path":"$.m.*","op":"ne","value":"abcdefgh","weight":29,"reason":"fraud.device"},
	{"path":"$..straße","op":"not_in","value":["abcdefgh",false],"weight":31,"reason":"fraud.identity"},
	{"path":"$..ssn","op":"eq","value":false,"weight":7,"reason":"fraud.country"}]}`

type refScore struct {
	Path   string
	Op     string
	Value  json.RawMessage
	Weight int
	Reason string
}

// firesOn says what a rule makes of one value that is not null, with exact
// rationals, and whether the value is of a type that it can judge.
func (r *refScore) firesOn(t *tree) (fires, fits bool) {
	if r.Op == "exists" || r.Op == "missing" {
		return true, true
	}
	operands := parseTree(r.Value)
	if operands.kind != '[' {
		operands = &tree{items: []*tree{operands}}
	}
	if !slices.ContainsFunc(operands.items, func(o *tree) bool { return typeOf(o) == typeOf(t) }) {
		return true, false
	}

	if r.Op == "gt" || r.Op == "lt" {
		v, _ := new(big.Rat).SetString(t.text)
		limit, _ := new(big.Rat).SetString(string(r.Value))
		return v.Cmp(limit) == map[string]int{"gt": 1, "lt": -1}[r.Op], true
	}

	in := slices.ContainsFunc(operands.items, func(o *tree) bool { return same(o, t) })
	return in != (r.Op == "ne" || r.Op == "not_in"), true
}

func typeOf(t *tree) string {
	switch {
	case t.kind != 'l':
		return string(t.kind)
	case t.text == "true" || t.text == "false":
		return "boolean"
	case t.text == "null":
		return "null"
	}
	return "number"
}

func same(a, b *tree) bool {
	if a.kind != b.kind {
		return false
	}
	x, ok1 := new(big.Rat).SetString(a.text)
	y, ok2 := new(big.Rat).SetString(b.text)
	if a.kind == 'l' && ok1 && ok2 {
		return x.Cmp(y) == 0
	}

	return a.text == b.text
}

// visitAll shows every place of a tree.
func visitAll(t *tree, at []place, f func(*tree, []place)) {
	f(t, at)
	for i, item := range t.items {
		p := place{index: i}
		if t.kind == '{' {
			p = place{name: t.keys[i], index: -1}
		}
		visitAll(item, append(slices.Clone(at), p), f)
	}
}

// refReasons is what each reason adds to the score, the most first.
func refReasons(rules []refScore, fired []bool) string {
	var parts []string
	firing := slices.Clone(rules)
	slices.SortStableFunc(firing, func(a, b refScore) int { return b.Weight - a.Weight })
	for _, r := range firing {
		if fired[slices.Index(names(rules), r.Reason)] {
			parts = append(parts, fmt.Sprintf("%s:%d", r.Reason, r.Weight))
		}
	}

	if parts == nil {
		return ""
	}
	return ";reasons=" + strings.Join(parts, ",")
}

// names are the rules' reasons, each of which one rule has.
func names(rules []refScore) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.Reason
	}
	return out
}

// refVerdict scores a value, and says which rules fire. A reason without a score
// is why it is refused.
func refVerdict(rules []refScore, t *tree, fire bool) (score int, reason string, fires []bool) {
	var paths [][]refStep
	for _, r := range rules {
		paths = append(paths, parsePath(r.Path))
	}

	refusal := ""
	visitAll(t, nil, func(v *tree, at []place) {
		// All that is refused is refused for the first of it, in the value's order.
		if refusal != "" {
			return
		}
		wrongType, nested := strange(paths, v, at)
		unfit := false
		for i, r := range rules {
			if typeOf(v) == "null" || len(at) == 0 || !matches(paths[i], at) {
				continue
			}
			if _, fits := r.firesOn(v); !fits && !fire {
				unfit = true
			}
		}

		switch {
		case wrongType:
			refusal = "fraud.wrong_type"
		case nested:
			refusal = "fraud.nested_json"
		case unfit:
			refusal = "fraud.wrong_type"
		}
	})

	if refusal != "" {
		return -1, refusal, nil
	}

	heaviest := 0
	reason = "fraud.allowed"
	fires = make([]bool, len(rules))
	for i, r := range rules {
		fired := r.Op == "missing"
		visitAll(t, nil, func(v *tree, at []place) {
			if typeOf(v) == "null" || len(at) == 0 || !matches(paths[i], at) {
				return
			}
			if fires, _ := r.firesOn(v); fires {
				fired = r.Op != "missing"
			}
		})

		if fires[i] = fired; !fired {
			continue
		}
		if score += r.Weight; r.Weight > heaviest {
			heaviest = r.Weight
			reason = r.Reason
		}
	}

	return score, reason, fires
}

func TestFraudAgreesWithTheReferenceOnRandomValues(t *testing.T) {
	var c struct{ Rules []refScore }
	if err := json.Unmarshal([]byte(fraudConfig), &c); err != nil {
		t.Fatal(err)
	}

	c.Rules[0].Reason = "fraud.score"

	fire := mustOpen(t, "fraud", fraudConfig)
	reject := mustOpen(t, "fraud", strings.Replace(fraudConfig, `"fire"`, `"reject"`, 1))
	gen := &generator{r: rand.New(rand.NewPCG(5, 6))}
	seen := map[string]int{}
	for range 3000 {
		gen.b.Reset()
		gen.value(4)
		v := append([]byte{}, gen.b.Bytes()...)
		seen[checkFraud(t, fire, c.Rules, v, true)]++
		seen["strict "+checkFraud(t, reject, c.Rules, v, false)]++
	}

	for _, want := range []string{"scored", "rejected", "routed", "modified", "strict rejected", "strict routed", "strict modified"} {
		if seen[want] < 20 {
			t.Errorf("the values do not try everything: %s is not often enough in %v", want, seen)
		}
	}
}

// checkFraud holds one value against the reference, and says what was to become
// of it; "scored" is a rejection for the score.
func checkFraud(t *testing.T, g *guest, rules []refScore, v []byte, fire bool) string {
	t.Helper()
	out := g.run(t, input{value: v})[0]
	score, reason, fired := refVerdict(rules, parseTree(v), fire)
	want := record.Modified
	word := "allow"
	kind := "modified"

	switch {
	case score < 0:
		want = record.Rejected
		kind = "rejected"
	case score >= 80:
		want = record.Rejected
		kind = "scored"
	case score >= 40:
		want = record.Routed
		word = "route"
		kind = "routed"
	default:
		reason = "fraud.allowed"
	}

	if out.verdict != want || out.reason != reason {
		t.Fatalf("%s %s, want %s %s for score %d of %s", out.verdict, out.reason, want, reason, score, v)
	}
	if want == record.Rejected {
		return kind
	}
	if text := fmt.Sprintf("%s;score=%d%s", word, score, refReasons(rules, fired)); !strings.HasSuffix(string(out.headers), text) {
		t.Fatalf("headers %q, want %s for %s", out.headers, text, v)
	}

	return kind
}

// The guest compares decimals, whatever their spelling and length.
func TestFraudComparesNumbersExactly(t *testing.T) {
	gen := rand.New(rand.NewPCG(7, 8))
	number := func() string {
		s := []string{"", "-"}[gen.IntN(2)] + fmt.Sprint(gen.IntN(3)*gen.IntN(200))
		if gen.IntN(2) == 0 {
			s += "." + strings.Repeat("0", gen.IntN(3)) + fmt.Sprint(gen.IntN(100)) + strings.Repeat("0", gen.IntN(20))
		}
		if gen.IntN(2) == 0 {
			s += []string{"e", "E+", "e-", "E0"}[gen.IntN(4)] + fmt.Sprint(gen.IntN(4))
		}

		return s
	}

	r := newRuntime(t)
	for range 40 {
		limit := number()
		bound, _ := new(big.Rat).SetString(limit)
		g, err := open(t, r, "fraud", `{"threshold":3,"rules":[{"path":"$.x","op":"gt","value":`+limit+`,"weight":3},
			{"path":"$.x","op":"ge","value":`+limit+`,"weight":1},{"path":"$.x","op":"eq","value":`+limit+`,"weight":1}]}`)
		if err != nil {
			t.Fatal(err)
		}

		for range 200 {
			x := number()
			v, _ := new(big.Rat).SetString(x)
			out := g.run(t, input{value: []byte(`{"x":` + x + `}`)})[0]
			want := map[int]string{-1: "score=0", 0: "score=2;reasons=fraud.score:2", 1: ""}[v.Cmp(bound)]
			if want == "" && out.verdict != record.Rejected || want != "" && !strings.HasSuffix(string(out.headers), want) {
				t.Fatalf("%s against %s: %s %q", x, limit, out.verdict, out.headers)
			}
		}
	}
}

func payment(i int) []byte {
	return []byte(fmt.Sprintf(`{"id":"p-%08d","amount":%d.%02d,"currency":"EUR","country":"DE","created":"2026-03-14T09:26:53Z",`+
		`"card":{"present":true,"brand":"visa","last4":"4242"},"merchant":{"id":"m-77","name":"Bookshop","category":"retail"},`+
		`"velocity":{"last_hour":%d,"last_day":9}}`, i, 10+i%500, i%100, i%5))
}

func BenchmarkFraud(b *testing.B) {
	recs := make([]input, 200)
	for i := range recs {
		recs[i].value = payment(i)
	}
	b.Run("guest", func(b *testing.B) { bench(b, "fraud", example(b, "fraud"), recs) })
	b.Run("go-unmarshal-struct", func(b *testing.B) { benchNativeFraud(b, recs) })
}

// benchNativeFraud is the example's rules by hand, over a typed struct.
func benchNativeFraud(b *testing.B, recs []input) {
	b.ReportAllocs()
	b.SetBytes(int64(len(recs[0].value)))
	total := 0
	for i := 0; i < b.N; i++ {
		var p struct {
			Amount            *float64
			Currency, Country string
			Merchant          struct{ Category string }
			Velocity          struct {
				LastHour float64 `json:"last_hour"`
			}
			Card struct{ Present *bool }
		}
		if err := json.Unmarshal(recs[i%len(recs)].value, &p); err != nil {
			b.Fatal(err)
		}

		for _, hit := range []bool{*p.Amount > 10000, *p.Amount > 100000, !slices.Contains([]string{"EUR", "USD", "GBP", "CHF"}, p.Currency),
			slices.Contains([]string{"KP", "IR", "SY"}, p.Country), p.Merchant.Category == "gambling", p.Velocity.LastHour >= 10, !*p.Card.Present} {
			if hit {
				total++
			}
		}
	}

	_ = total
}
