package modules_test

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/guardlock/guardlock/transforms/record"
)

// refCanonical writes a tree as RFC 8785 has it, or says why it cannot.
func refCanonical(b *strings.Builder, t *tree, round bool) error {
	switch t.kind {
	case 's':
		refText(b, t.text)
	case 'l':
		return refLiteral(b, t.text, round)
	case '[':
		b.WriteByte('[')
		for i, item := range t.items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := refCanonical(b, item, round); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case '{':
		return refObject(b, t, round)
	}

	return nil
}

func refObject(b *strings.Builder, t *tree, round bool) error {
	order := make([]int, len(t.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		return slices.Compare(utf16.Encode([]rune(t.keys[x])), utf16.Encode([]rune(t.keys[y])))
	})

	b.WriteByte('{')
	for i, n := range order {
		if i > 0 {
			b.WriteByte(',')
		}
		if i > 0 && t.keys[order[i-1]] == t.keys[n] {
			return errors.New("duplicate_key")
		}
		refText(b, t.keys[n])
		b.WriteByte(':')
		if err := refCanonical(b, t.items[n], round); err != nil {
			return err
		}
	}

	b.WriteByte('}')
	return nil
}

func refText(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case strings.ContainsRune("\b\t\n\f\r", c):
			b.WriteByte('\\')
			b.WriteByte("btn?fr"[c-8])
		case c < ' ':
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}

func refLiteral(b *strings.Builder, text string, round bool) error {
	if text == "true" || text == "false" || text == "null" {
		b.WriteString(text)
		return nil
	}

	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return errors.New("number")
	}
	if !round && !sameDecimal(text, strconv.FormatFloat(v, 'e', -1, 64)) {
		return errors.New("number")
	}

	spelled, _ := json.Marshal(v + 0)
	if v == 0 {
		spelled = []byte("0")
	}
	b.Write(spelled)
	return nil
}

// sameDecimal tells whether two spellings are one number, exactly, whatever their exponents.
func sameDecimal(a, b string) bool {
	x, ex := digitsOf(a)
	y, ey := digitsOf(b)
	return x == y && (x == "" || ex == ey && strings.HasPrefix(a, "-") == strings.HasPrefix(b, "-"))
}

// digitsOf gives the digits that count, and the power of ten of the first.
func digitsOf(s string) (string, int) {
	s = strings.TrimPrefix(strings.ToLower(s), "-")
	mantissa, exponent, _ := strings.Cut(s, "e")
	e, _ := strconv.Atoi(strings.TrimPrefix(exponent, "+"))
	whole, part, _ := strings.Cut(mantissa, ".")
	digits := whole + part
	trimmed := strings.TrimLeft(digits, "0")
	e += len(whole) - (len(digits) - len(trimmed))
	return strings.TrimRight(trimmed, "0"), e
}

// loneSurrogate tells whether a text holds half of a pair, which Go replaces.
func loneSurrogate(v []byte) bool {
	return bytes.ContainsRune(v, utf8.RuneError) || strings.Contains(strings.ToLower(string(v)), `\ud`) || strings.Contains(strings.ToLower(string(v)), `\ufffd`)
}

func checkCanonical(t *testing.T, exact, round *guest, v []byte) {
	t.Helper()
	tree := parseTree(v)
	for _, g := range []*guest{exact, round} {
		out := g.run(t, input{value: v})[0]
		if tree == nil || tree.depth() > 128 {
			if out.verdict != record.Rejected {
				t.Fatalf("%s: not JSON, or too deep: %q", out.verdict, v)
			}
			continue
		}

		var b strings.Builder
		err := refCanonical(&b, tree, g == round)
		switch {
		case out.reason == "convert.lone_surrogate" && loneSurrogate(v):
		case err != nil && out.reason != "convert."+err.Error():
			// Of two faults, either may be told.
			if out.verdict != record.Rejected {
				t.Fatalf("%s (%s), want %v for %q", out.verdict, out.reason, err, v)
			}
		case err == nil && (out.verdict == record.Rejected || string(out.value) != b.String()):
			t.Fatalf("%s (%s): %s, want %s for %q", out.verdict, out.reason, out.value, b.String(), v)
		}
	}
}

const canonicalConfig = `{"from":"json","to":"json"}`

func openCanonical(tb testing.TB) (exact, round *guest) {
	return mustOpen(tb, "convert", canonicalConfig), mustOpen(tb, "convert", `{"from":"json","to":"json","numbers":"round"}`)
}

