package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// maxNesting bounds how deep a signed document nests, far above what a
// statement needs, so that no document exhausts the stack.
const maxNesting = 16

// decodeCanonical decodes one JSON value into v, a pointer to a struct, and
// refuses every spelling that two readers of the same bytes could take
// differently: a name that is not byte for byte the name of a field (the
// standard library also takes names that differ in case, and U+017F for s), a
// name given twice, a required name left out, null, an escape where none is
// needed, a number in other than its shortest form. White space and the order of
// names are free, since tools differ in them.
//
// Fields without omitempty are required. What a json.RawMessage holds is not
// looked at: it is for whoever decodes it.
func decodeCanonical(raw []byte, v any) error {
	w := walker{dec: json.NewDecoder(bytes.NewReader(raw)), raw: raw}
	w.dec.UseNumber()
	if err := w.value(reflect.TypeOf(v).Elem(), 0); err != nil {
		return err
	}
	if _, err := w.dec.Token(); err != io.EOF {
		return errors.New("more follows the value")
	}

	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errors.New(shortened(err.Error()))
	}

	return nil
}

// walker goes through a document beside the type that it is to be decoded into,
// and compares the spelling of every token with the only one allowed.
type walker struct {
	dec *json.Decoder
	raw []byte
}

// token returns the next token and the bytes that it was written with, without
// the separators before it.
func (w *walker) token() (json.Token, []byte, error) {
	from := w.dec.InputOffset()
	tok, err := w.dec.Token()
	if err == io.EOF {
		return nil, nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, nil, errors.New(shortened(err.Error()))
	}

	text := w.raw[from:w.dec.InputOffset()]
	return tok, bytes.TrimLeft(text, " \t\r\n:,"), nil
}

// value walks one value, of type t; nil is a type that has no objects in it.
// What it accepts every reader takes alike.
func (w *walker) value(t reflect.Type, depth int) error {
	if depth > maxNesting {
		return errors.New("nested too deep")
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		return w.dec.Decode(new(json.RawMessage))
	}

	tok, text, err := w.token()
	if err != nil {
		return err
	}

	switch tok := tok.(type) {
	case json.Delim:
		return w.compound(tok, t, depth)
	case string:
		return spelledOnce(tok, text)
	case json.Number:
		n, err := tok.Int64()
		if err != nil || strconv.FormatInt(n, 10) != string(text) {
			return fmt.Errorf("the number %s is not a whole number in its shortest form", quoted(string(text)))
		}
	case nil:
		return errors.New("null stands where a value is needed")
	}

	return nil
}

// compound walks an array or an object, whose opening token was read.
func (w *walker) compound(open json.Delim, t reflect.Type, depth int) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if open == '{' {
		return w.object(t, depth)
	}

	var element reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		element = t.Elem()
	}

	for w.dec.More() {
		if err := w.value(element, depth+1); err != nil {
			return err
		}
	}

	_, _, err := w.token()
	return err
}

// object walks the fields of an object, whose opening brace was read. A struct
// takes its own fields only; a map takes any name, each once.
func (w *walker) object(t reflect.Type, depth int) error {
	fields := fieldsOf(t)
	given := map[string]bool{}
	for w.dec.More() {
		tok, text, err := w.token()
		if err != nil {
			return err
		}

		name, _ := tok.(string) // the decoder takes nothing else as a name
		f, known := fields[name]
		switch {
		case fields != nil && !known:
			return fmt.Errorf("unknown field %s", quoted(name))
		case given[name]:
			return fmt.Errorf("field %s is given twice", quoted(name))
		}

		given[name] = true

		if err := spelledOnce(name, text); err != nil {
			return err
		}
		if err := w.value(f.kind, depth+1); err != nil {
			return err
		}
	}

	for name, f := range fields {
		if f.required && !given[name] {
			return fmt.Errorf("field %s is missing", name)
		}
	}

	_, _, err := w.token()
	return err
}

type field struct {
	kind     reflect.Type
	required bool
}

// fieldsOf are the fields of a struct by their names in JSON. It is nil for
// other types, whose objects may have any names.
func fieldsOf(t reflect.Type) map[string]field {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}

	fields := make(map[string]field, t.NumField())
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = field{kind: t.Field(i).Type, required: options != "omitempty"}
	}

	return fields
}

// spelledOnce refuses a string that is not written as JSON encoders write it:
// an escape for a letter hides what is signed from a person who reads it, and
// from tools that search for it. Encoders differ in whether <, > and & are
// escaped, and U+2028 and U+2029; both are accepted.
func spelledOnce(s string, text []byte) error {
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)

	if err := enc.Encode(s); err != nil {
		return err
	}

	escaped, err := json.Marshal(s)
	if err != nil {
		return err
	}

	if bytes.Equal(text, bytes.TrimSpace(plain.Bytes())) || bytes.Equal(text, escaped) {
		return nil
	}
	return fmt.Errorf("the text %s is not in its plain spelling", quoted(s))
}
