package trust

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
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
}

func (r approvalReview) write(w io.Writer) error {
	a, p := r.approval, cli.PaletteFor(w)
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
		{"may call", orNone(a.HostFunctions, "no host function")},
		{"may use secrets", orNone(a.Keys, "none")},
		{"may route to", orNone(a.Routes, "nowhere else")},
		{"for", orNone(a.Audience, "gateways that are part of no environment")},
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
	return nil
}

// warnings are what is legal and yet worth a thought.
func (r approvalReview) warnings() []string {
	var notes []string
	if slices.Contains(r.approval.Topics, "*") {
		notes = append(notes, "this covers every topic")
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
