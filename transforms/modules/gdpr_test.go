package modules_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/guardlock/guardlock/transforms/modules"
	"github.com/guardlock/guardlock/transforms/record"
)

const fuzzConfig = `{"rules":[
	{"path":"$.customer.email","action":"mask","keep_last":4},
	{"path":"$.customer.phone","action":"mask","keep_last":2},
	{"path":"$.customer['full name']","action":"redact"},
	{"path":"$.a[*].b","action":"drop"},
	{"path":"$.a[2]","action":"hash","key":1},
	{"path":"$.m.*","action":"mask"},
	{"path":"$..iban","action":"hash"},
	{"path":"$..x..y","action":"drop"},
	{"path":"$..straße","action":"redact"},
	{"path":"$..ssn","action":"redact"},
	{"path":"$.customer.ssn","action":"mask","keep_last":3}]}`

// laxConfig passes what strict options refuse, so that more values reach the
// rules.
var laxConfig = strings.TrimSuffix(fuzzConfig, "}") + `,"on_wrong_type":"pass","nested_json":"pass"}`

func example(tb testing.TB, name string) string {
	c, ok := modules.ExampleConfig(name)
	if !ok {
		tb.Fatalf("no example configuration for %q", name)
	}
	return string(c)
}

// bothGDPR are a module that refuses what paths do not understand, and one that
// lets it pass.
func bothGDPR(tb testing.TB) []*guest {
	tb.Helper()
	strict := mustOpen(tb, "gdpr", fuzzConfig)
	lax := mustOpen(tb, "gdpr", laxConfig)
	lax.lax = true
	return []*guest{strict, lax}
}

// checkGDPR holds one value against the reference.
func checkGDPR(tb testing.TB, g *guest, rules []refRule, value []byte) {
	tb.Helper()
	got := g.run(tb, input{value: value})[0]
	in := parseTree(value)
	if in == nil || in.depth() > 128 {
		if got.verdict != record.Rejected {
			tb.Fatalf("%s for a value that is not acceptable JSON: %q", got.verdict, value)
		}
		return
	}

	in, understood := g.inside.enter(rules, in)
	if !understood {
		if got.verdict != record.Rejected {
			tb.Fatalf("%s for a text that should hold JSON and does not: %s", got.verdict, value)
		}
		return
	}

	if !g.lax && anyStrange(rules, in, g.inside.paths...) {
		if got.verdict != record.Rejected || (got.reason != "gdpr.wrong_type" && got.reason != "gdpr.nested_json") {
			tb.Fatalf("%s (%s) for a value that paths do not understand: %s", got.verdict, got.reason, value)
		}
		return
	}

	want, changed := apply(rules, in, nil)
	if !changed {
		if got.verdict != record.Passed {
			tb.Fatalf("%s (%s), nothing matches in %q", got.verdict, got.reason, value)
		}
		return
	}

	// A mask may leave the bytes as they were: an empty text, a row of stars.
	if same := bytes.Equal(got.value, value); (got.verdict == record.Passed) != same || got.verdict > record.Modified {
		tb.Fatalf("%s (%s), same bytes: %v: %q", got.verdict, got.reason, same, value)
	}
	out := parseTree(got.value)
	if out == nil {
		tb.Fatalf("the output is not JSON: %q from %q", got.value, value)
	}

	out, _ = g.inside.enter(rules, out)
	var a, b strings.Builder
	want.print(&a)
	out.print(&b)

	if a.String() != b.String() {
		tb.Fatalf("from %q\n got %s\nwant %s", value, b.String(), a.String())
	}
}

