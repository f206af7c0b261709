package problem

import (
	"errors"
	"io"
	"testing"
)

type document struct {
	Name  string   `yaml:"name"`
	Items []string `yaml:"items"`
}

func TestEachProblemIsReportedWithItsLineAndWithoutGoTypes(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nnames: b\nitem: c\n": "line 2: unknown key names; line 3: unknown key item",
		"name: a\nname: b\n":           `line 2: mapping key "name" already defined at line 1`,
		"name: [\n":                    "line 1: did not find expected node content",
		"---\n---\nname: b\n":          "the file holds more than one YAML document",
		"a\n":                          "line 1: found the text `a`, want a mapping",
		"name: [a]\nitems: 1\n":        "line 1: found a sequence, want a text; line 2: found the int `1`, want a sequence",
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

func FuzzDecodeYAML(f *testing.F) {
	f.Add([]byte("name: a\nitems: [b, c]\n"))
	f.Add([]byte("name: a\nname: b\n--- x\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d document
		err := DecodeYAML(raw, &d)

		var l List
		if err != nil && !errors.Is(err, io.EOF) && (!errors.As(err, &l) || len(l) == 0) {
			t.Fatalf("neither a list nor the end: %v", err)
		}
	})
}
