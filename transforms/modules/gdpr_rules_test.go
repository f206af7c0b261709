package modules_test

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

// carrier brings a text to a rule in one of the places that rules have, and reads
// what became of it.
type carrier struct {
	name   string
	config func(rule string) string
	put    func(text string) input
	get    func(tb testing.TB, out output) string
}

var carriers = []carrier{
	{
		"json",
		func(rule string) string { return `{"rules":[{"path":"$.a[*].b",` + rule + `}]}` },
		func(text string) input {
			s, _ := json.Marshal(text)
			return input{value: []byte(`{"a":[{"b":` + string(s) + `,"c":1}]}`)}
		},
		func(tb testing.TB, out output) string {
			var v struct{ A []struct{ B string } }
			if err := json.Unmarshal(out.value, &v); err != nil {
				tb.Fatalf("%q: %v", out.value, err)
			}
			return v.A[0].B
		},
	},
	{
		"csv",
		func(rule string) string {
			return `{"format":"csv","columns":["x","Secret","y"],"delimiter":";","rules":[{"column":"secret",` + rule + `}]}`
		},
		func(text string) input {
			quoted := `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
			return input{value: []byte("1;" + quoted + ";3\r\n4;;5\n")}
		},
		func(tb testing.TB, out output) string {
			rest := bytes.TrimPrefix(out.value, []byte("1;"))
			if bytes.HasPrefix(rest, []byte(`"`)) {
				// The library makes one line end of two, so a quoted field is read by hand.
				end := bytes.Index(rest, []byte("\";3\r\n"))
				return strings.ReplaceAll(string(rest[1:end]), `""`, `"`)
			}
			r := csv.NewReader(bytes.NewReader(out.value))
			r.Comma = ';'
			rows, err := r.ReadAll()
			if err != nil {
				tb.Fatalf("%q: %v", out.value, err)
			}
			return rows[0][1]
		},
	},
	{
		"text",
		func(rule string) string { return `{"format":"text","rules":[{"in":"value",` + rule + `}]}` },
		func(text string) input { return input{value: []byte(text)} },
		func(_ testing.TB, out output) string { return string(out.value) },
	},
	{
		"header",
		func(rule string) string { return `{"rules":[{"header":"User",` + rule + `}]}` },
		func(text string) input {
			other := "other"
			user := "USER"
			return input{value: []byte("no JSON, which nobody looks at"), headers: appendHeaders(nil, []header{{&other, nil}, {&user, &text}, {&other, &other}})}
		},
		func(tb testing.TB, out output) string {
			p := out.headers
			n, size := binary.Varint(p)
			p = p[size:]
			if n != 3 {
				tb.Fatalf("%d headers in %q", n, out.headers)
			}
			p = bytes.TrimPrefix(p, []byte("\x0aother\x01\x08USER"))
			length, size := binary.Varint(p)
			return string(p[size : size+int(length)])
		},
	},
	{
		"key",
		func(rule string) string { return `{"rules":[{"in":"key",` + rule + `}]}` },
		func(text string) input { return input{key: []byte(text)} },
		func(_ testing.TB, out output) string { return string(out.key) },
	},
}

// texts are what rules are tried on: of each kind, hostile ones and wrong ones.
var texts = []string{
	"alice@example.com", "a@b.co", "ab@b.co", "ann@b.co", "änne@b.co", "a@b@c.de", "@", "@x.de", "nobody", "x@",
	"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1112", "378282246310005", "6304000000000000000", "501800000009",
	"4222222222222", "4111a111111111111", "411111111111", "DE89370400440532013000", "de89 3704 0044 0532 0130 00", "DE88370400440532013000",
	"GB29NWBK60161331926819", "NO9386011117947", "DE89", "FR1420041010050500013M02606", "+49 30 901820", "030/901820", "12345", "(555) 123-4567",
	"1984-02-29", "1983-02-29", "2000-02-29", "1900-02-29", "1984-13-01", "1984-00-01", "1984-01-00", "1984-01-31T23:59:60Z", "1984-01-31 10:00", "1984-01-311",
	"9999-12-31", "0000-01-01", "84-01-31", "31.01.1984", "1984-1-31", "1984-01-31t", "1984/01/31", "１９８４-01-31",
	"192.168.17.23", "1.2.3.4", "256.1.1.1", "1.2.3", "1.2.3.4.5", "01.02.03.004", "::1", "::", "2001:db8:1:2:3:4:5:6", "2001:db8::", "::ffff:10.1.2.3", "::ffff:a01:203",
	"2001:db8::1::2", "2001:db8:1:2:3:4:5:6:7", "2001:0db8:0000:0001::", "fe80::1%eth0", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
	":1:2:3:4:5:6:7", "1::1.2.3.4", "1.2.3.4::", "12345::", ":", ":::", "1:", "g::",
	"0", "-0", "9", "10", "-1", "-10", "-10.0", "-0.5", "99.99999999999999999999999999", "1e2", "1.5E+1", "1e-3", "-1e-3", "1e400", "-1e400", "1e-400", "-1e-999999999999999999999",
	"0e999999999999", "89.999", "90", "90.1", "-20", "-20.1", "-21", "99999999999999999", "100000000000000000", "99999999999999999.9", "-99999999999999999.9",
	"1000000000000000000000000", "01", "1.", ".5", "+1", "1e", "NaN", "0x10", " 1", "1 ", strings.Repeat("9", 64), strings.Repeat("9", 65), "4", "5", "6",
	"日本語", "a\"b;c,d\r\ne\\f", "\x00\x01\x1f\u007f\u2028", "\ufeffx", "*", "😀", strings.Repeat("é", 300), " padded ",
}

