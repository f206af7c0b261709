package modules_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// refInside says which texts hold JSON that paths go on in, and what becomes of one
// that does not.
type refInside struct {
	paths   [][]refStep
	redacts bool
}

// enter replaces the texts by what is in them; false where the record is to be refused.
func (r refInside) enter(rules []refRule, t *tree) (*tree, bool) {
	return r.enterAt(rules, t, nil, 0, 0)
}

// enterAt is enter for what stands at a place, with containers and texts around it.
// What a rule takes whole is not looked at.
func (r refInside) enterAt(rules []refRule, t *tree, at []place, around, level int) (*tree, bool) {
	if len(at) > 0 && strongest(rules, at) != nil {
		return t, true
	}
	if t.kind == 's' && slices.ContainsFunc(r.paths, func(p []refStep) bool { return matches(p, at) }) {
		inner := parseTree([]byte(t.text))
		if inner == nil || around+inner.depth() > 128 || level == 8 {
			return &tree{kind: 'r'}, r.redacts
		}
		inner, ok := r.enterAt(rules, inner, at, around, level+1)
		return &tree{kind: 'j', items: []*tree{inner}}, ok
	}

	n := *t
	n.items = nil
	for i, item := range t.items {
		p := place{index: i}
		if t.kind == '{' {
			p = place{name: t.keys[i], index: -1}
		}
		item, ok := r.enterAt(rules, item, append(slices.Clone(at), p), around+1, level)
		if !ok {
			return nil, false
		}
		n.items = append(n.items, item)
	}

	return &n, true
}

// insideGDPR are modules that go into texts: one that refuses what it does not
// understand, and one that redacts it or lets it pass.
func insideGDPR(tb testing.TB) []*guest {
	tb.Helper()
	const places = `,"inside":["$.customer","$..x","$.a[*].e"]`
	strict := mustOpen(tb, "gdpr", strings.TrimSuffix(fuzzConfig, "}")+places+"}")
	lax := mustOpen(tb, "gdpr", strings.TrimSuffix(laxConfig, "}")+places+`,"on_invalid_inside":"redact"}`)
	lax.lax = true
	lax.inside.redacts = true

	guests := []*guest{strict, lax}
	for _, g := range guests {
		g.inside.paths = [][]refStep{parsePath("$.customer"), parsePath("$..x"), parsePath("$.a[*].e")}
	}
	return guests
}

// inText writes a value as the text that holds it, so many times.
func inText(value string, times int) string {
	for range times {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(value); err != nil {
			panic(err)
		}
		value = strings.TrimSuffix(b.String(), "\n")
	}
	return value
}

// hostileInside are texts where JSON is expected.
func hostileInside() []string {
	var values []string
	for _, v := range hostile {
		if len(v) > 4096 || !json.Valid([]byte(inText(v, 1))) {
			continue
		}
		values = append(values, `{"customer":`+inText(v, 1)+`,"x":1}`, `{"q":[{"x":`+inText(v, 2)+`}]}`)
	}

	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return append(values,
		`{"customer":"{\"email\":\"alice@example.com\"}"}`, `{"customer":"{\"\\u0065mail\":\"\\u0061lice@example.com\",\"phone\":\"\\\"\\\\\"}"}`,
		`{"customer":"\u007b\u0022email\u0022\u003a\u0022\ud83d\ude00\ud800bcdefgh\u0022\u007d"}`,
		`{"customer":"{\"email\":\"a\"} "}`, `{"customer":"{\"email\":\"a\"} x"}`, `{"customer":"{}\u0000"}`, `{"customer":""}`, `{"customer":" "}`,
		`{"customer":"null","x":"\"\"","a":[{"e":"1","b":2},{"b":1,"e":"{\"b\":1}"}]}`,
		`{"x":"{\"y\":1}","z":"{\"x\":{\"y\":1,\"q\":2}}"}`, `{"x":"{\"x\":\"{\\\"y\\\":1,\\\"k\\\":\\\"é\\\"}\",\"k\":1}"}`,
		`{"x":"[{\"y\":1},{\"q\":1,\"y\":2},{\"y\":3,\"r\":1,\"y\":4}]","y":5}`,
		`{"iban":1,"x":"{\"iban\":2,\"x\":{\"y\":3}}","iban":4}`, `{"iban":"{\"x\":","x":"{}"}`,
		`{"x":`+inText(deep(127), 1)+`}`, `{"x":`+inText(deep(128), 1)+`}`, `{"x":[`+inText(deep(126), 1)+`]}`, `{"x":[`+inText(deep(127), 2)+`]}`,
		`{"x":`+inText(`{"y":1,"k":2}`, 8)+`}`, `{"x":`+inText(`{"y":1,"k":2}`, 9)+`}`, `{"x":`+inText(`{"x":{"y":1}}`, 3)+`}`)
}

