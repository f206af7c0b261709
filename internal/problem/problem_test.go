package problem

import (
	"errors"
	"io"
	"testing"
)

type document struct {
	Name  string   `yaml:"name"`
	Items []string `yaml:"items"`
	Parts []part   `yaml:"parts"`
}

type part struct {
	Color string `yaml:"color"`
}

func TestEachProblemIsReportedWithItsLineAndWithoutGoTypes(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nnames: b\nitem: c\n": "line 2, column 1: unknown key names; did you mean name?; line 3, column 1: unknown key item; did you mean items?",
		"name: a\n  \nzzz: {}\n":       "line 3, column 1: unknown key zzz",
		"parts: [{colour: a}]\n":       "line 1, column 10: unknown key colour; did you mean color?",
		"x: &x {a: 1}\nparts: [*x]\n":  "line 1, column 1: unknown key x; line 1, column 1: unknown key a",
		"name: a\nname: b\n":           `line 2, column 1: mapping key "name" already defined at line 1`,
		"name: [\n":                    "line 1: did not find expected node content",
		"---\n---\nname: b\n":          "the file holds more than one YAML document",
		"a\n":                          "line 1, column 1: found the text `a`, want a mapping",
		"name: [a]\nitems: 1\n":        "line 1, column 1: found a sequence, want a text; line 2, column 8: found the int `1`, want a sequence",
	} {
		var d document
		err := DecodeYAML([]byte(text), &d)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestAnEmptyDocumentIsToldFromABrokenOne(t *testing.T) {
	for _, text := range []string{"", "# nothing\n"} {
		var d document
		if err := DecodeYAML([]byte(text), &d); !errors.Is(err, io.EOF) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestAProblemNamesItsPlaceAsFarAsThereIsOne(t *testing.T) {
	for want, p := range map[string]Problem{
		"is empty":             {Message: "is empty"},
		"a.rego: is empty":     {File: "a.rego", Message: "is empty"},
		"a.rego:7: is empty":   {File: "a.rego", Line: 7, Message: "is empty"},
		"line 7: is empty":     {Line: 7, Message: "is empty"},
		"keys[0]: is empty":    {Path: "keys[0]", Message: "is empty"},
		"line 7: k: is empty":  {Line: 7, Path: "k", Message: "is empty"},
		"a.yaml: k: no number": {File: "a.yaml", Path: "k", Message: "no number"},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProblemsOfFieldsGetTheirLines(t *testing.T) {
	const text = "name: a\nparts:\n  - color: red\n  - &x\n    color: blue\n  - *x\n"
	for path, want := range map[string]Problem{
		"name":           {Line: 1, Column: 1},
		"parts[0]":       {Line: 3, Column: 5},
		"parts[0].color": {Line: 3, Column: 5},
		"parts[1].color": {Line: 5, Column: 5},
		"parts[1].size":  {Line: 4, Column: 5},
		"parts[2].color": {Line: 5, Column: 5},
		"parts[7].color": {Line: 2, Column: 1},
		"other.thing":    {},
	} {
		got := List{{Path: path}}.Locate([]byte(text))[0]
		if got.Line != want.Line || got.Column != want.Column {
			t.Errorf("%s is on line %d, column %d; want %d, %d", path, got.Line, got.Column, want.Line, want.Column)
		}
	}
}

func FuzzDecodeYAML(f *testing.F) {
	f.Add([]byte("name: a\nitems: [b, c]\n"))
	f.Add([]byte("name: a\nname: b\n--- x\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d document
		err := DecodeYAML(raw, &d)

		var l List
		List{{Path: "parts[1].color"}}.Locate(raw)
		if err != nil && !errors.Is(err, io.EOF) && (!errors.As(err, &l) || len(l) == 0) {
			t.Fatalf("neither a list nor the end: %v", err)
		}
	})
}