// randomText makes one of the alphabet that the readers of texts look at.
func randomText(r *rand.Rand) string {
	if r.IntN(3) > 0 {
		// One of the others, damaged.
		p := []rune(texts[r.IntN(len(texts))])
		at := r.IntN(len(p) + 1)
		return string(p[:at]) + string([]rune("0149:.-eE+@ DaTzé*;\"")[r.IntN(20)]) + string(p[min(len(p), at+r.IntN(2)):])
	}

	var b strings.Builder
	for range 1 + r.IntN(24) {
		b.WriteString(string([]rune("0123456789:.-eE+@ abfDTz")[r.IntN(24)]))
	}
	return b.String()
}

// checkText holds what a guest makes of a text against the reference.
func checkText(tb testing.TB, g *guest, c carrier, rule textRule, text string) {
	tb.Helper()
	out := g.run(tb, c.put(text))[0]
	want, ok := rule.apply(text)
	if !ok {
		if out.verdict != record.Rejected || out.reason != "gdpr.unreadable" {
			tb.Fatalf("%s in %s: %q is %s (%s) and not unreadable", rule.config, c.name, text, out.verdict, out.reason)
		}
		return
	}

	if out.verdict > record.Modified {
		tb.Fatalf("%s in %s: %q is %s (%s), want %q", rule.config, c.name, text, out.verdict, out.reason, want)
	}
	if got := c.get(tb, out); got != want {
		tb.Fatalf("%s in %s: %q became %q, want %q", rule.config, c.name, text, got, want)
	}
}

// Each rule makes the same of a text in each place, and what the reference makes.
func TestGDPRTextsAgreeWithTheReference(t *testing.T) {
	runtime := newRuntime(t)
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			for n, rule := range textRules {
				g, err := open(t, runtime, "gdpr", c.config(rule.config))
				if err != nil {
					t.Fatal(err)
				}

				r := rand.New(rand.NewPCG(uint64(n), 5))
				for _, text := range texts {
					checkText(t, g, c, rule, text)
				}
				for range 300 {
					checkText(t, g, c, rule, randomText(r))
				}
			}
		})
	}
}

func FuzzGDPRTexts(f *testing.F) {
	runtime := newRuntime(f)
	guests := map[string]*guest{}
	for _, c := range carriers {
		for _, rule := range textRules {
			g, err := open(f, runtime, "gdpr", c.config(rule.config))
			if err != nil {
				f.Fatal(err)
			}
			guests[c.name+rule.config] = g
		}
	}

	for i, text := range texts {
		f.Add(uint8(i), uint8(i), text)
	}
	f.Fuzz(func(t *testing.T, place, rule uint8, text string) {
		if text == "" || len(text) > 4096 || !utf8.ValidString(text) {
			return
		}
		c := carriers[int(place)%len(carriers)]
		r := textRules[int(rule)%len(textRules)]
		checkText(t, guests[c.name+r.config], c, r, text)
	})
}

