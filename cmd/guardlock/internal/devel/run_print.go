package devel

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/transforms/cases"
)

// resultPrinter prints what became of records: of each what changed, before and after.
type resultPrinter struct {
	w    io.Writer
	full bool // keys and values whole, however long
}

// write prints one result below a name for its record.
func (t resultPrinter) write(name string, r cases.Record, got cases.Result) {
	fmt.Fprintf(t.w, "%s  %s  %s", name, colourOf(got.Outcome, cli.PaletteFor(t.w))(got.Outcome), cli.Printable(got.Reason))
	if got.Route != "" {
		fmt.Fprintf(t.w, " to %s", cli.Printable(got.Route))
	}

	fmt.Fprintln(t.w)

	if !got.Stored() {
		t.field("value", t.text(r.Value), "")
	}
	if got.Outcome == cases.Failed {
		for line := range strings.Lines(failureText(got)) {
			fmt.Fprintf(t.w, "     %s\n", cli.Printable(strings.TrimSuffix(line, "\n")))
		}
	}

	writePrinted(t.w, "     ", got.Printed)
	if !got.Stored() {
		return
	}

	t.changed("key", r.Key, got.Key)
	t.changed("value", r.Value, got.Value)
	if before, after := headerText(r.Headers), headerText(got.Headers); before != after {
		t.field("headers", before, after)
	}
}

// writePrinted shows what a guest printed as its words, each line escaped and marked, so
// that none passes for one of ours.
func writePrinted(w io.Writer, indent string, said cases.Printed) {
	if said.Text == "" {
		return
	}

	fmt.Fprintf(w, "%sthe module printed:\n", indent)
	for line := range strings.Lines(said.Text) {
		fmt.Fprintf(w, "%s  | %s\n", indent, cli.Printable(strings.TrimSuffix(line, "\n")))
	}
	if said.More > 0 {
		fmt.Fprintf(w, "%s  and %s more\n", indent, cli.Count(said.More, "byte"))
	}
}

// failureWords says how a module failed, and what it printed itself.
func failureWords(r cases.Result) string {
	var printed strings.Builder
	writePrinted(&printed, "", r.Printed)
	return strings.TrimSuffix(failureText(r)+"\n"+printed.String(), "\n")
}

// colourOf is how an outcome is shown.
func colourOf(outcome string, p cli.Palette) func(string) string {
	switch outcome {
	case cases.Passed:
		return p.Green
	case cases.Modified:
		return p.Yellow
	case cases.Rejected, cases.Failed:
		return p.Red
	}
	return p.Bold
}

// text is a key or value as it is printed: its beginning, or the whole of it.
func (t resultPrinter) text(p []byte) string {
	if t.full && len(p) > 0 {
		return string(p)
	}
	return cases.Excerpt(p)
}

// changed prints a key or value before and after, if it is another.
func (t resultPrinter) changed(name string, before, after []byte) {
	if bytes.Equal(before, after) && (before == nil) == (after == nil) {
		return
	}

	from, to := cases.Excerpts(before, after)
	if t.full {
		from = t.text(before)
		to = t.text(after)
	}

	t.field(name, from, to)
}

func (t resultPrinter) field(name, before, after string) {
	fmt.Fprintf(t.w, "     %-7s  %s\n", name, cli.Printable(before))
	if after != "" {
		fmt.Fprintf(t.w, "          to  %s\n", cli.Printable(after))
	}
}

func headerText(headers []cases.Header) string {
	if len(headers) == 0 {
		return "(none)"
	}

	var all []string
	for _, h := range headers {
		all = append(all, h.Key+"="+cases.Excerpt(h.Value))
	}
	return strings.Join(all, ", ")
}
