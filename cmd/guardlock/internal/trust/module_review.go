package trust

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/rogpeppe/go-internal/diff"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// approvalReview is what an approver sees before saying yes: all of the grant,
// and what in it deserves a second look.
type approvalReview struct {
	files    moduleFiles
	approval signing.Approval
	info     transforms.Info
	author   string
	signed   []byte // the approval, signed and not yet written
	config   []byte
	preview  admission.Verdict
	changes  string // against what runs now; "" is not asked
}

func (r approvalReview) write(w io.Writer) error {
	a := r.approval
	p := cli.PaletteFor(w)
	config := "none"
	if r.files.config != "" {
		config = r.files.config
	}

	lines := [][2]string{
		{"module", r.files.wasm},
		{"  sha256", fmt.Sprintf("%x", a.ModuleDigest)},
		{"  author", r.author},
		{"configuration", config},
		{"  sha256", fmt.Sprintf("%x", a.ConfigDigest)},
		{"topics", strings.Join(a.Topics, ", ")},
		{"may call", orNone(admission.Grouped(a.HostFunctions), "no host function")},
		{"may use secrets", orNone(a.Keys, "none")},
		{"may route to", orNone(a.Routes, "nowhere else")},
		{"for", orNone(a.Audience, "gateways that are part of no environment")},
		{"may give", cmp.Or(reasonsText(len(r.info.Reasons)), "no reason")},
		{"limits", limitsText(a.Limits)},
		{"holds from", a.NotBefore.Format(time.RFC3339)},
		{"holds until", fmt.Sprintf("%s (%s)", a.NotAfter.Format(time.RFC3339), daysText(a.NotAfter.Sub(a.NotBefore)))},
		{"ticket", orNone(nonEmpty(a.Ticket), "none")},
	}
	for _, l := range lines {
		fmt.Fprintf(w, "%-16s %s\n", l[0], cli.Printable(l[1]))
	}

	for _, warning := range r.warnings() {
		fmt.Fprintf(w, "%s %s\n", p.Yellow("note:"), cli.Printable(warning))
	}

	r.writeTexts(w)
	fmt.Fprintf(w, "\n%s\n", p.Bold("what a gateway says once enough people approved"))
	return writeSteps(w, r.preview.Steps)
}

// writeTexts prints the configuration, and what differs from what runs, as
// lines.
func (r approvalReview) writeTexts(w io.Writer) {
	p := cli.PaletteFor(w)
	if n := len(r.info.Reasons); n > 0 {
		fmt.Fprintf(w, "\n%s\n", p.Bold(cli.Count(n, "reason")+" that it may give"))
		writeWrapped(w, r.info.Reasons)
	}
	if len(r.config) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.Bold("configuration"))
		writeText(w, string(r.config))
	}

	if r.changes != "" {
		fmt.Fprintf(w, "\n%s\n", p.Bold("changes to what runs"))
		writeText(w, r.changes)
	}
}

// reasonsText says how many reasons a module has.
func reasonsText(n int) string {
	if n == 0 {
		return ""
	}
	return cli.Count(n, "reason") + ", listed below"
}

// writeWrapped prints all of a list, on as few lines as there are columns for.
func writeWrapped(w io.Writer, list []string) {
	const columns = 100
	line := " "
	for _, s := range list {
		s = cli.Printable(s)
		if len(line)+1+len(s) > columns && line != " " {
			fmt.Fprintln(w, line)
			line = " "
		}
		line += " " + s
	}
	fmt.Fprintln(w, line)
}

// maxShownLines is how much of a text an approver is shown. What is longer is to be
// read in an editor.
const maxShownLines = 200

func writeText(w io.Writer, text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		if i == maxShownLines {
			fmt.Fprintf(w, "  … and %d lines more: read the file before you approve\n", len(lines)-i)
			return
		}
		fmt.Fprintf(w, "  %s\n", cli.Printable(strings.ReplaceAll(line, "\t", "    ")))
	}
}