func TestGDPRInsideAgreesWithTheReferenceOnHostileValues(t *testing.T) {
	rules := parseRules(fuzzConfig)
	for _, g := range insideGDPR(t) {
		for _, v := range hostileInside() {
			checkGDPR(t, g, rules, []byte(v))
			for i := range min(len(v), 300) {
				checkGDPR(t, g, rules, []byte(v)[:i])
			}
		}
	}
}

func TestGDPRInsideAgreesWithTheReferenceOnRandomValues(t *testing.T) {
	guests := insideGDPR(t)
	rules := parseRules(fuzzConfig)
	gen := &generator{r: rand.New(rand.NewPCG(5, 6))}
	entered, refused := 0, 0
	for range 6000 {
		gen.b.Reset()
		gen.value(4)
		v := bytes.Clone(gen.b.Bytes())
		for _, g := range guests {
			checkGDPR(t, g, rules, v)
		}

		in, ok := guests[0].inside.enter(rules, parseTree(v))
		if !ok {
			refused++
			continue
		}
		changed, _ := apply(rules, in, nil)
		var b strings.Builder
		changed.print(&b)
		entered += b2i(strings.Contains(b.String(), ":j{"))
	}

	if entered < 20 || refused < 400 || refused > 5000 {
		t.Fatalf("%d of the values had JSON in a text, and %d a text that was none", entered, refused)
	}
}

func FuzzGDPRInside(f *testing.F) {
	guests := insideGDPR(f)
	rules := parseRules(fuzzConfig)
	for _, v := range hostileInside() {
		f.Add([]byte(v))
	}

	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) >= 1<<20 {
			return
		}
		for _, g := range guests {
			checkGDPR(t, g, rules, bytes.Clone(value))
		}
	})
}

// What no rule changes keeps its bytes, in texts as well, however it is escaped there.
func TestGDPRInsideChangesOnlyWhatRulesSay(t *testing.T) {
	const inside = `{"rules":[{"path":"$..ssn","action":"mask","keep_last":2},{"path":"$..gone","action":"drop"}],"inside":["$.p","$..q"]}`
	g := mustOpen(t, "gdpr", inside)
	for from, to := range map[string]string{
		`{"p":"{ \u0022ssn\u0022 :\t\"12345\" ,\"k\":\"\u00e9\\u00e9\/\ud800\"}","z" : 1}`:  `{"p":"{ \u0022ssn\u0022 :\t\"***45\" ,\"k\":\"\u00e9\\u00e9\/\ud800\"}","z" : 1}`,
		`{"p":"{\"gone\":1, \"k\" : 2}", "gone":1}`:                                         `{"p":"{\"k\" : 2}"}`,
		`{"gone":1,"p":"{\"k\" : 2 , \"gone\":1}"}`:                                         `{"p":"{\"k\" : 2 }"}`,
		`{"p":"{\"ssn\":5,\"q\":\"{\\\"ssn\\\":\\\"12345\\\",\\\"k\\\":\\\"\\\\n\\\"}\"}"}`: `{"p":"{\"ssn\":\"*\",\"q\":\"{\\\"ssn\\\":\\\"***45\\\",\\\"k\\\":\\\"\\\\n\\\"}\"}"}`,
		`{"p":{"ssn":"12345"},"q":null}`:                                                    `{"p":{"ssn":"***45"},"q":null}`,
	} {
		out := g.run(t, input{value: []byte(from)})[0]
		if string(out.value) != to {
			t.Errorf("%s became\n%s (%s), want\n%s", from, out.value, out.reason, to)
		}
	}
}

