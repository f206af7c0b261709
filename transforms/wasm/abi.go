package wasm

import (
	"slices"
	"strings"
)

// The exports of our own ABI v1 (docs/abi.md) and their types.
const (
	abiV1           = "guardlock_v1"
	ExportMemory    = "memory"
	ExportTransform = "guardlock_transform_v1"
	ExportAlloc     = "guardlock_alloc"
	ExportInit      = "guardlock_init_v1"
	ExportStart     = "_initialize"
	// SectionStart is the name by which the meter exports the function of a
	// start section, so that the host can call it.
	SectionStart = "guardlock_runtime.start"
)

// Redpanda's ABI for data transforms (docs/redpanda.md). A module of it is known by
// what it imports from RedpandaModule, and says by a marker which version it is of.
const (
	RedpandaModule = "redpanda_transform"
	ExportMain     = "_start"

	redpandaABI    = "redpanda_transform_v"
	redpandaMarker = "check_abi_version_"
)

// RedpandaReasons are the reasons of every module of Redpanda's ABI, which has no way
// to declare any of its own.
func RedpandaReasons() []string {
	return []string{"redpanda.no_output", "redpanda.changed", "redpanda.routed", "redpanda.several_outputs", "redpanda.write_refused"}
}

// Pulls reports whether a module fetches its records, as those of Redpanda's ABI do,
// and is not called for them.
func (i Info) Pulls() bool { return strings.HasPrefix(i.ABI, redpandaABI) }

// Declared are the reasons that the module's author chose.
func (i Info) Declared() []string {
	if i.Pulls() {
		return nil
	}
	return i.Reasons
}

type abiExport struct {
	name, kind, typ string
	optional        bool
}

var abiExports = []abiExport{
	{ExportMemory, "memory", "", false},
	{ExportTransform, "func", "(i32)->i32", false},
	{ExportAlloc, "func", "(i32,i32)->i32", false},
	{ExportInit, "func", "(i32,i32)->i32", true},
	{ExportStart, "func", "()->()", true},
}

var redpandaExports = []abiExport{
	{ExportMemory, "memory", "", false},
	{ExportMain, "func", "()->()", false},
}

// checkABI tells by the imports of which ABI the module is, and whether it has what
// that asks for.
func (m *Binary) checkABI(r *reader) {
	if slices.ContainsFunc(m.info.Imports, func(im Import) bool { return im.Module == RedpandaModule }) {
		m.checkRedpanda(r)
		return
	}

	m.checkExports(r, "guest ABI v1", abiExports)
	if r.err == nil {
		m.info.ABI = abiV1
	}
}

// checkRedpanda takes the highest version that the module asks for. Each is all that
// those before it are.
func (m *Binary) checkRedpanda(r *reader) {
	version := ""
	for _, im := range m.info.Imports {
		v, marker := strings.CutPrefix(im.Name, redpandaMarker)
		switch {
		case im.Module != RedpandaModule || !marker:
		case v != "1" && v != "2":
			r.refuse("it is of version %q of Redpanda's ABI, of which 1 and 2 are known", v)
		default:
			version = max(version, v)
		}
	}

	if version == "" {
		r.refuse("it imports from %q, but none of the functions %s1 and %s2, which say of which version it is", RedpandaModule, redpandaMarker, redpandaMarker)
	}
	if _, both := m.export(ExportTransform); both {
		r.refuse("it is of two ABIs: it imports from %q and exports %q", RedpandaModule, ExportTransform)
	}
	if len(m.info.Reasons) > 0 {
		r.refuse("a module of Redpanda's ABI has the reasons of that, and no section %q", reasonCatalogue.section)
	}

	m.checkExports(r, "Redpanda's ABI", redpandaExports)
	if r.err == nil {
		m.info.ABI = redpandaABI + version
		m.info.Reasons = RedpandaReasons()
	}
}

// checkExports refuses a module that lacks what its ABI asks for, or has it in another
// form.
func (m *Binary) checkExports(r *reader, abi string, exports []abiExport) {
	for _, want := range exports {
		got, ok := m.export(want.name)
		switch {
		case !ok && !want.optional:
			r.refuse("the export %q of %s is missing", want.name, abi)
		case ok && (got.Kind != want.kind || got.Type != want.typ):
			r.refuse("the export %q must be a %s%s", want.name, want.kind, want.typ)
		}
	}
}

func (m *Binary) export(name string) (Export, bool) {
	for _, e := range m.info.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// catalogue is a custom section that holds a closed list of names, one a line.
type catalogue struct {
	section, what string // what one of its names is
	most          int
}

var (
	reasonCatalogue = catalogue{"guardlock.reasons", "reason", maxReasons}
	metricCatalogue = catalogue{"guardlock.metrics", "metric", maxMetrics}
)

// read reads a catalogue's section into names: identifiers of the form
// [a-z0-9_.]{1,64}. It refuses any other, and a second section of the same name.
func (c catalogue) read(r *reader, names *[]string) {
	if r.left() > c.most*(maxCatalogueName+1) {
		r.refuse("section %q has %d bytes, more than the limit", c.section, r.left())
		return
	}
	if *names != nil {
		r.refuse("section %q appears twice", c.section)
		return
	}

	for line := range strings.SplitSeq(strings.TrimSuffix(string(r.b[r.pos:r.end]), "\n"), "\n") {
		if !validName(line) {
			r.refuse("section %q holds a %s that is not of the form [a-z0-9_.]{1,%d}", c.section, c.what, maxCatalogueName)
			return
		}
		*names = append(*names, line)
	}

	if len(*names) > c.most {
		r.refuse("%d %ss exceed the limit of %d", len(*names), c.what, c.most)
	}
}

// write appends a catalogue's section to a file, and nothing where there are no names.
func (c catalogue) write(file []byte, names []string) []byte {
	if len(names) == 0 {
		return file
	}

	body := append(appendU32(nil, uint32(len(c.section))), c.section...)
	body = append(body, strings.Join(names, "\n")+"\n"...)
	return appendSection(file, 0, body)
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > maxCatalogueName {
		return false
	}
	for _, c := range []byte(s) {
		if c != '_' && c != '.' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}

	return true
}