// found is what find makes of a text: what is hidden is gone, the rest as it was.
var found = []struct{ text, want string }{
	{"nothing here", "nothing here"},
	{"write to alice@example.com.", "write to [email]."},
	{"<a@b.co>, Ünal.Örs@exämple.de; \"a b\"@x.de", "<[email]>, [email]; [email]"},
	{"@handle, a@b, 3 @ 5", "@handle, a@b, 3 @ 5"},
	{"card 4111 1111 1111 1111 exp 12/27", "card [card] exp 12/27"},
	{"4111-1111-1111-1111,378282246310005", "[card],[card]"},
	{"4111\u00a01111\u20131111.1111", "[card]"},
	{"no card 4111 1111 1111 1112", "no card 4111 1111 1111 1112"},
	{"order 123 4111111111111111", "order 123 [card]"},
	{"order 41111111111111112345678", "order 41111111111111112345678"},
	{"IBAN DE89 3704 0044 0532 0130 00 and", "IBAN [iban] and"},
	{"iban:de89370400440532013000", "iban:[iban]"},
	{"xDE89370400440532013000y", "x[iban]y"},
	{"DE88370400440532013000x", "DE88370400440532013000x"},
	{"from 192.168.1.20:8080", "from [ip]:8080"},
	{"version 1.2.3.4.5 of 10.0", "version 1.2.3.4.5 of 10.0"},
	{"at 2001:db8::1, ::ffff:1.2.3.4.", "at [ip], [ip]."},
	{"at 12:30:45, std::vector", "at 12:30:45, std::vector"},
	{"call +49 (0)30 901820-17 now", "call [phone] now"},
	{"call 0049 30 901820", "call [phone]"},
	{"call (030) 901820 or 555-123-4567", "call [phone] or [phone]"},
	{"on 01.02.2026, 2026-03-14, 14/03/2026", "on 01.02.2026, 2026-03-14, 14/03/2026"},
	{"id 12345678, 0.12345678", "id 12345678, 0.12345678"},
	{"tel:+4930901820,bob@x.org", "tel:[phone],[email]"},
	{"", ""},
}

func TestGDPRFindsInFreeText(t *testing.T) {
	runtime := newRuntime(t)
	for _, c := range carriers {
		g, err := open(t, runtime, "gdpr", c.config(`"action":"find"`))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			out := g.run(t, c.put(f.text))[0]
			if got := c.get(t, out); got != f.want || (out.verdict == record.Modified) != (f.text != f.want) {
				t.Errorf("in %s, %q became %q (%s), want %q", c.name, f.text, got, out.verdict, f.want)
			}
		}
	}
}

// Personal data stands in random words and digits, written in each way that is usual.
// Its digits must not come out, nor a name of an address.
func TestNoPlantedTextSurvivesGDPR(t *testing.T) {
	g := mustOpen(t, "gdpr", carriers[2].config(`"action":"find"`))
	r := rand.New(rand.NewPCG(8, 9))
	separators := []string{"", " ", "-", ".", "\u00a0", "\u2009", "\u2011", " - "}
	plants := []struct {
		groups []string
		core   string
	}{
		{[]string{"4111", "1111", "1111", "1111"}, "1111"},
		{[]string{"5555", "5555", "5555", "4444"}, "5555"},
		{[]string{"3782", "822463", "10005"}, "822463"},
		{[]string{"DE89", "3704", "0044", "0532", "0130", "00"}, "3704"},
		{[]string{"GB29", "NWBK", "6016", "1331", "9268", "19"}, "NWBK"},
		{[]string{"+49", "30", "9018", "2077"}, "9018"},
		{[]string{"(030)", "9018", "2077"}, "9018"},
		{[]string{"annegret.mustermann", "@", "example.com"}, "annegret"},
		{[]string{"203.0.113.77"}, "203.0.113"},
		{[]string{"2001:db8:85a3::8a2e:370:7334"}, "85a3"},
	}
	words := []string{"the", "on", "x", "No.", "#", "7", "über", "日本", "e=", "(", ")", ",", "\"", "a.b", "DE", "+", "@"}
	for range 4000 {
		p := plants[r.IntN(len(plants))]
		separator := separators[r.IntN(len(separators))]
		if p.groups[len(p.groups)-1] == "example.com" {
			separator = ""
		}
		var b strings.Builder
		for range r.IntN(4) {
			b.WriteString(words[r.IntN(len(words))] + " ; ")
		}
		b.WriteString(strings.Join(p.groups, separator))
		for range r.IntN(4) {
			b.WriteString(" ; " + words[r.IntN(len(words))])
		}

		out := g.run(t, input{value: []byte(b.String())})[0]
		if out.verdict != record.Modified || bytes.Contains(out.value, []byte(p.core)) {
			t.Fatalf("%q became %q (%s)", b.String(), out.value, out.verdict)
		}
	}
}

