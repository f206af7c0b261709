package trust

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms"
)

const inspectHelp = `Show what a module is made of, without running or compiling it: what it imports
and exports, the reasons that it can give, and how much memory it asks for.
The same checks come first when a gateway loads it; a module that breaks one is
refused, with exit code 3.`

func newModuleInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect MODULE",
		Short: "Show a module's imports, exports and reasons without running it",
		Long:  inspectHelp,
		Example: `  guardlock module inspect modules/gdpr/gdpr.wasm
  guardlock module inspect modules/gdpr --json | jq -r '.imports[].name'`,
		Args: cli.NeedArgs("MODULE"),
		RunE: runModuleInspect,
	}
}

// inspection is what `module inspect` shows. Of a module that was refused, what
// was not read is left out: it would look like "none".
type inspection struct {
	File      string       `json:"file"`
	Digest    string       `json:"digest"`
	Size      int          `json:"size"`
	ABI       string       `json:"abi,omitempty"`
	Imports   []importLine `json:"imports,omitzero"`
	Exports   []exportLine `json:"exports,omitzero"`
	Reasons   []string     `json:"reasons,omitzero"`
	Functions *int         `json:"functions,omitempty"`
	CodeBytes *int         `json:"code_bytes,omitempty"`
	MemoryMin *uint64      `json:"memory_min_bytes,omitempty"`
	MemoryMax *uint64      `json:"memory_max_bytes,omitempty"`
	Largest   int          `json:"largest_record_bytes,omitempty"` // under the default limits
	Sections  []string     `json:"sections_read,omitempty"`
	Partial   bool         `json:"partial,omitempty"` // refused before its end
	Refused   string       `json:"refused,omitempty"`
}

type importLine struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Type  string `json:"type,omitempty"`
	Known bool   `json:"known"` // a host function that a grant may hold
}

type exportLine struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Type string `json:"type,omitempty"`
}

func runModuleInspect(cmd *cobra.Command, args []string) error {
	files, wasm, err := readModule(args[0])
	if err != nil {
		return err
	}

	info, refusal := transforms.Inspect(wasm, transforms.ScanLimits{})
	seen := newInspection(files.wasm, wasm, info, refusal)
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), seen)
	} else {
		err = seen.write(cmd.OutOrStdout())
	}

	if refusal != nil {
		refusal = exit.WithHint(exit.Refusedf("inspecting %s: %w", files.wasm, refusal), "no gateway would load this module: have it built again from its source")
	}
	return errors.Join(err, refusal)
}

func newInspection(file string, wasm []byte, info transforms.Info, refusal error) inspection {
	const page = 64 << 10
	digest := sha256.Sum256(wasm)
	i := inspection{
		File:   file,
		Digest: hex.EncodeToString(digest[:]),
		Size:   len(wasm),
		ABI:    info.ABI,
	}

	if info.Knows("import") {
		i.Imports = []importLine{}
	}
	for _, im := range info.Imports {
		i.Imports = append(i.Imports, importLine{im.String(), im.Kind, im.Type, transforms.KnownHostFunction(im.String())})
	}

	if info.Knows("export") {
		i.Exports = []exportLine{}
	}
	for _, ex := range info.Exports {
		i.Exports = append(i.Exports, exportLine{ex.Name, ex.Kind, ex.Type})
	}

	if info.Knows("function") {
		i.Functions = &info.Functions
	}
	if info.Knows("memory") {
		i.MemoryMin = new(uint64(info.MemoryMinPages) * page)
		i.MemoryMax = new(uint64(info.MemoryMaxPages) * page)
	}

	if info.Complete {
		i.CodeBytes = &info.CodeBytes
		i.Reasons = append([]string{}, info.Reasons...)
	}

	if refusal == nil {
		i.Largest = transforms.Limits{}.LargestRecord(info)
	}
	if refusal != nil {
		i.Partial = !info.Complete
		i.Sections = info.Sections
		i.Refused = refusal.Error()
	}

	return i
}

func (i inspection) write(w io.Writer) error {
	p := cli.PaletteFor(w)
	fmt.Fprintf(w, "%s  %s\nsha256  %s\nsize    %s", p.Bold("module"), cli.Printable(i.File), i.Digest, humanize.IBytes(uint64(i.Size)))
	if i.Functions != nil {
		fmt.Fprintf(w, ", %d functions", *i.Functions)
	}

	fmt.Fprintln(w)

	if i.ABI != "" {
		fmt.Fprintf(w, "abi     %s\n", cli.Printable(i.ABI))
	}
	if i.MemoryMin != nil {
		fmt.Fprintf(w, "memory  %s at start, %s\n", humanize.IBytes(*i.MemoryMin), memoryMost(*i.MemoryMax))
	}
	if i.Largest > 0 {
		fmt.Fprintf(w, "record  %s at most, under the default limits and if its output is no larger\n", humanize.IBytes(uint64(i.Largest)))
	}
	if i.Partial {
		fmt.Fprintf(w, "read    %s; what lies behind is not known\n", sectionsRead(i.Sections))
	}

	i.writeNames(w, p)
	return nil
}

// sectionsRead says how far a refused module was read.
func sectionsRead(sections []string) string {
	if len(sections) == 0 {
		return "no section whole"
	}
	return "the sections " + strings.Join(sections, ", ")
}

func (i inspection) writeNames(w io.Writer, p cli.Palette) {
	if i.Imports != nil {
		fmt.Fprintln(w, "\n"+p.Bold("imports")+importsNote(i.Imports))
	}
	for _, im := range i.Imports {
		note := ""
		if !im.Known {
			note = p.Dim("  (no host function: " + cmp.Or(strings.TrimPrefix(transforms.ImportAdvice(im.Name), ": "), "needs no grant, or is refused") + ")")
		}
		fmt.Fprintf(w, "  %s%s%s\n", cli.Printable(im.Name), whatItIs(im.Kind, im.Type), note)
	}

	if i.Exports != nil {
		fmt.Fprintln(w, "\n"+p.Bold("exports"))
	}
	for _, ex := range i.Exports {
		fmt.Fprintf(w, "  %s%s\n", cli.Printable(ex.Name), whatItIs(ex.Kind, ex.Type))
	}

	if i.Reasons != nil {
		fmt.Fprintf(w, "\n%s  %s\n", p.Bold("reasons it can give"), reasonsNote(len(i.Reasons)))
	}
	for n, reason := range i.Reasons {
		fmt.Fprintf(w, "  %d %s\n", n+1, cli.Printable(reason))
	}
}

// whatItIs follows a name: a function's type, or the kind of anything else.
func whatItIs(kind, typ string) string {
	if kind == "func" {
		return " " + cli.Printable(typ)
	}
	return ", a " + cli.Printable(kind)
}

// memoryMost is the module's own maximum; the address space is none.
func memoryMost(bytes uint64) string {
	if bytes >= 1<<32 {
		return "no maximum of its own: the grant's or the gateway's holds"
	}
	return "at most " + humanize.IBytes(bytes)
}

// reasonsNote is how many reasons a module has. The more it can choose among, the
// more each choice can tell of a record.
func reasonsNote(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func importsNote(imports []importLine) string {
	if len(imports) == 0 {
		return "  none: it can only compute"
	}
	return ""
}
