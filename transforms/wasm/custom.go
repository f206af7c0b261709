package wasm

import "strings"

// Custom sections are what tools write for tools. The gateway uses none of them but
// the reasons, and the engine sees none at all; what follows reads them for people,
// and takes those away that no one needs who runs the module.

const (
	maxNames     = 50_000
	maxProducers = 64
)

// CustomSection is one custom section of a file, which a tool wrote and which
// anybody can change.
type CustomSection struct {
	Name  string
	Bytes []byte // its contents, behind the name

	start, end int // of the whole section in the file
}

// CustomSections lists the custom sections of a file, as far as it can be read. The
// file need not be one that Scan lets through.
func CustomSections(file []byte) []CustomSection {
	var found []CustomSection
	r := &reader{b: file, pos: min(8, len(file)), end: len(file)}
	for r.err == nil && r.left() > 0 {
		start := r.pos
		id := r.byte()
		size := r.count("bytes of a section", len(file))
		end := r.pos + size

		if r.err == nil && id == 0 {
			inside := &reader{b: file, pos: r.pos, end: end}
			if name := inside.name("a section's name", maxName); inside.err == nil {
				found = append(found, CustomSection{Name: name, Bytes: file[inside.pos:end], start: start, end: end})
			}
		}

		r.skip(uint32(size))
	}

	return found
}

// Strip returns the file without the custom sections that only a debugger reads.
// The names of functions stay, since a trap is told by them, and so do the reasons
// and the names of the tools that built the file.
func Strip(file []byte) []byte {
	var out []byte
	at := 0
	for _, s := range CustomSections(file) {
		if !onlyForDebuggers(s.Name) {
			continue
		}
		out = append(out, file[at:s.start]...)
		at = s.end
	}

	return append(out, file[at:]...)
}

// WithCatalogues returns the file with its reasons and metrics, for a toolchain that
// writes no sections of its own. Those that the file has are replaced.
func WithCatalogues(file []byte, reasons, metrics []string) []byte {
	var out []byte
	at := 0
	for _, s := range CustomSections(file) {
		if s.Name == reasonCatalogue.section || s.Name == metricCatalogue.section {
			out = append(out, file[at:s.start]...)
			at = s.end
		}
	}
	out = append(out, file[at:]...)

	out = reasonCatalogue.write(out, reasons)
	return metricCatalogue.write(out, metrics)
}

func onlyForDebuggers(section string) bool {
	switch section {
	case "external_debug_info", "sourceMappingURL", "build_id", "linking":
		return true
	}
	return strings.HasPrefix(section, ".debug_") || strings.HasPrefix(section, "reloc.")
}

// FunctionNames are the names of a file's functions by their index, as its "name"
// section has them. An author chose them, and they may be anything.
func FunctionNames(file []byte) map[uint32]string {
	names := map[uint32]string{}
	for _, s := range CustomSections(file) {
		if s.Name != "name" {
			continue
		}

		r := &reader{b: s.Bytes, end: len(s.Bytes)}
		for r.err == nil && r.left() > 0 {
			kind := r.byte()
			size := r.count("bytes of names", len(s.Bytes))
			if kind == 1 { // functions; others are the module, locals, labels
				readNames(&reader{b: s.Bytes, pos: r.pos, end: r.pos + size}, names)
			}
			r.skip(uint32(size))
		}
	}

	return names
}

// readNames adds the entries of one name map, as far as they can be read.
func readNames(r *reader, names map[uint32]string) {
	for range r.count("names", maxNames) {
		index := r.u32()
		name := r.name("a name", r.left())
		if r.err != nil {
			return
		}
		names[index] = name
	}
}

// Producer is a tool that took part in building a file: what it was for, its name
// and its version, as the file's "producers" section claims.
type Producer struct {
	Field, Name, Version string
}

// Producers lists the tools that a file says it was built with. That is a
// claim, and proves nothing.
func Producers(file []byte) []Producer {
	var found []Producer
	for _, s := range CustomSections(file) {
		if s.Name != "producers" {
			continue
		}

		r := &reader{b: s.Bytes, end: len(s.Bytes)}
		for range r.count("fields", maxProducers) {
			field := r.name("a field", maxName)
			for range r.count("tools", maxProducers) {
				p := Producer{Field: field, Name: r.name("a tool", maxName), Version: r.name("a version", maxName)}
				if r.err != nil || len(found) == maxProducers {
					return found
				}
				found = append(found, p)
			}
		}
	}

	return found
}