// Searching takes time in proportion to the text, whatever is in it.
func TestGDPRFindsInTimeOfTheText(t *testing.T) {
	for _, unit := range []string{"a", "a@", "a.", "1", "1 ", "1.", ":", "1:", "a:", "+", "(", "+1 ", "DE89", "DE", "\"@", "a\"", "é", "4111 1111 1111 111 ", "0 ", " ", "*"} {
		g := mustOpen(t, "gdpr", carriers[2].config(`"action":"find"`))
		value := []byte(strings.Repeat(unit, (1<<20)/len(unit)))
		if out := g.run(t, input{value: value})[0]; out.verdict > record.Modified {
			t.Errorf("1 MiB of %q are %s (%s)", unit, out.verdict, out.reason)
		}
	}
}

// What another reader of CSV would take for other columns is refused.
func TestGDPRRefusesCSVThatReadersDisagreeAbout(t *testing.T) {
	g := mustOpen(t, "gdpr", `{"format":"csv","columns":["a","b"],"rules":[{"column":"b","action":"redact"}]}`)
	for _, v := range []string{"", "x", "x,y,z", "x,y\nz", "x,y\n\n", "x,\"y", "x,\"y\"z", "x,y\"z", "x,y\rz,w", "x,y\r", "\ufeffx,y", "x;y", "\"x,y\"", "x,y\n\"", "x,\"\"\""} {
		if out := g.run(t, input{value: []byte(v)})[0]; out.verdict != record.Rejected || out.reason != "gdpr.invalid_csv" {
			t.Errorf("%q: %s (%s) %q", v, out.verdict, out.reason, out.value)
		}
	}
	for v, want := range map[string]string{
		"x,y": "x,[redacted]", "x,y\r\n": "x,[redacted]\r\n", "\"x,\n\"\"\",\"y\"\nz,\x00": "\"x,\n\"\"\",[redacted]\nz,[redacted]", ",": ",[redacted]",
	} {
		if out := g.run(t, input{value: []byte(v)})[0]; string(out.value) != want {
			t.Errorf("%q: %s (%s) %q, want %q", v, out.verdict, out.reason, out.value, want)
		}
	}
	if out := g.run(t, input{value: []byte("x,\xff")})[0]; out.reason != "gdpr.invalid_utf8" {
		t.Errorf("not UTF-8: %s (%s)", out.verdict, out.reason)
	}
}

// docRow is a row of the tables in docs/modules/gdpr.md: a configuration or rule, and
// a text before and after.
var docRow = regexp.MustCompile("^\\| `(\\{.*\\})` \\| `(.*)` \\| `(.*)` \\|")

// The examples of the documentation are run.
func TestGDPRDocumentationIsTrue(t *testing.T) {
	doc, err := os.ReadFile("../../docs/modules/gdpr.md")
	if err != nil {
		t.Fatal(err)
	}

	runtime := newRuntime(t)
	rows := 0
	for line := range strings.Lines(string(doc)) {
		m := docRow.FindStringSubmatch(strings.ReplaceAll(line, `\|`, "|"))
		if m == nil {
			continue
		}
		rows++
		config := m[1]
		if !strings.Contains(config, `"rules"`) {
			config = `{"rules":[` + config + `]}`
		}

		name := "gdpr"
		g, err := open(t, runtime, name, config)
		if err != nil {
			name = "gdpr-keys"
			if g, err = open(t, runtime, name, config); err != nil {
				t.Errorf("%s: %v", config, err)
				continue
			}
		}

		out := g.run(t, input{value: []byte(m[2])})[0]
		if got := string(out.value); got != m[3] && out.reason != m[3] {
			t.Errorf("%s: %s became %s (%s), want %s", config, m[2], got, out.reason, m[3])
		}
	}

	if rows < 20 {
		t.Errorf("%d rows of the documentation were run", rows)
	}
}