var hostile = []string{
	``, ` `, `null`, `true`, `"x"`, `0`, `-0`, `-`, `01`, `1.`, `.5`, `1e`, `1e+`, `1E-07`, `+1`, `0x1`, `NaN`, `Infinity`,
	`{}`, `[]`, `{"a":[]}`, `{"a":{}}`, `[{}]`, `{,}`, `[,]`, `[1,]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`,
	`{"a":1 "b":2}`, `{"a":1}}`, `{"a":1}x`, `{"a":1} {"a":1}`, `[1`, `{"a":1`, `{"a`, `{"a\`, `{"a\"`, `"\u12"`, `"\u12g4"`, `"\x"`,
	`tru`, `truex`, `nul`, `falsee`, `[true,false,null]`, "{\"a\":\"\x01\"}", "{\"a\":\"tab\there\"}", "\xef\xbb\xbf{}",
	"{\"customer\":{\"email\":\"\xff\"}}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}", "{}\x00", "\x00{}", "{\"a\":\"\x00\"}",
	`{"customer":{"email":"alice@example.com"}}`,
	`{"customer":{"email":"alice@example.com","email":"second@example.com"},"customer":{"email":"third@example.com"}}`,
	`{"customer":{"\u0065mail":"alice@example.com","em\u0061\u0069l":"x@y.zz","e\/mail":1}}`,
	`{"\u0063ustomer":{"\u0065\u006d\u0061\u0069\u006c":"alice@example.com"}}`,
	`{"customer":{"email":12345678,"phone":-1.5e10,"full name":{"a":[1,2]}}}`,
	`{"customer":{"email":null,"phone":true,"full name":null}}`,
	`{"customer":{"email":{"deep":["alice"]},"phone":["1","2"],"full name":false}}`,
	`{"customer":{"email":"","phone":"1","ssn":"123-45-6789"}}`,
	`{"customer":{"email":"äöü\u00e9\ud83d\ude00\n\"","phone":"日本語"}}`,
	`{"customer":{"email":"\ud800\ud83d\ude00\udc00x"}}`,
	`{"straße":1,"stra\u00dfe":{"x":2},"STRASSE":3}`,
	`{"a":[{"b":1,"c":2},{"c":1,"b":2},{"b":3},{"c":1,"b":2,"d":3}]}`,
	`{"a":[{"b":1}]}`, `{"a":[{"b":1,"b":2}]}`, `{"a":[0,1,2,3]}`, `{"a":[0,1,{"b":1},{"b":2}]}`, `{"a":{"q":{"b":1},"r":{"b":2}}}`,
	`{"m":{"a":1,"b":"two","c":[3],"d":{"e":4},"f":null,"g":true}}`, `{"m":["one",2]}`,
	`{"x":{"y":1,"z":{"y":[1,2],"k":2}},"y":3}`, `{"x":[{"y":1},{"y":2}]}`,
	`{"iban":"DE00 1234","list":[[{"iban":"\u0044E1"}],{"iban":{"iban":"inner"}}]}`,
	" \t\r\n{ \"a\" : [ { \"b\" : 1 , \"c\" : 2 } , { \"c\" : 1 , \"b\" : 2 } ] } \n",
	"{\n    \"customer\": {\n        \"email\": \"alice@example.com\",\n        \"phone\": \"+49 30 1234567\"\n    }\n}\n",
	`{"customer":"email","email":"customer"}`, `{"":{"":1},"customer":{"":"x","email":"y"}}`,
	`{"customer":{"email` + strings.Repeat("x", 300) + `":1,"\u0065mail` + strings.Repeat("x", 2000) + `":"y"}}`,
	`{"customer":{"phone":` + strings.Repeat("9", 4000) + `}}`,
	strings.Repeat("[", 128) + strings.Repeat("]", 128), strings.Repeat("[", 129) + strings.Repeat("]", 129),
	strings.Repeat(`{"x":`, 127) + `{"y":1}` + strings.Repeat("}", 127), strings.Repeat(`{"x":`, 128) + `{"y":1}` + strings.Repeat("}", 128),
	strings.Repeat(`{"q":`, 100000), strings.Repeat("[", 100000),
	`{"customer":{"email":` + strings.Repeat("[", 126) + strings.Repeat("]", 126) + `}}`,
	`{"customer":{"email":` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `}}`,
}

func TestGDPRAgreesWithTheReferenceOnHostileValues(t *testing.T) {
	rules := parseRules(fuzzConfig)
	for _, g := range bothGDPR(t) {
		for _, v := range hostile {
			checkGDPR(t, g, rules, []byte(v))
		}
	}
}

// Every value is cut at every byte: a truncated value is never passed.
func TestGDPRRefusesEveryTruncation(t *testing.T) {
	rules := parseRules(fuzzConfig)
	for _, v := range append([]string{string(customer(t, 7))}, hostile...) {
		if len(v) > 1500 {
			continue
		}
		for _, g := range bothGDPR(t) {
			for i := range len(v) {
				checkGDPR(t, g, rules, []byte(v)[:i])
			}
		}
	}
}

func FuzzGDPR(f *testing.F) {
	guests := bothGDPR(f)
	rules := parseRules(fuzzConfig)
	for _, v := range hostile {
		if len(v) < 4096 {
			f.Add([]byte(v))
		}
	}

	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) >= 1<<20 {
			return
		}
		for _, g := range guests {
			checkGDPR(t, g, rules, append([]byte{}, value...))
		}
	})
}

