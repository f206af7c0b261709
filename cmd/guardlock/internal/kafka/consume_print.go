package kafka

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// recordPrinter writes records as lines, or as JSON objects with one on a line.
type recordPrinter struct {
	w      *bufio.Writer
	json   bool
	meta   bool
	escape bool // the reader is a terminal
	p      cli.Palette
}

func newRecordPrinter(w io.Writer, json, meta bool) *recordPrinter {
	return &recordPrinter{
		w:      bufio.NewWriter(w),
		json:   json,
		meta:   meta,
		escape: cli.IsTerminal(w),
		p:      cli.PaletteFor(w),
	}
}

func (o *recordPrinter) flush() error { return o.w.Flush() }

func (o *recordPrinter) print(r *kgo.Record) error {
	if o.json {
		return cli.PrintJSONLine(o.w, NewRecordLine(r))
	}
	if o.meta {
		fmt.Fprint(o.w, o.p.Dim(metaOf(r)), "\t")
	}

	value := string(r.Value)
	if r.Value == nil && o.meta {
		value = "(null)"
	}
	if o.escape {
		value = cli.Printable(value)
	}

	_, err := fmt.Fprintln(o.w, value)
	return err
}

// metaOf is everything but the value; it is escaped always, since tabs and
// line ends separate the parts.
func metaOf(r *kgo.Record) string {
	parts := []string{fmt.Sprintf("%d@%d", r.Partition, r.Offset), r.Timestamp.UTC().Format(time.RFC3339Nano)}
	key := "(null)"
	if r.Key != nil {
		key = cli.Printable(string(r.Key))
	}

	parts = append(parts, "key="+key)
	for _, h := range r.Headers {
		parts = append(parts, cli.Printable(h.Key)+"="+cli.Printable(string(h.Value)))
	}
	return strings.Join(parts, " ")
}

// RecordLine is the JSON form of a record. What is not UTF-8 comes in base64,
// in a field of another name.
type RecordLine struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   time.Time    `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []headerLine `json:"headers"`
}

type headerLine struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

// NewRecordLine is the JSON form of a record, as every command prints it.
func NewRecordLine(r *kgo.Record) RecordLine {
	l := RecordLine{
		Topic:     r.Topic,
		Partition: r.Partition,
		Offset:    r.Offset,
		Timestamp: r.Timestamp.UTC(),
		Headers:   []headerLine{},
	}

	l.Key, l.KeyBase64 = textOrBase64(r.Key)
	l.Value, l.ValueBase64 = textOrBase64(r.Value)
	for _, h := range r.Headers {
		line := headerLine{Key: h.Key}
		line.Value, line.ValueBase64 = textOrBase64(h.Value)
		l.Headers = append(l.Headers, line)
	}

	return l
}

func textOrBase64(b []byte) (*string, string) {
	if b == nil {
		return nil, ""
	}
	if !utf8.Valid(b) {
		return nil, base64.StdEncoding.EncodeToString(b)
	}

	s := string(b)
	return &s, ""
}
