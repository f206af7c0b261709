package jsonpath

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const sample = `{"a": {"b": [1, {"c": "x"}, [2]], "a": null}, "a": -1.5e3, "b c": true, "\u0061": "esc\"aped", "é": {"b": []}}`

func TestPlacesOfPaths(t *testing.T) {
	for path, want := range map[string][]string{
		"$.a":         {`{"b": [1, {"c": "x"}, [2]], "a": null}`, "-1.5e3", `"esc\"aped"`},
		"$.a.b[1].c":  {`"x"`},
		"$.a.b[*]":    {"1", `{"c": "x"}`, "[2]"},
		"$.a.b[2][0]": {"2"},
		"$.a.b[3]":    nil,
		"$.a.*":       {`[1, {"c": "x"}, [2]]`, "null"},
		"$['b c']":    {"true"},
		"$..b":        {`[1, {"c": "x"}, [2]]`, "[]"},
		"$..a":        {`{"b": [1, {"c": "x"}, [2]], "a": null}`, "null", "-1.5e3", `"esc\"aped"`},
		"$.é.b":       {"[]"},
		"$.b[0]":      nil,
	} {
		var p Path
		if err := p.Parse([]byte(path)); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}

		places, err := p.Find(nil, []byte(sample))
		var got []string
		for _, at := range places {
			got = append(got, sample[at.Off:at.Off+at.Len])
		}

		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestOutermostPlacesDoNotOverlap(t *testing.T) {
	var p Path
	if err := p.Parse([]byte("$..a")); err != nil {
		t.Fatal(err)
	}

	places, err := p.FindOutermost(nil, []byte(`{"a":{"a":1},"b":{"a":[{"a":2}]}}`))
	if want := []Place{{5, 7}, {22, 9}}; err != nil || !slices.Equal(places, want) {
		t.Errorf("%v, %v", places, err)
	}
}

func TestTextsThatAreNoPaths(t *testing.T) {
	for _, text := range []string{"", "$", "a", "$a", "$.", "$..", "$..*", "$.a..", "$[", "$[]", "$[-1]", "$[1", "$[1000000000]", "$['a]", "$['']",
		"$['a\\']", "$[a]", "$.a b", "$." + strings.Repeat("a", MaxPath), strings.Repeat("$", 3) + ".a", "$" + strings.Repeat(".a", maxSteps+1)} {
		var p Path
		if p.Parse([]byte(text)) == nil {
			t.Errorf("%q is a path", text)
		}
	}
}

func TestTextsNestedTooDeeplyAreRefused(t *testing.T) {
	var p Path
	_ = p.Parse([]byte("$.a"))
	for depth, ok := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		_, err := p.Find(nil, []byte(strings.Repeat("[", depth)+strings.Repeat("]", depth)))
		if (err == nil) != ok {
			t.Errorf("%d deep: %v", depth, err)
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	var p Path
	_ = p.Parse([]byte("$.a.b[1].c"))
	text := []byte(`{"a": {"b": [1, {"c": "x"}, [2]]}}`)
	places := make([]Place, 0, 8)
	if n := testing.AllocsPerRun(100, func() { places, _ = p.Find(places[:0], text) }); n != 0 || len(places) != 1 {
		t.Errorf("%v allocations, %d places", n, len(places))
	}
}

// FuzzFind holds the walk against encoding/json: the same texts are JSON, and the same
// values are found at the same places.
func FuzzFind(f *testing.F) {
	for _, path := range []string{"$.a", "$..a", "$.a[1].b", "$.*.b", "$['b c']", "$[0][*]"} {
		f.Add(path, sample)
		f.Add(path, `[[1,2],{"a":[0,{"b":"\ud800\\"}]} ]`)
	}

	f.Add("$.a", `{"a":01}`)
	f.Add("$.a", "{\"a\":\"\x1f\"}")
	f.Add("$.a", `{"\ud83d\ude00":1,"a":"\u12g4"}`)
	f.Add("$.a", "\"eight by\x7fte\"")

	f.Fuzz(func(t *testing.T, path, text string) {
		var p Path
		if p.Parse([]byte(path)) != nil {
			return
		}

		places, err := p.Find(nil, []byte(text))
		valid := json.Valid([]byte(text)) && utf8.ValidString(text)
		if valid != (err == nil) && !strings.Contains(text, strings.Repeat("[", 64)) && strings.Count(text, "[")+strings.Count(text, "{") <= maxDepth {
			t.Fatalf("%q is JSON: %t, but %v", text, valid, err)
		}
		if err != nil {
			return
		}

		r := reference{dec: json.NewDecoder(strings.NewReader(text)), text: text, path: p.steps}
		r.dec.UseNumber()
		r.value(nil)

		if !slices.Equal(places, r.found) {
			t.Fatalf("%s in %q: %v, want %v", path, text, places, r.found)
		}

		outer, _ := p.FindOutermost(nil, []byte(text))
		end := uint32(0)
		for _, at := range outer {
			if at.Off < end || !slices.Contains(places, at) {
				t.Fatalf("%v among %v", at, places)
			}
			end = at.Off + at.Len
		}
	})
}

// reference finds values through the tokens of encoding/json, each by its whole
// way from the root.
type reference struct {
	dec   *json.Decoder
	text  string
	path  []step
	found []Place
}

// value reads one value, to which names and indexes lead.
func (r *reference) value(way []any) {
	from := int(r.dec.InputOffset())
	from += len(r.text[from:]) - len(strings.TrimLeft(r.text[from:], " \t\r\n,:"))
	n := len(r.found)

	hit := leads(r.path, way)
	if hit {
		r.found = append(r.found, Place{Off: uint32(from)})
	}

	if opens, _ := r.token().(json.Delim); opens != 0 {
		for index := 0; r.dec.More(); index++ {
			var child any = index
			if opens == '{' {
				child = r.token()
			}
			r.value(append(slices.Clone(way), child))
		}
		r.token()
	}

	if hit {
		r.found[n].Len = uint32(int(r.dec.InputOffset()) - from)
	}
}

func (r *reference) token() json.Token {
	t, err := r.dec.Token()
	if err != nil {
		panic(err)
	}
	return t
}

// leads reports whether a path leads along a way to its end: whether its first steps
// lead along the first parts, for each number of both.
func leads(path []step, way []any) bool {
	reach := make([][]bool, len(way)+1) // by how much of the way, and how many steps
	for n := range reach {
		reach[n] = make([]bool, len(path)+1)
	}

	reach[0][0] = true
	for n, at := range way {
		name, named := at.(string)
		for k, s := range path {
			fits := s.kind == any1 || s.kind == byName && named && name == string(s.name) || s.kind == byIndex && !named && at == s.index
			reach[n+1][k+1] = reach[n+1][k+1] || reach[n][k] && fits
			reach[n+1][k] = reach[n+1][k] || reach[n][k] && s.deep
		}
	}

	return len(way) > 0 && reach[len(way)][len(path)]
}

func BenchmarkFind(b *testing.B) {
	text := []byte(`{"id":123456,"user":{"name":"` + strings.Repeat("n", 40) + `","mail":"someone@example.org"},"items":[` +
		strings.TrimSuffix(strings.Repeat(`{"sku":"abc-123","n":2,"price":19.99},`, 20), ",") + `]}`)
	var p Path
	if err := p.Parse([]byte("$.user.mail")); err != nil {
		b.Fatal(err)
	}

	places := make([]Place, 0, 8)
	b.Run("find", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			places, _ = p.Find(places[:0], text)
		}
	})

	b.Run("json.Valid", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			_ = json.Valid(text)
		}
	})

	if len(places) != 1 || !bytes.HasPrefix(text[places[0].Off:], []byte(`"someone`)) {
		b.Fatalf("found %v", places)
	}
}