// generator makes random valid JSON around the names of fuzzConfig.
type generator struct {
	r     *rand.Rand
	b     bytes.Buffer
	level int // of JSON in texts
}

const secret = "S3cr3tS3cr3t"

var genNames = []string{"customer", "email", "phone", "full name", "a", "b", "m", "iban", "x", "y", "straße", "ssn", "other", "emai", "emaill", "e", ""}

func (g *generator) space() {
	for g.r.IntN(6) == 0 {
		g.b.WriteByte(" \n\t\r"[g.r.IntN(4)])
	}
}

// name writes a key, some letters of it in the other case, or one that Unicode
// takes for the same.
func (g *generator) name(s string) {
	if g.r.IntN(3) > 0 {
		g.str(s)
		return
	}

	same := map[rune][]rune{'s': {'S', 'ſ'}, 'k': {'K', 'K'}, 'ß': {'ẞ'}}
	g.str(strings.Map(func(c rune) rune {
		others := append(same[c], unicode.ToUpper(c), c)
		return others[g.r.IntN(len(others))]
	}, s))
}

func (g *generator) str(s string) {
	g.b.WriteByte('"')
	for _, c := range s {
		if c == '"' || c == '\\' || c < ' ' || g.r.IntN(8) == 0 && c < 0x10000 {
			fmt.Fprintf(&g.b, []string{`\u%04x`, `\u%04X`}[g.r.IntN(2)], c)
		} else {
			g.b.WriteRune(c)
		}
	}

	g.b.WriteByte('"')
}

func (g *generator) scalar() {
	switch g.r.IntN(7) {
	case 0:
		fmt.Fprintf(&g.b, "%d", g.r.Int64()-1<<62)
	case 1:
		fmt.Fprintf(&g.b, "%g", g.r.NormFloat64()*1e20)
	case 2:
		g.b.WriteString([]string{"true", "false", "null"}[g.r.IntN(3)])
	case 3:
		g.str(strings.Repeat("é😀x", g.r.IntN(12)))
	case 4:
		g.nested()
	default:
		g.str(strings.Repeat("abcdefgh", g.r.IntN(6)))
	}
}

// nested writes a text that is JSON. Escapes of escapes grow fast, so it is
// small, and few are inside of another.
func (g *generator) nested() {
	if g.level == 2 {
		g.str("{")
		return
	}
	inner := &generator{r: g.r, level: g.level + 1}
	inner.value(1)
	g.str(inner.b.String())
}

