package modules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
)

// suiteGroup is a schema of the JSON Schema Test Suite and values for it.
type suiteGroup struct {
	Description string
	Schema      json.RawMessage
	Tests       []struct {
		Description string
		Data        json.RawMessage
		Valid       bool
	}
}

func suite(t *testing.T) map[string][]suiteGroup {
	t.Helper()
	files, err := filepath.Glob("validate/testdata/suite/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no suite", err)
	}

	all := map[string][]suiteGroup{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var groups []suiteGroup
		if err := json.Unmarshal(text, &groups); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = groups
	}

	return all
}

// notUnderstood is what makes the module refuse a schema of the suite: keywords and
// patterns that it does not know, references to elsewhere, and formats.
var notUnderstood = regexp.MustCompile(`"(\$id|\$anchor|\$dynamicRef|\$dynamicAnchor|\$vocabulary|unevaluated\w+|content\w+|format)"` +
	`|"\$ref":"[^#]|\\\\p\{`)

// Each schema of the suite is judged as the suite says, or refused before any record.
func TestValidateAgreesWithTheSuite(t *testing.T) {
	r := newRuntime(t)
	judged := 0
	refused := map[string]bool{}
	for file, groups := range suite(t) {
		for _, group := range groups {
			g, err := open(t, r, "validate", `{"duplicate_keys":"pass","schema":`+string(group.Schema)+`}`)
			if err != nil {
				if !strings.Contains(err.Error(), "refused its configuration") || !notUnderstood.Match(group.Schema) {
					t.Errorf("%s: %s: %v: %s", file, group.Description, err, group.Schema)
				}
				refused[file] = true
				continue
			}

			for _, test := range group.Tests {
				judged++
				out := g.run(t, input{value: test.Data})[0]
				if (out.verdict == record.Passed) != test.Valid {
					t.Errorf("%s: %s: %s: %s (%s), valid is %v: %s with %s", file, group.Description, test.Description,
						out.verdict, out.reason, test.Valid, test.Data, group.Schema)
				}
			}
		}
	}

	if judged < 750 {
		t.Errorf("only %d values were judged", judged)
	}
	t.Logf("%d values judged", judged)
}

// Patterns match what Go's regular expressions match, which are linear as well.
func FuzzValidatePattern(f *testing.F) {
	r := newRuntime(f)
	for _, p := range []string{`^a+(b|c)*$`, `[^a-c\d]{2,3}x?`, `(ab|a)(bc|c){0,2}`, `^$`, `\s\w+\S`, `é+|ß`, `(a*)*b`, `a|`, `[]`, `x{0}`, `a{2}{3}`} {
		for _, text := range []string{"", "aab", "xyz", "ab c_1", "é", "abcbc", "aaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
			f.Add(p, text)
		}
	}

	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 60 || !alike(pattern) {
			return
		}

		want, err := regexp.Compile(`(?s)` + strings.ReplaceAll(pattern, ".", `[^\n\r\x{2028}\x{2029}]`))
		if err != nil {
			return
		}

		quoted, _ := json.Marshal(pattern)
		g, err := open(t, r, "validate", `{"schema":{"pattern":`+string(quoted)+`}}`)
		if err != nil {
			return // ECMA-262 has fewer patterns
		}

		value, _ := json.Marshal(text)
		var decoded string
		_ = json.Unmarshal(value, &decoded)
		if got := g.run(t, input{value: value})[0]; (got.verdict == record.Passed) != want.MatchString(decoded) {
			t.Errorf("%q on %q: %s (%s)", pattern, decoded, got.verdict, got.reason)
		}
	})
}

// alike tells whether a pattern means the same to ECMA-262 and to Go.
func alike(pattern string) bool {
	for _, c := range pattern {
		if !strings.ContainsRune(`0123456789abcxyz()|*+?^$.{},[-]é `, c) {
			return false
		}
	}

	for _, differs := range []string{"[]", "[^]", "[["} {
		if strings.Contains(pattern, differs) {
			return false
		}
	}
	if regexp.MustCompile(`[{,]0\d`).MatchString(pattern) {
		return false // {02} is a count to ECMA-262, and text to Go
	}
	return !strings.Contains(pattern, "[") || !strings.Contains(pattern, ".")
}

