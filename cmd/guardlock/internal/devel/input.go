package devel

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms/cases"
)

// maxLineBytes bounds a record that is read from a file or a pipe.
const maxLineBytes = 64 << 20

// inputFlags are those of commands that give records to a module.
type inputFlags struct {
	config  string
	topic   string
	key     string
	headers []string
	routes  []string
	records bool
	build   bool
}

func (f *inputFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "file with the module's configuration (default: the one beside the module)")
	flags.StringVar(&f.topic, "topic", cases.DefaultTopic, "topic of the records")
	flags.StringVar(&f.key, "key", "", "key of the records (default: null)")
	flags.StringArrayVar(&f.headers, "header", nil, "NAME=VALUE, a header of the records; more than once for more")
	flags.StringArrayVar(&f.routes, "route", nil, "a topic that the module may send records to; more than once for more")
	flags.BoolVar(&f.build, "build", false, "build the module first, as guardlock module build does; MODULE is its directory")
	flags.BoolVar(&f.records, "records", false, "each line is a whole record in JSON, as `guardlock consume --json` prints it")
}

// load reads a module, and what it is started with.
func (f *inputFlags) load(cmd *cobra.Command, path string) (module, cases.Setup, error) {
	m, err := loadBuilt(cmd, path, f.build)
	if err != nil {
		return module{}, cases.Setup{}, err
	}
	setup, err := f.setup(m)
	return m, setup, err
}

// setup is what the module is started with.
func (f *inputFlags) setup(m module) (cases.Setup, error) {
	s := cases.Setup{Config: m.config, Routes: f.routes, Tables: m.beside().Table}
	if f.config == "" {
		return s, nil
	}

	config, err := disk.Read(f.config, signing.MaxConfigBytes)
	if err != nil {
		return s, fmt.Errorf("reading the configuration: %w", err)
	}
	s.Config = config

	return s, nil
}

// template is a record that has no value yet.
func (f *inputFlags) template(cmd *cobra.Command) (cases.Record, error) {
	r := cases.Record{Topic: f.topic, Timestamp: cases.DefaultTimestamp}
	if cmd.Flags().Changed("key") {
		r.Key = []byte(f.key)
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return r, exit.Usagef("--header %q is not of the form NAME=VALUE", h)
		}
		r.Headers = append(r.Headers, cases.Header{Key: name, Value: []byte(value)})
	}

	return r, nil
}

// openInput opens the file that args name behind the module, or standard input.
func openInput(cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	if len(args) < 2 || args[1] == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}

	f, err := os.Open(args[1])
	if err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	return f, nil
}

// recordReader reads one record from each line.
type recordReader struct {
	in       *bufio.Reader
	template cases.Record
	json     bool
	line     int
}

func (f *inputFlags) reader(in io.Reader, template cases.Record) *recordReader {
	return &recordReader{in: bufio.NewReaderSize(in, 64<<10), template: template, json: f.records}
}

// next reads a record; io.EOF ends them.
func (r *recordReader) next() (cases.Record, error) {
	line, err := r.readLine()
	if err != nil {
		return cases.Record{}, err
	}

	record := r.template
	if !r.json {
		record.Value = line
		return record, nil
	}
	if err := parseRecord(line, &record); err != nil {
		return record, exit.WithHint(fmt.Errorf("reading records: line %d: %w", r.line, err),
			`a record is {"key": …, "value": …, "headers": [{"key": …, "value": …}], "timestamp": …}; key and value are texts or null`)
	}

	return record, nil
}

// readLine is the next line without its end. The last one may have none.
func (r *recordReader) readLine() ([]byte, error) {
	r.line++
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLineBytes:
			return nil, fmt.Errorf("reading records: line %d has more than %d bytes", r.line, maxLineBytes)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("reading records: %w", err)
		}

		line = bytes.TrimSuffix(line, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
}

// recordLine is a record in JSON, as `consume --json` prints it too. What is not
// UTF-8 is in base64, in a field of another name.
type recordLine struct {
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

// parseRecord takes over what a line says; the template's remains for the rest.
func parseRecord(line []byte, r *cases.Record) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var l recordLine
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
	r.Headers = append([]cases.Header(nil), r.Headers...)
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, cases.Header{Key: h.Key, Value: bytesOf(h.Value, h.ValueBase64)})
	}

	return nil
}

func bytesOf(text *string, raw []byte) []byte {
	if text == nil {
		return raw
	}
	return []byte(*text)
}

// newRecordLine is the JSON form of key, value and headers.
func newRecordLine(key, value []byte, headers []cases.Header) *recordLine {
	l := &recordLine{Headers: []headerLine{}}
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
