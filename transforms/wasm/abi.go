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

// parseReasons reads the catalogue: one identifier a line, [a-z0-9_.]{1,64},
// and refuses any other.
func (m *Binary) parseReasons(r *reader, text string) {
	if m.reasonsSeen {
		r.refuse("section %q appears twice", reasonSection)
	}
	m.reasonsSeen = true
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if !validReason(line) {
			r.refuse("section %q holds a reason that is not of the form [a-z0-9_.]{1,%d}", reasonSection, maxReason)
			return
		}
		m.info.Reasons = append(m.info.Reasons, line)
	}

	if len(m.info.Reasons) > maxReasons {
		r.refuse("%d reasons exceed the limit of %d", len(m.info.Reasons), maxReasons)
	}
}

func validReason(s string) bool {
	if len(s) == 0 || len(s) > maxReason {
		return false
	}
	for _, c := range []byte(s) {
		if c != '_' && c != '.' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}

	return true
}