// Every double is written as ECMAScript writes it, and a number that is none is refused.
func TestConvertWritesNumbersCanonically(t *testing.T) {
	exact, round := openCanonical(t)
	r := rand.New(rand.NewPCG(3, 4))
	texts := []string{"0", "-0", "1e21", "1e20", "999999999999999900000", "1e-6", "1e-7", "0.000001", "5e-324", "2.2250738585072014e-308",
		"1.7976931348623157e308", "5.684341886080802e-14", "9007199254740993", "0.1000000000000000055511151231257827", "1e400", "1e-400",
		"333333333.33333329", "4.50", "2e-3", "123456789012345678", "1424953923781206.2", "4503599627370497.5", "1.5e300", "1e310"}
	for range 3000 {
		v := math.Float64frombits(r.Uint64())
		if v != v || math.IsInf(v, 0) {
			continue
		}
		texts = append(texts, strconv.FormatFloat(v, 'e', -1, 64), strconv.FormatFloat(v, 'e', 20, 64),
			strconv.FormatFloat(math.Round(v)*float64(r.IntN(100)), 'g', r.IntN(20), 64))
	}
	for e := -1070; e < 1023; e += 7 {
		texts = append(texts, strconv.FormatFloat(math.Ldexp(1, e), 'e', -1, 64), strconv.FormatFloat(math.Ldexp(1, e), 'e', 18, 64))
	}
	for _, text := range texts {
		if strings.ContainsAny(text, "IN") {
			continue
		}
		checkCanonical(t, exact, round, []byte(text))
	}
}

func TestConvertWritesRandomValuesCanonically(t *testing.T) {
	exact, round := openCanonical(t)
	gen := &generator{r: rand.New(rand.NewPCG(15, 16))}
	for range 2000 {
		gen.b.Reset()
		gen.value(4)
		checkCanonical(t, exact, round, slices.Clone(gen.b.Bytes()))
	}
}

func FuzzConvertJSON(f *testing.F) {
	exact, round := openCanonical(f)
	for _, s := range []string{`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"ö":7}`, `[1e21,4.50,2e-3,1e-27]`, `"\u000f\n\u0041\\\"\/"`,
		`{"b":{"d":1,"c":2},"a":[]}`, `{"a":1,"\u0061":2}`, "\ufeff1", "1\x00", `["\ud800"]`, `123456789012345678901`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, v []byte) { checkCanonical(t, exact, round, v) })
}

// refCSV reads with encoding/csv; nil where RFC 4180 does not hold either. Go passes over
// empty lines, and over a CR before the last LF of a quoted field.
func refCSV(v []byte) [][]string {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(v, []byte("\ufeff"))))
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil
	}
	return rows
}

// What is CSV to the module is CSV to Go, with the same fields.
func FuzzConvertCSV(f *testing.F) {
	g := mustOpen(f, "convert", `{"from":"csv","to":"json"}`)
	back := mustOpen(f, "convert", `{"from":"json","to":"csv","unknown_fields":"reject","fields":[{"from":"a"},{"from":"b"}]}`)
	for _, s := range []string{"a,b\n1,2\n", "a,b\r\n\"x\"\"y\",\"1\r\n2\"\r\n", "a,b\n1\n", "a,a\n1,2\n", "a,b\n\"x\"y,2\n", "a,b\nx\"y,2\n", "\ufeffa\n1", "a,b\n\"1,2\n",
		"a,b\r1,2\r", "a,b\n\x001,2\n", "a,b\n é, \n", "", "a", "a,b\n,\n\n"} {
		f.Add([]byte(s))
	}

	f.Fuzz(func(t *testing.T, v []byte) {
		out := g.run(t, input{value: v})[0]
		if out.verdict == record.Rejected {
			return
		}
		// Blank lines are rows of one empty field here, and nothing to Go.
		if strings.Contains("\n"+strings.ReplaceAll(strings.TrimPrefix(string(v), "\ufeff"), "\r\n", "\n"), "\n\n") {
			return
		}

		rows := refCSV(v)
		var got []map[string]string
		if err := json.Unmarshal(out.value, &got); err != nil || rows == nil || len(got) != len(rows)-1 {
			t.Fatalf("%q became %s (%v), want %q", v, out.value, err, rows)
		}
		for i, row := range rows[1:] {
			for n, field := range row {
				if want := field; strings.ReplaceAll(got[i][rows[0][n]], "\r\n", "\n") != want {
					t.Fatalf("%q became %s, want %q at row %d", v, out.value, want, i)
				}
			}
		}

		if len(rows[0]) == 2 && rows[0][0] == "a" && rows[0][1] == "b" {
			checkBack(t, back, slices.Clone(out.value), rows)
		}
	})
}

// checkBack holds the CSV that the module writes against the rows that it is of.
func checkBack(t *testing.T, g *guest, v []byte, rows [][]string) {
	t.Helper()
	out := g.run(t, input{value: v})[0]
	if again := refCSV(out.value); !slices.EqualFunc(again, rows, slices.Equal) {
		t.Fatalf("%s became %q, which is %q, want %q", v, out.value, again, rows)
	}
}

// xmlNode is an element as encoding/xml reads it.
type xmlNode struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []xmlNode  `xml:",any"`
}

// leaves collects all texts of an element, in order.
func (n *xmlNode) leaves(out []string) []string {
	for _, a := range n.Attrs {
		out = append(out, a.Value)
	}
	if len(n.Children) == 0 && (len(n.Attrs) == 0 || n.Text != "") {
		out = append(out, n.Text)
	}
	for _, c := range n.Children {
		out = c.leaves(out)
	}
	return out
}

