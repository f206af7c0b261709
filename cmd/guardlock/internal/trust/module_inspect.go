package trust

import (
	"context"
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
	"github.com/guardlock/guardlock/transforms/wasm"
)

const inspectHelp = `Show what a module is made of, without running it: what it imports and exports, the
reasons that it can give, how much memory it asks for, and which tools made it.
The same checks come first when a gateway loads it: a module that breaks one, that
imports what no grant can hold, or that does not compile within a gateway's bounds
is refused, with exit code 3. What a gateway refuses later is said here too: memory
above the default limits needs an approval that grants more.`

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
	BuiltBy   []string     `json:"built_by,omitempty"` // as the file claims
	Sections  []string     `json:"sections_read,omitempty"`
	Partial   bool         `json:"partial,omitempty"` // refused before its end
	Refused   string       `json:"refused,omitempty"`
	room
}

// room is the memory that a module asks for, and what fits in it.
type room struct {
	MemoryMin *uint64 `json:"memory_min_bytes,omitempty"`
	MemoryMax *uint64 `json:"memory_max_bytes,omitempty"`
	Largest   int     `json:"largest_record_bytes,omitempty"` // under the default limits
}

type importLine struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Type  string `json:"type,omitempty"`
	Known bool   `json:"known"` // a host function that a grant may hold
	Free  bool   `json:"free"`  // it needs no grant
}

type exportLine struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Type string `json:"type,omitempty"`
}

func runModuleInspect(cmd *cobra.Command, args []string) error {
	files, file, err := readModule(args[0])
	if err != nil {
		return err
	}

	info, refusal := transforms.Inspect(file, transforms.ScanLimits{})
	if refusal == nil {
		refusal = transforms.CheckImports(info)
	}
	if refusal == nil {
		refusal = compiles(cmd.Context(), file, info)
	}
	if err := cmd.Context().Err(); err != nil {
		return err
	}

	seen := newInspection(files.wasm, file, info, refusal)
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), seen)
	} else {
		err = seen.write(cmd.OutOrStdout())
	}

	if refusal != nil {
		refusal = exit.WithHint(exit.Refusedf("inspecting %s: %w", files.wasm, refusal), "no gateway would load this module: %s", adviceFor(info))
	}
	return errors.Join(err, refusal)
}

// compiles compiles a file as a gateway does, in a child with bounds of time and
// memory. A module that starts with more memory than the default limits give is
// compiled with as much: an approval can grant it.
func compiles(ctx context.Context, file []byte, info transforms.Info) error {
	runtime, err := transforms.New(transforms.Config{Trial: []string{transforms.TrialCommand}})
	if err != nil {
		return err
	}
	defer runtime.Close(ctx)

	var limits transforms.Limits
	if limits.Check(info) != nil {
		limits.MemoryBytes = info.MemoryMinPages * page
	}
	code, err := runtime.Compile(ctx, file, limits)
	if err == nil {
		code.Close()
	}

	return err
}

// page is the unit of a guest's memory.
const page = 64 << 10

// adviceFor says what to do about a module that no gateway would load.
func adviceFor(info transforms.Info) string {
	for _, im := range info.Imports {
		switch {
		case transforms.KnownHostFunction(im.String()):
			continue
		case transforms.ImportAdvice(im.String()) != "":
			return im.String() + transforms.ImportAdvice(im.String())
		case strings.HasPrefix(im.Module, "__wbindgen"):
			return im.Module + " is JavaScript's, which a gateway does not have: build without wasm-bindgen"
		case im.Module == "env" && im.Kind == "func" && im.Name != "abort":
			return "the linker did not find " + im.Name + " and left it to be imported: link what defines it, or name the module that it is imported from"
		}
	}

	return "have it built again from its source"
}

func newInspection(name string, file []byte, info transforms.Info, refusal error) inspection {
	digest := sha256.Sum256(file)
	i := inspection{
		File:   name,
		Digest: hex.EncodeToString(digest[:]),
		Size:   len(file),
		ABI:    info.ABI,
	}

	if info.Knows("import") {
		i.Imports = []importLine{}
	}
	for _, p := range wasm.Producers(file) {
		i.BuiltBy = append(i.BuiltBy, strings.TrimSpace(p.Name+" "+p.Version))
	}
	for _, im := range info.Imports {
		i.Imports = append(i.Imports, importLine{
			Name:  im.String(),
			Kind:  im.Kind,
			Type:  im.Type,
			Known: transforms.KnownHostFunction(im.String()),
			Free:  transforms.NeedsNoGrant(im.String()),
		})
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

	if refusal == nil && (transforms.Limits{}).Check(info) == nil {
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
		fmt.Fprintf(w, ", %s", cli.Count(*i.Functions, "function"))
	}

	fmt.Fprintln(w)

	if i.ABI != "" {
		fmt.Fprintf(w, "abi     %s\n", cli.Printable(i.ABI))
	}
	if i.MemoryMin != nil {
		fmt.Fprintf(w, "memory  %s at start, %s\n", humanize.IBytes(*i.MemoryMin), memoryMost(*i.MemoryMax))
	}
	if i.Refused == "" && i.Largest == 0 {
		fmt.Fprintln(w, p.Yellow("limits")+"  it starts with more memory than the default limits give: an approval must grant it memory_bytes")
	}
	if len(i.BuiltBy) > 0 {
		fmt.Fprintf(w, "tools   %s, as the file claims\n", cli.Printable(strings.Join(i.BuiltBy, ", ")))
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

// sectionsRead says how far a refused module was read, which tells where to
// look.
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
		switch {
		case im.Free:
			note = p.Dim("  (needs no grant)")
		case !im.Known:
			note = p.Red("  (no host function: refused)")
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

// whatItIs follows a name: the type of a function, or the kind of anything
// else.
func whatItIs(kind, typ string) string {
	if kind == "func" {
		return " " + cli.Printable(typ)
	}
	return ", a " + cli.Printable(kind)
}

// memoryMost is the module's own maximum of memory. The whole address space is
// no maximum.
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