// compare finds what differs from the module at a path, which is the one that
// runs now.
func (r *approvalReview) compare(path string) error {
	if path == "" {
		return nil
	}

	files, err := findModule(path)
	if err != nil {
		return err
	}

	pkg, err := files.read()
	if err != nil {
		return err
	}

	var b strings.Builder
	if digest := sha256.Sum256(pkg.Wasm); digest == r.approval.ModuleDigest {
		fmt.Fprintln(&b, "module: the same")
	} else {
		fmt.Fprintf(&b, "module: sha256 %x -> %x\n", digest, r.approval.ModuleDigest)
		r.compareInfo(&b, pkg.Wasm)
	}

	r.compareGrant(&b, pkg.Approvals)
	if bytes.Equal(pkg.Config, r.config) {
		fmt.Fprintln(&b, "configuration: the same")
	} else {
		b.Write(diff.Diff(cmp.Or(files.config, "no configuration"), pkg.Config, cmp.Or(r.files.config, "no configuration"), r.config))
	}

	r.changes = b.String()
	return nil
}

// compareInfo holds what a module may do and say against what runs.
func (r *approvalReview) compareInfo(w io.Writer, running []byte) {
	info, err := transforms.Inspect(running, transforms.ScanLimits{})
	if err != nil {
		fmt.Fprintf(w, "imports, reasons: what runs cannot be read: %v\n", err)
		return
	}
	writeChanges(w, "imports", importedFunctions(info), importedFunctions(r.info))
	writeChanges(w, "reasons", info.Reasons, r.info.Reasons)
}

// compareGrant holds the grant against the last one that lies beside what runs. It
// is what its bundle claims, which is enough to be told of a difference.
func (r *approvalReview) compareGrant(w io.Writer, approvals [][]byte) {
	for _, raw := range approvals {
		old, err := signing.ReadUnverified(raw)
		if err != nil {
			continue
		}

		writeChanges(w, "topics", old.Topics, r.approval.Topics)
		writeChanges(w, "may call", old.HostFunctions, r.approval.HostFunctions)
		writeChanges(w, "may use secrets", old.Keys, r.approval.Keys)
		writeChanges(w, "may route to", old.Routes, r.approval.Routes)

		if old.Limits != r.approval.Limits {
			fmt.Fprintf(w, "limits: %s -> %s\n", limitsText(old.Limits), limitsText(r.approval.Limits))
		}
		return
	}

	fmt.Fprintln(w, "grant: no approval of what runs lies beside it")
}

// writeChanges says what a list has more and less than before. An unchanged
// list gives no line.
func writeChanges(w io.Writer, name string, was, is []string) {
	for _, s := range is {
		if !slices.Contains(was, s) {
			fmt.Fprintf(w, "%s: + %s\n", name, s)
		}
	}
	for _, s := range was {
		if !slices.Contains(is, s) {
			fmt.Fprintf(w, "%s: - %s\n", name, s)
		}
	}
}

// manyReasons are more than a module needs to say why: as many as a binding records
// in an hour, unless its gateway says otherwise.
const manyReasons = 64

// warnings are what is legal in a grant and yet worth a thought before it is
// signed.
func (r approvalReview) warnings() []string {
	var notes []string
	if slices.Contains(r.approval.Topics, "*") {
		notes = append(notes, "this covers every topic")
	}

	if n := len(r.info.Reasons); n > manyReasons {
		notes = append(notes, fmt.Sprintf("it can give %d different reasons: by which it gives it can tell what records hold; ask what so many are for", n))
	}

	imported := importedFunctions(r.info)
	for _, name := range imported {
		if !slices.Contains(r.approval.HostFunctions, name) {
			notes = append(notes, "it imports "+name+", which this does not grant: it will not load")
		}
	}

	for _, name := range r.approval.HostFunctions {
		if !slices.Contains(imported, name) {
			notes = append(notes, "it does not import "+name+", which this grants")
		}
	}

	if days := r.approval.NotAfter.Sub(r.approval.NotBefore).Hours() / 24; days > 366 {
		notes = append(notes, "this holds for more than a year")
	}
	return notes
}

func limitsText(l signing.Limits) string {
	var parts []string
	if l.MemoryBytes > 0 {
		parts = append(parts, humanize.IBytes(uint64(l.MemoryBytes))+" memory")
	}
	if l.DeadlineMS > 0 {
		parts = append(parts, fmt.Sprintf("%d ms a call", l.DeadlineMS))
	}
	if l.OutputBytes > 0 {
		parts = append(parts, humanize.IBytes(uint64(l.OutputBytes))+" output")
	}
	if l.Instances > 0 {
		parts = append(parts, cli.Count(int(l.Instances), "instance"))
	}

	return orNone(parts, "the gateway's defaults")
}

func daysText(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return cli.Count(int(d.Hours()/24), "day")
}

func orNone(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
