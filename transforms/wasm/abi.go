package wasm

import "strings"

// The exports of ABI v1 (docs/abi.md) and their types.
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

var abiExports = [...]struct {
	name, kind, typ string
	optional        bool
}{
	{ExportMemory, "memory", "", false},
	{ExportTransform, "func", "(i32)->i32", false},
	{ExportAlloc, "func", "(i32,i32)->i32", false},
	{ExportInit, "func", "(i32,i32)->i32", true},
	{ExportStart, "func", "()->()", true},
}

func (m *Binary) checkABI(r *reader) {
	for _, want := range abiExports {
		got, ok := m.export(want.name)
		switch {
		case !ok && !want.optional:
			r.refuse("the export %q of guest ABI v1 is missing", want.name)
		case ok && (got.Kind != want.kind || got.Type != want.typ):
			r.refuse("the export %q must be a %s%s", want.name, want.kind, want.typ)
		}
	}
	if r.err == nil {
		m.info.ABI = abiV1
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