func (g *generator) value(depth int) {
	g.space()
	kind := g.r.IntN(4)
	if depth == 0 || kind == 0 {
		g.scalar()
		g.space()
		return
	}

	object := kind != 1
	g.b.WriteByte("[{"[b2i(object)])
	for i := range g.r.IntN(7) {
		if i > 0 {
			g.b.WriteByte(',')
		}
		g.space()
		if object {
			g.name(genNames[g.r.IntN(len(genNames))])
			g.space()
			g.b.WriteByte(':')
		}

		g.value(depth - 1)
	}

	g.space()
	g.b.WriteByte("]}"[b2i(object)])
	g.space()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestGDPRAgreesWithTheReferenceOnRandomValues(t *testing.T) {
	guests := bothGDPR(t)
	rules := parseRules(fuzzConfig)
	gen := &generator{r: rand.New(rand.NewPCG(1, 2))}
	modified := 0
	refused := 0
	for range 3000 {
		gen.b.Reset()
		gen.value(4)
		v := append([]byte{}, gen.b.Bytes()...)
		for _, g := range guests {
			checkGDPR(t, g, rules, v)
		}

		in := parseTree(v)
		if anyStrange(rules, in) {
			refused++
		}
		if _, c := apply(rules, in, nil); c {
			modified++
		}
	}

	if modified < 400 || refused < 400 || refused > 2600 {
		t.Fatalf("%d of the values were to be changed, and %d to be refused by the strict one", modified, refused)
	}
}

// One or two bytes of a valid value are changed: what of that is still JSON, the
// guest and encoding/json must agree on, byte by byte.
func TestGDPRAgreesWithTheReferenceOnDamagedValues(t *testing.T) {
	guests := bothGDPR(t)
	rules := parseRules(fuzzConfig)
	gen := &generator{r: rand.New(rand.NewPCG(11, 12))}
	const bytesToPut = "{}[]\",:\\ u0019.-+eE\x00\x1f\n\x80\xc3\xff\xed\xf0tfn/'"
	for range 3000 {
		gen.b.Reset()
		gen.value(4)
		v := append([]byte{}, gen.b.Bytes()...)
		for range 1 + gen.r.IntN(2) {
			at := gen.r.IntN(len(v) + 1)
			put := bytesToPut[gen.r.IntN(len(bytesToPut))]
			switch {
			case at == len(v) || gen.r.IntN(3) == 0:
				v = slices.Insert(v, at, put)
			case gen.r.IntN(2) == 0:
				v = slices.Delete(v, at, at+1)
			default:
				v[at] = put
			}
		}

		for _, g := range guests {
			checkGDPR(t, g, rules, v)
		}
	}
}

// decoded returns all of a document's text with escapes resolved.
func decoded(p []byte) string {
	var b strings.Builder
	if t := parseTree(p); t != nil {
		t.print(&b)
	}
	return b.String()
}

// A secret stands at a place that the rules cover, in a random document, with
// its keys and itself randomly escaped, and keys in any case. It must not come
// out.
func TestNoPlantedSecretSurvivesGDPR(t *testing.T) {
	g := mustOpen(t, "gdpr", laxConfig)
	gen := &generator{r: rand.New(rand.NewPCG(3, 4))}
	paths := [][]string{{"customer", "email"}, {"customer", "full name"}, {"customer", "phone"}, {"m", "any"},
		{"iban"}, {"q", "iban"}, {"x", "q", "y"}, {"q", "straße"}, {"customer", "ssn"}}
	for range 3000 {
		gen.b.Reset()
		gen.plant(paths[gen.r.IntN(len(paths))])
		out := g.run(t, input{value: append([]byte{}, gen.b.Bytes()...)})[0]
		if out.verdict != record.Modified || strings.Contains(decoded(out.value), secret) || bytes.Contains(out.value, []byte(secret)) {
			t.Fatalf("%s: %q became %q", out.verdict, gen.b.Bytes(), out.value)
		}
	}
}

// plant writes an object in which path leads to the secret.
func (g *generator) plant(path []string) {
	g.space()
	if len(path) == 0 {
		g.str(secret + secret)
		return
	}

	g.b.WriteByte('{')
	for range g.r.IntN(3) {
		g.name(genNames[g.r.IntN(len(genNames))])
		g.b.WriteByte(':')
		g.value(2)
		g.b.WriteByte(',')
	}

	g.name(path[0])
	g.space()
	g.b.WriteByte(':')
	g.plant(path[1:])

	for range g.r.IntN(3) {
		g.b.WriteByte(',')
		g.name(genNames[g.r.IntN(len(genNames))])
		g.b.WriteByte(':')
		g.value(2)
	}

	g.b.WriteByte('}')
}

// customer is a typical record of about 1 KiB.
func customer(tb testing.TB, i int) []byte {
	tb.Helper()
	return []byte(fmt.Sprintf(`{"event":"customer.updated","version":3,"id":"c-%08d","occurred_at":"2026-03-14T09:26:53.589Z",`+
		`"source":{"system":"crm","region":"eu-central-1","build":"2026.3.1-rc4"},`+
		`"customer":{"name":"Annegret Mustermann-Schulze","email":"annegret.mustermann%d@example.com","phone":"+49 30 901820%03d",`+
		`"birth_date":"1984-02-29","address":{"street":"Unter den Linden 77","zip":"10117","city":"Berlin","country":"DE"},`+
		`"preferences":{"newsletter":true,"language":"de-DE","channels":["email","push"],"limit":1250.75}},`+
		`"account":{"iban":"DE89370400440532013000","bic":"COBADEFFXXX","opened":"2019-07-01","balance":20481.16,"overdraft":false},`+
		`"orders":[{"id":918273,"sku":"BOOK-00042","quantity":2,"price":19.99,"notes":"leave with the neighbour on the left"},`+
		`{"id":918274,"sku":"LAMP-00007","quantity":1,"price":89.5,"notes":null}],`+
		`"tags":["gold","newsletter","eu"],"score":0.87,"segments":{"churn_risk":"low","lifetime_value":18234.5,"cohort":"2019-Q3"},`+
		`"trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736","span":"00f067aa0ba902b7","sampled":true}}`, i, i, i%1000))
}

func customers(tb testing.TB) []input {
	recs := make([]input, 200)
	for i := range recs {
		recs[i].value = customer(tb, i)
	}
	return recs
}

// What the walk alone costs, what masking adds, and what the host's HMAC adds;
// then two ways of doing it in Go.
func BenchmarkGDPR(b *testing.B) {
	config := example(b, "gdpr")
	recs := customers(b)
	unhashed := strings.Replace(config, `"hash", "key": 0`, `"mask"`, 1)
	b.Run("guest-nothing-matches", func(b *testing.B) {
		bench(b, "gdpr", `{"rules":[{"path":"$.customer.absent","action":"mask"},{"path":"$..void","action":"drop"}]}`, recs)
	})

	b.Run("guest-shallow", func(b *testing.B) {
		bench(b, "gdpr", `{"rules":[{"path":"$.absent","action":"mask"}]}`, recs)
	})
	b.Run("guest-example-without-hash", func(b *testing.B) { bench(b, "gdpr", unhashed, recs) })
	b.Run("guest-example", func(b *testing.B) { bench(b, "gdpr", config, recs) })
	b.Run("go-json-valid-only", func(b *testing.B) {
		b.SetBytes(int64(len(recs[0].value)))
		for i := 0; i < b.N; i++ {
			if !json.Valid(recs[i%len(recs)].value) {
				b.Fatal("invalid")
			}
		}
	})

	b.Run("go-unmarshal-mask-marshal", func(b *testing.B) { benchNativeGDPR(b, recs) })
}

// benchNativeGDPR is what one would write in Go: the example's rules by hand.
func benchNativeGDPR(b *testing.B, recs []input) {
	b.ReportAllocs()
	b.SetBytes(int64(len(recs[0].value)))
	for i := 0; i < b.N; i++ {
		var doc map[string]any
		if err := json.Unmarshal(recs[i%len(recs)].value, &doc); err != nil {
			b.Fatal(err)
		}

		c := doc["customer"].(map[string]any)
		for field, keep := range map[string]int{"email": 4, "phone": 2} {
			s := c[field].(string)
			c[field] = strings.Repeat("*", len(s)-keep) + s[len(s)-keep:]
		}

		c["name"] = "[redacted]"
		c["address"].(map[string]any)["street"] = "[redacted]"
		delete(c, "birth_date")

		for _, o := range doc["orders"].([]any) {
			delete(o.(map[string]any), "notes")
		}
		account := doc["account"].(map[string]any)
		sum := mac(0, []byte(account["iban"].(string)))
		account["iban"] = hex.EncodeToString(sum)

		if _, err := json.Marshal(doc); err != nil {
			b.Fatal(err)
		}
	}
}