// Each configuration that a rule could be weaker by than it reads is refused.
func TestGDPRRefusesConfigurations(t *testing.T) {
	runtime := newRuntime(t)
	rules := []string{
		`{"action":"mask"}`, `{"path":"$.a"}`, `{"path":"$.a","column":"a","action":"mask"}`, `{"path":"$.a","action":"masc"}`,
		`{"path":"$.a","action":"mask","as":"pan"}`, `{"path":"$.a","action":"mask","as":"card","keep_last":8}`, `{"path":"$.a","action":"mask","keep_last":65}`,
		`{"path":"$.a","action":"hash","keep_last":1}`, `{"path":"$.a","action":"hash","key":2}`, `{"path":"$.a","action":"hash","purpose":"x"}`,
		`{"path":"$.a","action":"pseudonymise"}`, `{"path":"$.a","action":"pseudonymise","purpose":""}`, `{"path":"$.a","action":"pseudonymise","purpose":"x","key":9}`,
		`{"path":"$.a","action":"generalise"}`, `{"path":"$.a","action":"generalise","to":"week"}`, `{"path":"$.a","action":"generalise","to":"year","step":10}`,
		`{"path":"$.a","action":"generalise","step":0}`, `{"path":"$.a","action":"generalise","step":-1}`, `{"path":"$.a","action":"generalise","step":10,"min":5,"max":4}`,
		`{"path":"$.a","action":"generalise","to":"year","max":4}`, `{"path":"$.a","action":"generalise","step":1.5}`, `{"path":"$.a","action":"find","kinds":[]}`,
		`{"path":"$.a","action":"find","kinds":["email","email"]}`, `{"path":"$.a","action":"find","kinds":["name"]}`, `{"path":"$.a","action":"redact","on_unreadable":"redact"}`,
		`{"in":"key","action":"drop"}`, `{"in":"topic","action":"redact"}`, `{"in":"value","action":"redact"}`, `{"header":"","action":"redact"}`, `{"column":"a","action":"redact"}`,
		`{"path":"$.a","action":"encrypt","purpose":"x"}`, `{"path":"$.a","action":"mask","alphabet":"digits"}`, `{"in":"key","action":"redact"},{"in":"key","action":"mask"}`,
	}
	var configs []string
	for _, r := range rules {
		configs = append(configs, `{"rules":[`+r+`]}`)
	}
	column := `"rules":[{"column":"a","action":"redact"}]`
	configs = append(configs, `{"format":"csv",`+column+`}`, `{"format":"csv","columns":["b"],`+column+`}`, `{"format":"csv","columns":[],`+column+`}`,
		`{"format":"csv","columns":["a"],"delimiter":"x",`+column+`}`, `{"columns":["a"],`+column+`}`, `{"format":"csv","columns":["a"],"unknown_fields":"deny",`+column+`}`,
		`{"format":"csv","columns":["a"],"rules":[{"path":"$.a","action":"redact"}]}`, `{"format":"text","rules":[{"path":"$.a","action":"redact"}]}`,
		`{"format":"text","rules":[{"header":"a","action":"redact"}]}`, `{"format":"xml","rules":[{"in":"value","action":"redact"}]}`)

	for _, config := range configs {
		if _, err := open(t, runtime, "gdpr", config); err == nil || !strings.Contains(err.Error(), "refused its configuration") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// Each member that an action may have is taken.
func TestGDPRKeysOpensWhatItSealed(t *testing.T) {
	runtime := newRuntime(t)
	run := func(config, value string, origin transforms.Origin) output {
		t.Helper()
		g, err := open(t, runtime, "gdpr-keys", config)
		if err != nil {
			t.Fatal(err)
		}
		g.load([]input{{value: []byte(value)}})
		if err := g.chain.Run(t.Context(), &g.batch, origin); err != nil {
			t.Fatal(err)
		}
		r := g.batch.Records[0]
		return output{verdict: r.Verdict, reason: g.module.Reasons()[r.Reason], value: g.batch.Bytes(r.Value)}
	}

	rule := func(action, more string) string {
		return fmt.Sprintf(`{"rules":[{"path":"$..pan","action":%q,"purpose":"cards","key":1%s}]}`, action, more)
	}
	home := transforms.Origin{Topic: "t"}
	plain := `{"pan":"4111111111111111","list":[{"PAN":"4111111111111112"}]}`
	for there, back := range map[string]string{"encrypt": "decrypt", "ff1": "ff1_decrypt"} {
		hidden := run(rule(there, ""), plain, home)
		if hidden.reason != "gdpr_keys.encrypted" || strings.Contains(string(hidden.value), "411111") {
			t.Errorf("%s: %s (%s) %s", there, hidden.verdict, hidden.reason, hidden.value)
		}
		if open := run(rule(back, ""), string(hidden.value), home); string(open.value) != plain || open.reason != "gdpr_keys.decrypted" {
			t.Errorf("%s: %s (%s) %s", back, open.verdict, open.reason, open.value)
		}
		other := strings.Replace(rule(back, ""), "cards", "other", 1)
		if open := run(other, string(hidden.value), home); strings.Contains(string(open.value), "4111111111111111") {
			t.Errorf("%s with another purpose: %s (%s) %s", back, open.verdict, open.reason, open.value)
		}
	}

	token := run(rule("tokenise", ""), plain, home)
	again := run(rule("tokenise", ""), plain, transforms.Origin{Topic: "other"})
	if token.reason != "gdpr_keys.tokenised" || !bytes.Equal(token.value, again.value) || strings.Contains(string(token.value), "411111") {
		t.Errorf("tokens: %s (%s) %s and %s", token.verdict, token.reason, token.value, again.value)
	}

	for _, c := range []struct{ action, more, value string }{
		{"decrypt", "", `{"pan":"bm90IHNlYWxlZA=="}`}, {"decrypt", "", `{"pan":"%"}`}, {"decrypt", "", `{"pan":""}`}, {"decrypt", "", `{"pan":"===="}`},
		{"ff1", "", `{"pan":"4111 1111 1111 1111"}`}, {"ff1", "", `{"pan":"12345"}`}, {"ff1", "", `{"pan":""}`}, {"ff1", "", `{"pan":["4111111111111111"]}`},
		{"ff1", `,"alphabet":"lower"`, `{"pan":"ABCDEF"}`},
	} {
		if out := run(rule(c.action, c.more), c.value, home); out.verdict != record.Rejected || out.reason != "gdpr_keys.unreadable" {
			t.Errorf("%s of %s: %s (%s) %s", c.action, c.value, out.verdict, out.reason, out.value)
		}
	}
}

// What each kind of rule costs on a record of 1 KiB, and what the search in free text
// costs beside regular expressions in Go.
func BenchmarkGDPRRules(b *testing.B) {
	recs := customers(b)
	for _, rule := range textRules {
		place := `"path":"$.customer.email",`
		if strings.Contains(rule.config, "generalise") {
			place = `"path":"$.customer.birth_date","on_unreadable":"redact",`
		}
		b.Run(strings.NewReplacer(`"`, "", ":", "=", ",", "/").Replace(rule.config), func(b *testing.B) {
			bench(b, "gdpr", `{"rules":[{`+place+rule.config+`}]}`, recs)
		})
	}

	b.Run("find/one-field", func(b *testing.B) {
		bench(b, "gdpr", `{"rules":[{"path":"$.orders[*].notes","action":"find"}]}`, recs)
	})
	b.Run("find/whole-value", func(b *testing.B) { bench(b, "gdpr", carriers[2].config(`"action":"find"`), recs) })
	b.Run("find/go-regexp-whole-value", func(b *testing.B) { benchRegexps(b, recs) })
	lines := make([]input, len(recs))
	for i := range lines {
		lines[i].value = []byte(strings.Repeat(fmt.Sprintf("%d,Annegret Mustermann,annegret%d@example.com,Berlin\n", i, i), 20))
	}

	b.Run("csv", func(b *testing.B) {
		bench(b, "gdpr", `{"format":"csv","columns":["id","name","email","city"],"rules":[{"column":"email","action":"mask","as":"email"}]}`, lines)
	})
	b.Run("csv/go", func(b *testing.B) { benchGoCSV(b, lines) })
}

// benchRegexps is what one would write in Go for free text.
func benchRegexps(b *testing.B, recs []input) {
	kinds := []*regexp.Regexp{
		regexp.MustCompile(`[\w.%+-]+@[\w.-]+\.[a-zA-Z]{2,}`),
		regexp.MustCompile(`\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8}\b`),
		regexp.MustCompile(`\b(?:\d[ -]?){12,18}\d\b`),
		regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}\b`),
		regexp.MustCompile(`\+\d(?:[ -]?\d){6,14}`),
	}
	b.SetBytes(int64(len(recs[0].value)))
	for i := 0; i < b.N; i++ {
		value := recs[i%len(recs)].value
		for _, k := range kinds {
			value = k.ReplaceAll(value, []byte("[found]"))
		}
	}
}

func benchGoCSV(b *testing.B, recs []input) {
	b.SetBytes(int64(len(recs[0].value)))
	for i := 0; i < b.N; i++ {
		rows, err := csv.NewReader(bytes.NewReader(recs[i%len(recs)].value)).ReadAll()
		if err != nil {
			b.Fatal(err)
		}

		for _, row := range rows {
			row[2] = refMaskEmail(row[2])
		}
		var out bytes.Buffer
		if err := csv.NewWriter(&out).WriteAll(rows); err != nil {
			b.Fatal(err)
		}
	}
}
