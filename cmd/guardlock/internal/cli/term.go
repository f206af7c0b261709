package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Palette colours text, or leaves it alone where colour is not wanted. The zero
// value is without colour.
type Palette struct{ on bool }

// PaletteFor is in colour only on a terminal, never with NO_COLOR
// (https://no-color.org) and never on a dumb terminal.
func PaletteFor(w io.Writer) Palette {
	return Palette{on: IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p Palette) paint(code, s string) string {
	if !p.on {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Bold is for headings.
func (p Palette) Bold(s string) string { return p.paint("1", s) }

// Dim is for what is of less importance.
func (p Palette) Dim(s string) string { return p.paint("2", s) }

// Red is for failures and refusals.
func (p Palette) Red(s string) string { return p.paint("31", s) }

// Green is for what went well.
func (p Palette) Green(s string) string { return p.paint("32", s) }

// Yellow is for warnings.
func (p Palette) Yellow(s string) string { return p.paint("33", s) }

// IsTerminal tells whether rw, a reader or a writer of any kind, is a terminal.
func IsTerminal(rw any) bool {
	f, ok := rw.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Table is rows under a header, aligned in columns when it is written.
type Table struct{ rows [][]string }

// NewTable makes a table without rows. The header's names are the columns.
func NewTable(header ...string) *Table { return &Table{rows: [][]string{header}} }

// Add adds a row, with each cell as fmt prints it and escaped for a terminal.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = Printable(fmt.Sprint(cell))
	}
	t.rows = append(t.rows, row)
}

// Write aligns first and colours whole lines after: tabwriter would count the
// colour codes as text.
func (t *Table) Write(w io.Writer) error {
	var aligned bytes.Buffer
	tw := tabwriter.NewWriter(&aligned, 0, 8, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}

	if err := tw.Flush(); err != nil {
		return err
	}
	p := PaletteFor(w)
	for i, line := range strings.Split(strings.TrimSuffix(aligned.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = p.Bold(line)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}

	return nil
}

// Printable escapes what would drive a terminal, and bytes that are not UTF-8:
// names, records and messages come from outside.
func Printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, drivesTerminal) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case drivesTerminal(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}

		s = s[n:]
	}

	return b.String()
}

// drivesTerminal is true of control characters and of those that change the
// direction of text; the tab is let through.
func drivesTerminal(r rune) bool {
	return r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

// PrintJSON writes one result as an indented document, for people as well as
// for programs.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// PrintJSONLine writes one object of a stream on one line, so that a reader
// need not wait for the end.
func PrintJSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// SortedKeys gives maps one order on the screen, so that two runs print the
// same.
func SortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