// No schema and no value make judging slow: it is bounded by steps, and what is too
// complex is refused as that.
func TestValidateBoundsItsWork(t *testing.T) {
	deep := strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100)
	deepest := strings.Repeat(`[{"a":`, 64) + `1` + strings.Repeat(`}]`, 64)
	for _, c := range []struct{ name, schema, value, reason string }{
		{"alternatives of alternatives", `{"$defs":{"x":{"anyOf":[{"items":{"$ref":"#/$defs/x"},"minItems":2},{"items":{"$ref":"#/$defs/x"},"minItems":3}]}},
			"$ref":"#/$defs/x"}`, strings.Repeat(`[`, 40) + `1` + strings.Repeat(`]`, 40), "validate.too_complex"},
		{"a pattern that goes back", `{"pattern":"^(a|aa|a*)*$"}`, `"` + strings.Repeat("a", 100_000) + `b"`, "validate.pattern"},
		{"a repeated pattern", `{"pattern":"(x.{500}){3}y"}`, `"` + strings.Repeat("x", 500_000) + `"`, "validate.too_complex"},
		{"values in values", `{"items":{"$ref":"#"}}`, deep, "unspecified"},
		{"values in values in values", `{"items":{"$ref":"#"},"properties":{"a":{"$ref":"#"}}}`, deepest, "unspecified"},
		{"fields in fields", `{"allOf":[{"properties":{"a":{"$ref":"#"}}}],"items":{"$ref":"#"}}`, deepest, "validate.too_complex"},
		{"alternatives in items", `{"anyOf":[{"items":{"$ref":"#"},"properties":{"a":{"$ref":"#"}}}]}`, deepest, "validate.too_complex"},
		{"hashes of values in values", `{"uniqueItems":true,"items":{"$ref":"#"},"properties":{"a":{"$ref":"#"}}}`, deepest, "unspecified"},
		{"all that can be nested", `{"allOf":[{"if":{"items":{"not":false}},"then":{"anyOf":[{"items":{"$ref":"#"}}]}}]}`, deep, "validate.too_complex"},
		{"items that are alike", `{"uniqueItems":true}`, `[` + strings.Repeat(`{"a":[1,2]},`, 50_000) + `1]`, "validate.duplicate_item"},
	} {
		g := mustOpen(t, "validate", `{"schema":`+c.schema+`}`)
		start := time.Now()
		out := g.run(t, input{value: []byte(c.value)})[0]
		if out.reason != c.reason {
			t.Errorf("%s: %s (%s) after %s, want %s", c.name, out.verdict, out.reason, time.Since(start), c.reason)
		}
	}
}

// Ten megabytes are judged as ten bytes are.
func TestValidateJudgesLargeValues(t *testing.T) {
	g := mustOpen(t, "validate", `{"schema":{"type":"array","items":{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}}}`)
	good := `[` + strings.Repeat(`{"n":12345678,"text":"\u00e9 aé"},`, 10<<20/32) + `{"n":1}]`
	bad := strings.Replace(good, `{"n":1}]`, `{"n":1.5}]`, 1)
	twice := strings.Replace(good, `{"n":1}]`, `{"n":1,"\u006e":1}]`, 1)
	for _, c := range []struct{ value, reason string }{{good, "unspecified"}, {bad, "validate.type"}, {twice, "validate.duplicate_key"}} {
		if out := g.run(t, input{value: []byte(c.value)})[0]; out.reason != c.reason {
			t.Errorf("%s (%s), want %s", out.verdict, out.reason, c.reason)
		}
	}
}

// What is JSON to the module is JSON to Go, but for duplicate keys and depth.
func FuzzValidateJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"c":"\u00e9\ud83d\ude00"}`, "\ufeff{}", "{}\x00", `[1e999]`, `{"a":1,"\u0061":2}`, `["\ud800"]`, `[[[]]]`, ` 1 `} {
		f.Add([]byte(s))
	}
	g := mustOpen(f, "validate", `{"schema":true}`)
	lax := mustOpen(f, "validate", `{"schema":true,"duplicate_keys":"pass"}`)
	f.Fuzz(func(t *testing.T, v []byte) {
		tree := parseTree(v)
		out := lax.run(t, input{value: v})[0]
		if valid := tree != nil && tree.depth() <= 128; (out.verdict == record.Passed) != valid {
			t.Fatalf("%s (%s), but valid is %v: %q", out.verdict, out.reason, valid, v)
		}
		if out.verdict == record.Passed {
			out = g.run(t, input{value: v})[0]
			if twice := hasDuplicates(tree); (out.reason == "validate.duplicate_key") != twice {
				t.Fatalf("%s (%s), but a key is there twice: %v: %q", out.verdict, out.reason, twice, v)
			}
		}
	})
}

func hasDuplicates(t *tree) bool {
	seen := map[string]bool{}
	for _, k := range t.keys {
		if seen[k] {
			return true
		}
		seen[k] = true
	}

	for _, item := range t.items {
		if hasDuplicates(item) {
			return true
		}
	}
	return false
}

func order(i int) []byte {
	return fmt.Appendf(nil, `{"id":"o-%06d","customer":{"email":"alice.%d@mail.example","since":"2024-02-%02d"},`+
		`"items":[{"sku":"A-17","count":2,"price":12.5},{"sku":"B-9","count":1,"price":99.99},{"sku":"C-3","count":7,"price":0.1}]}`, i, i, 1+i%28)
}

func BenchmarkValidate(b *testing.B) {
	recs := make([]input, 200)
	for i := range recs {
		recs[i].value = order(i)
	}

	if out := mustOpen(b, "validate", example(b, "validate")).run(b, recs[0])[0]; out.verdict != record.Passed {
		b.Fatalf("%s (%s)", out.verdict, out.reason)
	}
	b.Run("guest", func(b *testing.B) { bench(b, "validate", example(b, "validate"), recs) })
	b.Run("go-json-valid", func(b *testing.B) {
		b.SetBytes(int64(len(recs[0].value)))
		for i := 0; i < b.N; i++ {
			if !json.Valid(bytes.TrimSpace(recs[i%len(recs)].value)) {
				b.Fatal("not JSON")
			}
		}
	})
}
