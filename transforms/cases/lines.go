package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"
)

// Line is a record in JSON, as `consume --json` prints it too. What is not
// UTF-8 is in base64, in a field of another name.
type Line struct {
	Topic       string       `json:"topic,omitempty"`
	Partition   int32        `json:"partition,omitempty"`
	Offset      *int64       `json:"offset,omitempty"` // read and of no use
	Timestamp   *time.Time   `json:"timestamp,omitempty"`
	Key         *string      `json:"key"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []headerLine `json:"headers"`
}

type headerLine struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// ParseLine takes over what a line says; the template's remains for the rest.
func ParseLine(line []byte, r *Record) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var l Line
	if err := dec.Decode(&l); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one record stands on it")
	}

	if l.Topic != "" {
		r.Topic = l.Topic
	}
	if l.Timestamp != nil {
		r.Timestamp = l.Timestamp.UnixMilli()
	}
	if key := bytesOf(l.Key, l.KeyBase64); key != nil {
		r.Key = key
	}
	r.Partition = l.Partition
	r.Value = bytesOf(l.Value, l.ValueBase64)
	r.Headers = append([]Header(nil), r.Headers...)
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, Header{Key: h.Key, Value: bytesOf(h.Value, h.ValueBase64)})
	}

	return nil
}

func bytesOf(text *string, raw []byte) []byte {
	if text == nil {
		return raw
	}
	return []byte(*text)
}

// NewLine is the JSON form of key, value and headers.
func NewLine(key, value []byte, headers []Header) *Line {
	l := &Line{Headers: []headerLine{}}
	l.Key, l.KeyBase64 = textOrBytes(key)
	l.Value, l.ValueBase64 = textOrBytes(value)
	for _, h := range headers {
		line := headerLine{Key: h.Key}
		line.Value, line.ValueBase64 = textOrBytes(h.Value)
		l.Headers = append(l.Headers, line)
	}

	return l
}

func textOrBytes(p []byte) (*string, []byte) {
	if p == nil {
		return nil, nil
	}
	if !utf8.Valid(p) {
		return nil, p
	}
	text := string(p)

	return &text, nil
}
