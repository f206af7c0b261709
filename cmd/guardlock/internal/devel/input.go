package devel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

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
		return io.NopCloser(disk.Interruptible(cmd.Context(), cmd.InOrStdin())), nil
	}

	f, err := disk.OpenInput(cmd.Context(), args[1])
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
	if err := cases.ParseLine(line, &record); err != nil {
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