// What is XML to the module is XML to Go, with the same texts.
func FuzzConvertXML(f *testing.F) {
	g := mustOpen(f, "convert", `{"from":"xml","to":"json"}`)
	for _, s := range []string{`<a><b x="1">t</b><b/><c><![CDATA[<&]]>&amp;&#65;&#x1F600;</c></a>`, `<?xml version="1.0" encoding="UTF-8"?><!-- c --><a/>`,
		`<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`, `<a>t<b/></a>`, `<a x="1" x="2"/>`, `<a>&x;</a>`, `<a><b></a></b>`, "<a>1\r\n2\r3</a>", `<a b='"' c="'"/>`, `<a>]]></a>`,
		"\ufeff<a/>", "<a>\x00</a>", `<a xmlns:x="u"><x:b>1</x:b></a>`, `<a><!-- -- --></a>`, `<a/><b/>`} {
		f.Add([]byte(s))
	}

	f.Fuzz(func(t *testing.T, v []byte) {
		out := g.run(t, input{value: v})[0]
		if out.verdict == record.Rejected || bytes.ContainsFunc(v, func(r rune) bool { return r > 127 }) || bytes.Contains(v, []byte("xml")) || bytes.ContainsRune(v, ':') {
			return // Go has rules of its own for names beyond ASCII, and for name spaces
		}

		var n xmlNode
		d := xml.NewDecoder(bytes.NewReader(v))
		err := d.Decode(&n)
		if err == nil {
			_, err = d.Token()
			for err == nil {
				_, err = d.Token()
			}
		}
		if err != io.EOF {
			t.Fatalf("%q became %s, but: %v", v, out.value, err)
		}

		var got []string
		collectTexts(parseTree(out.value), &got)
		want := n.leaves(nil)
		// White space within an attribute becomes a space (XML 1.0, 3.3.3), which Go leaves alone.
		for _, texts := range [][]string{got, want} {
			for i, text := range texts {
				texts[i] = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(text)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%q became %s, with %q, want %q", v, out.value, got, want)
		}
	})
}

func collectTexts(t *tree, out *[]string) {
	if t == nil {
		return
	}
	if t.kind == 's' {
		*out = append(*out, t.text)
	}
	for _, item := range t.items {
		collectTexts(item, out)
	}
}

// Ten megabytes are converted as ten bytes are.
func TestConvertTakesLargeValues(t *testing.T) {
	const rows = 200_000
	row := "customer-000017,\"a \"\"note\"\", é\",12.50,true\n"
	csvText := "id,note,amount,new\n" + strings.Repeat(row, rows)
	g := mustOpen(t, "convert", `{"from":"csv","to":"jsonl","fields":[{"from":"amount","type":"number"},{"from":"id"},{"from":"note"}],"unknown_fields":"drop"}`)
	out := g.run(t, input{value: []byte(csvText)})[0]
	line := `{"amount":12.5,"id":"customer-000017","note":"a \"note\", é"}` + "\n"
	if string(out.value) != strings.Repeat(line, rows) {
		t.Fatalf("%s (%s), %d bytes", out.verdict, out.reason, len(out.value))
	}

	back := mustOpen(t, "convert", `{"from":"jsonl","to":"json"}`)
	out = back.run(t, input{value: slices.Clone(out.value)})[0]
	if len(out.value) != rows*len(line)+1 {
		t.Fatalf("%s (%s), %d bytes", out.verdict, out.reason, len(out.value))
	}

	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 8<<20))
	xmlGuest := mustOpen(t, "convert", `{"from":"xml","to":"json"}`)
	if out = xmlGuest.run(t, input{value: []byte(`<a>` + text + `</a>`)})[0]; len(out.value) != len(text)+2 {
		t.Fatalf("%s (%s), %d bytes", out.verdict, out.reason, len(out.value))
	}
}

func BenchmarkConvert(b *testing.B) {
	for _, c := range []struct{ name, config, value string }{
		{"csv-json", example(b, "convert"), "Customer ID,Amount,New,Note\r\n" + strings.Repeat("c-000017,12.50,true,\"a \"\"note\"\"\"\r\n", 20)},
		{"canonical", canonicalConfig, string(order(7))},
		{"xml-json", `{"from":"xml","to":"json"}`, `<order id="7"><customer>alice</customer>` + strings.Repeat(`<item><sku>A-17</sku><count>2</count></item>`, 10) + `</order>`},
	} {
		b.Run(c.name, func(b *testing.B) {
			recs := slices.Repeat([]input{{value: []byte(c.value)}}, 100)
			if out := mustOpen(b, "convert", c.config).run(b, recs[0])[0]; out.verdict != record.Modified {
				b.Fatalf("%s (%s)", out.verdict, out.reason)
			}
			bench(b, "convert", c.config, recs)
		})
	}
}
