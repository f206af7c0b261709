package problem

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DecodeYAML decodes the only document of raw into v. Unknown keys, doubled keys,
// wrong types and a second document are problems, each with its line; an empty
// document leaves v as it is and is reported as io.EOF, since for some files it
// is no fault. Every other error is a List.
func DecodeYAML(raw []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)

	err := dec.Decode(v)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return placed(ofYAML(err), raw, v)
	}

	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return List{{Message: "the file holds more than one YAML document"}}
	}
	return nil
}

// unknown begins the message about a key that no field is for. Messages are
// told apart by it, so that it is spelled once.
const unknown = "unknown key "

// placed gives the library's problems, which have a line, their column, and those
// of unknown keys the key that may have been meant.
func placed(l List, raw []byte, v any) List {
	var doc yaml.Node
	if yaml.Unmarshal(raw, &doc) != nil || len(doc.Content) == 0 {
		return l
	}

	meant := unknownKeys(doc.Content[0], reflect.TypeOf(v), 0)
	for i, p := range l {
		same := func(m Problem) bool {
			text, _, _ := strings.Cut(m.Message, ";")
			return m.Line == p.Line && text == p.Message
		}
		if at := slices.IndexFunc(meant, same); at >= 0 {
			l[i] = meant[at]
			continue
		}

		l[i].Column = columnOf(&doc, p.Line, quoted(p.Message))
	}

	return l
}

// quoted is the document's own text that a message of this file quotes between
// backticks, as far as the library did not cut it off.
func quoted(message string) string {
	_, after, _ := strings.Cut(message, "`")
	text, _, _ := strings.Cut(after, "`")
	return strings.TrimSuffix(text, "...")
}

// ofYAML takes the library's errors apart into one problem each. Its type
// errors are a list; its syntax errors are one text.
func ofYAML(err error) List {
	texts := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		texts = te.Errors
	}

	var l List
	for _, text := range texts {
		l = append(l, ofText(strings.TrimPrefix(text, "yaml: ")))
	}

	return l
}

var atLine = regexp.MustCompile(`^line ([0-9]+): `)

// ofText keeps the line of one of the library's texts and says the rest without
// the Go types that it names.
func ofText(text string) Problem {
	var p Problem
	if m := atLine.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(text, m[0])
	}

	if before, _, ok := strings.Cut(text, " in type "); ok {
		text = strings.Replace(before, "field ", unknown, 1)
		text = strings.TrimSuffix(text, " not found")
	}

	if m := mistyped.FindStringSubmatch(text); m != nil {
		text = "found " + kindOf(m[1]) + m[2] + ", want " + wanted(m[3])
	}

	p.Message = text
	return p
}

var mistyped = regexp.MustCompile("(?s)^cannot unmarshal !!([a-z]+)( `.*`)? into (.*)$")

// kindOf is YAML's own word for what a document has, by the short form of the
// library's tag.
func kindOf(tag string) string {
	switch tag {
	case "seq":
		return "a sequence"
	case "map":
		return "a mapping"
	case "str":
		return "the text"
	}
	return "the " + tag
}

// wanted is YAML's word for what a Go type is read from. Whoever writes a
// document knows nothing of Go's types.
func wanted(goType string) string {
	switch goType = strings.TrimLeft(goType, "*"); {
	case strings.HasPrefix(goType, "[]"):
		return "a sequence"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "string":
		return "a text"
	case goType == "bool":
		return "true or false"
	case goType == "time.Time":
		return "a time such as 2030-01-31T12:00:00Z"
	case goType == "time.Duration":
		return "a duration such as 30s"
	}
	return "a mapping"
}