// Options of texts keep what they promise inside of them.
func TestGDPRInsideHoldsToItsOptions(t *testing.T) {
	runtime := newRuntime(t)
	mask := `"rules":[{"path":"$.p.a.b","action":"mask","on_missing":"reject"}],"inside":["$.p"]`
	for _, c := range []struct{ options, value, reason string }{
		{``, `{"p":"{\"a\":{\"b\":\"secret\"}}"}`, "gdpr.masked"},
		{``, `{"p":"{\"a\":{}}"}`, "gdpr.missing_field"},
		{``, `{"p":"{\"a\":1}"}`, "gdpr.wrong_type"},
		{``, `{"p":"{\"a\":\"{\\\"b\\\":1}\"}"}`, "gdpr.wrong_type"},
		{``, `{"p":"{\"a\":"}`, "gdpr.invalid_inside"},
		{``, `{"p":"\"x\""}`, "gdpr.invalid_inside"},
		{``, `{"p":"5"}`, "gdpr.wrong_type"},
		{``, `{"p":` + inText(strings.Repeat("[", 128)+strings.Repeat("]", 128), 1) + `}`, "gdpr.too_deep"},
		{`,"on_invalid_inside":"redact","on_missing":"pass"`, `{"p":"{\"a\":"}`, "gdpr.missing_field"},
		{`,"unknown_fields":"deny"`, `{"p":"{\"a\":{\"b\":\"secret\"}}"}`, "gdpr.masked"},
		{`,"unknown_fields":"deny"`, `{"p":"{\"a\":{\"b\":\"secret\"},\"c\":1}"}`, "gdpr.unknown_field"},
		{`,"on_invalid_json":"pass"`, `{"p":"{\"a\":"}`, "gdpr.invalid_inside"},
	} {
		g, err := open(t, runtime, "gdpr", "{"+mask+c.options+"}")
		if err != nil {
			t.Fatal(err)
		}
		if out := g.run(t, input{value: []byte(c.value)})[0]; out.reason != c.reason {
			t.Errorf("%s with %q: %s (%s), want %s", c.value, c.options, out.verdict, out.reason, c.reason)
		}
	}

	for _, config := range []string{
		`{"rules":[{"path":"$.a","action":"mask"}],"inside":"$.p"}`, `{"rules":[{"path":"$.a","action":"mask"}],"inside":["p"]}`,
		`{"rules":[{"path":"$.a","action":"mask"}],"on_invalid_inside":"redact"}`, `{"inside":["$.p"]}`,
		`{"rules":[{"path":"$.a","action":"mask"}],"inside":["$.p"],"on_invalid_inside":"pass"}`,
		`{"format":"text","rules":[{"in":"value","action":"find"}],"inside":["$.p"]}`,
	} {
		if _, err := open(t, runtime, "gdpr", config); err == nil || !strings.Contains(err.Error(), "refused its configuration") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// A batch whose texts need more room than there is runs again with more.
func TestGDPRInsideTakesLargeTexts(t *testing.T) {
	g := mustOpen(t, "gdpr", `{"rules":[{"path":"$.p[*].ssn","action":"mask"}],"inside":["$.p"]}`)
	var inner, want strings.Builder
	for i := range 20000 {
		inner.WriteString(`,{"k":"` + strconv.Itoa(i) + `","ssn":"123"}`)
		want.WriteString(`,{"k":"` + strconv.Itoa(i) + `","ssn":"***"}`)
	}
	whole := func(b *strings.Builder) []byte { return []byte(`{"p":` + inText("["+b.String()[1:]+"]", 1) + `}`) }

	out := g.run(t, input{value: whole(&inner)})[0]
	if out.verdict != record.Modified || !bytes.Equal(out.value, whole(&want)) {
		t.Errorf("%s (%s), %d bytes", out.verdict, out.reason, len(out.value))
	}
}

// BenchmarkGDPRInside masks four fields of 1 KiB JSON that is the text of a field.
func BenchmarkGDPRInside(b *testing.B) {
	value := []byte(`{"id":7,"payload":` + inText(string(customer(b, 7)), 1) + `}`)
	const config = `{"rules":[{"path":"$.payload.customer.email","action":"mask","keep_last":4},
		{"path":"$.payload..iban","action":"mask"},{"path":"$.payload.customer.phone","action":"mask"}],"inside":["$.payload"]}`
	b.Run("gdpr", func(b *testing.B) { bench(b, "gdpr", config, slices.Repeat([]input{{value: value}}, 64)) })
}
