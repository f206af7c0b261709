package modules_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/modules"
	"github.com/guardlock/guardlock/transforms/record"
)

// vector is one record and what a module must make of it. The files beside the
// modules are also what an approver runs before signing.
type vector struct {
	Name        string          `json:"name"`
	Config      json.RawMessage `json:"config"`
	ConfigText  *string         `json:"config_text"` // for what is not JSON
	Continues   bool            `json:"continues"`   // in the instance of the vector before
	Key         *string         `json:"key"`
	Value       *string         `json:"value"`
	ValueBase64 []byte          `json:"value_base64"`
	Headers     []header        `json:"headers"`
	Expect      struct {
		Verdict string   `json:"verdict"` // or config_refused
		Reason  *string  `json:"reason"`
		Value   *string  `json:"value"`
		Route   uint8    `json:"route"`
		Headers []header `json:"headers"`
	} `json:"expect"`
}

// header is a name and a value, which may be null.
type header [2]*string

func appendHeaders(dst []byte, hs []header) []byte {
	dst = binary.AppendVarint(dst, int64(len(hs)))
	for _, h := range hs {
		dst = append(binary.AppendVarint(dst, int64(len(*h[0]))), *h[0]...)
		if h[1] == nil {
			dst = binary.AppendVarint(dst, -1)
			continue
		}
		dst = append(binary.AppendVarint(dst, int64(len(*h[1]))), *h[1]...)
	}

	return dst
}

func optional(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

func (v *vector) config() string {
	if v.ConfigText != nil {
		return *v.ConfigText
	}
	return string(v.Config)
}

func (v *vector) input() input {
	in := input{key: optional(v.Key), value: optional(v.Value), headers: appendHeaders(nil, v.Headers)}
	if v.ValueBase64 != nil {
		in.value = v.ValueBase64
	}
	return in
}

func (v *vector) check(t *testing.T, got output) {
	t.Helper()
	want := v.Expect
	if got.verdict.String() != want.Verdict || got.route != want.Route {
		t.Fatalf("%s (%s) to route %d, want %s to %d", got.verdict, got.reason, got.route, want.Verdict, want.Route)
	}
	if want.Reason != nil && got.reason != *want.Reason {
		t.Errorf("reason %s, want %s", got.reason, *want.Reason)
	}
	if want.Value == nil {
		want.Value = v.Value
	}
	if want.Value != nil && string(got.value) != *want.Value {
		t.Errorf("value %s, want %s", got.value, *want.Value)
	}
	if want.Headers == nil {
		want.Headers = v.Headers
	}
	if block := appendHeaders(nil, want.Headers); string(got.headers) != string(block) {
		t.Errorf("headers %q, want %q", got.headers, block)
	}
}

func TestVectors(t *testing.T) {
	r := newRuntime(t)
	for _, name := range modules.Names() {
		file, err := os.ReadFile(name + "/vectors.json")
		if errors.Is(err, fs.ErrNotExist) {
			continue // cases say all of it
		}
		if err != nil {
			t.Fatal(err)
		}

		var vectors []vector
		if err := json.Unmarshal(file, &vectors); err != nil {
			t.Fatalf("%s: %v", name, err)
		}

		var g *guest
		for _, v := range vectors {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				if !v.Continues {
					var err error
					g, err = open(t, r, name, v.config())
					if refused := v.Expect.Verdict == "config_refused"; refused || err != nil {
						if !refused || err == nil || !strings.Contains(err.Error(), "refused its configuration") {
							t.Fatalf("opening: %v, want %s", err, v.Expect.Verdict)
						}
						return
					}
				}
				v.check(t, g.run(t, v.input())[0])
			})
		}
	}
}

// An approval grants host functions one by one, so a module must import no more
// than its comment says.
func TestModulesImportOnlyWhatTheyDeclare(t *testing.T) {
	for _, name := range modules.Names() {
		config, _ := modules.ExampleConfig(name)
		g := mustOpen(t, name, string(config))
		var imports []string
		for _, im := range g.module.Info().Imports {
			imports = append(imports, im.String())
		}

		if !slices.Equal(imports, grants[name]) {
			t.Errorf("%s imports %q, want %q", name, imports, grants[name])
		}
		for _, reason := range g.module.Reasons()[1:] {
			if !strings.HasPrefix(reason, strings.ReplaceAll(name, "-", "_")+".") {
				t.Errorf("%s: reason %q does not begin with the module's name", name, reason)
			}
		}
	}
}

func TestUnknownModulesAreNotFound(t *testing.T) {
	for _, name := range []string{"", "include", "../sdk", "gdpr/gdpr"} {
		if _, ok := modules.Wasm(name); ok {
			t.Errorf("found %q", name)
		}
	}
	if _, ok := modules.ExampleConfig("uppercase"); ok {
		t.Error("uppercase takes no configuration")
	}
}

func TestLargeOutputsGrowTheArena(t *testing.T) {
	value := []byte(`{"a":[` + strings.Repeat(`1,`, 100_000) + `1]}`)
	out := mustOpen(t, "gdpr", `{"rules":[{"path":"$.a[*]","action":"redact"}]}`).run(t, input{value: value})[0]
	if want := 100_001 * len(`"[redacted]"`); out.verdict != record.Modified || strings.Count(string(out.value), `"[redacted]"`)*12 != want {
		t.Fatalf("%s (%s), %d bytes", out.verdict, out.reason, len(out.value))
	}
}

// There is no free in a guest, and an instance lives for millions of records: what
// one record needs, the next one uses again.
func TestModulesNeedNoMoreMemoryAfterManyRecords(t *testing.T) {
	for _, c := range []struct{ module, config, value string }{
		{"validate", `{"schema":{"properties":{"s":{"enum":["a\u0062","c\u0064"]},"o":{"const":{"k\u0065y":["\u0061"]}},"u":{"uniqueItems":true}}}}`,
			`{"s":"\u0063d","o":{"\u006bey":["a"]},"u":["\u0061","b",{"c":1}]}`},
		{"convert", `{"from":"json","to":"json","numbers":"round"}`, `{"b":["\u0061",1e0,0.1000000000000000055],"a":"\n","\u0063":{"d":[]}}`},
		{"convert", `{"from":"csv","to":"jsonl"}`, "a,b\n1,\"x\"\"y\"\n2,é\n"},
		{"convert", `{"from":"xml","to":"json"}`, `<a x="1&amp;2"><b>&#65;</b><b><![CDATA[c]]></b></a>`},
		{"fraud", `{"threshold":9,"rules":[{"path":"$.x","op":"suffix","value":"q","weight":1}]}`, `{"x":"\u0061bc"}`},
	} {
		g := mustOpen(t, c.module, c.config)
		recs := slices.Repeat([]input{{value: []byte(c.value)}}, 1000)
		g.run(t, recs...)
		before := g.module.MemoryBytes()
		for range 100 {
			for _, out := range g.run(t, recs...) {
				if out.verdict == record.Rejected {
					t.Fatalf("%s: %s (%s)", c.module, out.verdict, out.reason)
				}
			}
		}

		if after := g.module.MemoryBytes(); after != before {
			t.Errorf("%s %s: %d bytes after 100,000 records, %d before", c.module, c.config, after, before)
		}
	}
}
