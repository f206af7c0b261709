// Package wasm reads WebAssembly files that nobody has vouched for, and makes
// them pay for what they run. It runs nothing itself and imports nothing but the
// standard library.
//
//   - Scan walks a file with a bounded parser of our own, before the engine sees
//     a byte: the engine allocates by counts that it reads, and a file of 15
//     bytes could end the process.
//   - Meter rewrites what was scanned so that it counts its own work and its
//     stack, and calls out when a budget is spent (meter.go says how).
package wasm

import (
	"slices"
	"strings"
)

// ScanLimits bounds the structure of a module. Zero fields take the defaults,
// which real modules from C, Rust, AssemblyScript, TinyGo and Go stay under.
type ScanLimits struct {
	ModuleBytes int // 16 MiB
	Functions   int // 50,000
	BodyBytes   int // 256 KiB, one function
	Locals      int // 10,000, one function
	Nesting     int // 1024 blocks
	BranchTable int // 4096 entries
	// Branches bounds the blocks, branches and bulk instructions of one
	// function, loops counted four times: the engine's compile time grows with
	// their square. 4096.
	Branches int
	// CompileWork bounds the sum of those squares over all functions. 2^27
	// takes some seconds.
	CompileWork int
	// Values bounds what the calls, blocks and branches of one function hand on:
	// their parameters, results and label values, and one more for each of them.
	// The engine keeps apart what each of them hands on. 64 Ki; ModuleValues
	// bounds their sum, 4 Mi.
	Values, ModuleValues int
	// TableEntries bounds the entries of all branch tables of one function, 16 Ki;
	// ModuleTableEntries those of all functions, 512 Ki.
	TableEntries, ModuleTableEntries int
}

const (
	maxTypes         = 4096
	maxParams        = 255
	maxResults       = 16      // compilers return one value, rarely two
	maxTypeValues    = 1 << 16 // parameters and results of all types
	maxImports       = 256
	maxExports       = 4096
	maxGlobals       = 10_000
	maxTable         = 64 << 10
	maxSegments      = 64 << 10
	maxElements      = 64 << 10 // of all segments
	maxName          = 256
	maxReasons       = 256
	maxMetrics       = 64
	maxCatalogueName = 64
	maxPages         = 64 << 10
	maxMerges        = 1_000_000 // blocks times locals of a function: the values to merge
)

// withDefaults fills in every limit that is not given.
func (l ScanLimits) withDefaults() ScanLimits {
	fill := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}

	fill(&l.ModuleBytes, 16<<20)
	fill(&l.Functions, 50_000)
	fill(&l.BodyBytes, 256<<10)
	fill(&l.Locals, 10_000)
	fill(&l.Nesting, 1024)
	fill(&l.BranchTable, 4096)
	fill(&l.Branches, 4096)
	fill(&l.CompileWork, 1<<27)
	fill(&l.Values, 64<<10)
	fill(&l.ModuleValues, 4<<20)
	fill(&l.TableEntries, 16<<10)
	fill(&l.ModuleTableEntries, 512<<10)

	return l
}

// Import is one import of a module. Type is set for functions, and empty for
// other kinds.
type Import struct {
	Module, Name string
	Kind         string // func, table, memory or global
	Type         string // such as "(i32,i32)->i32"
}

// String is the import as grants and messages spell it: the module, a dot, and
// the name.
func (i Import) String() string { return i.Module + "." + i.Name }

// Export is one export of a module. Type is set for functions, and empty for
// other kinds.
type Export struct {
	Name, Kind, Type string
}

// Info is what a module's structure tells, without running any of it.
type Info struct {
	ABI       string // "guardlock_v1", or "redpanda_transform_v1" and "_v2"
	Imports   []Import
	Exports   []Export
	Reasons   []string // the catalogue without its entry 0, "unspecified"
	Metrics   []string // the catalogue of what it counts
	Functions int
	CodeBytes int

	Sections []string // those read whole, in order; custom ones aside
	Complete bool     // the file was read to its end

	MemoryMinPages uint32
	MemoryMaxPages uint32 // 65536 when the module sets none
	HasStart       bool
}

// Knows reports whether what a section of this name says is in the Info: it was
// read whole, or a later one was, so that there is none. A file that was refused
// is not read further.
func (i Info) Knows(section string) bool {
	if i.Complete || len(i.Sections) == 0 {
		return i.Complete
	}

	last := slices.Index(sectionNames[:], i.Sections[len(i.Sections)-1])
	wanted := slices.Index(sectionNames[:], section)
	return wanted > 0 && sectionOrder[wanted] <= sectionOrder[last]
}

// notACoreModule says what a file is instead. The layer of a component stands
// behind its version (component-model, "Component Definitions").
func notACoreModule(file []byte) string {
	if len(file) >= 8 && string(file[:4]) == "\x00asm" && file[6] == 1 {
		return "a component, as WASI 0.2 and later make them: build a core module, for wasm32-unknown-unknown or wasm32-wasip1"
	}
	return "not a WebAssembly 1.0 module"
}

// Scan checks the structure of a module against lim and the guest ABI without
// running or compiling it. It allocates in proportion to the module and never by
// a count that the module only claims. On a refusal, a *RefusedError, the Binary
// is not to be metered, and its Info holds what was read before the refusal.
func Scan(wasm []byte, lim ScanLimits) (*Binary, error) {
	lim = lim.withDefaults()
	m := &Binary{wasm: wasm, lim: lim}
	r := &reader{b: wasm, end: len(wasm)}

	if len(wasm) > lim.ModuleBytes {
		r.refuse("%d bytes exceed the limit of %d", len(wasm), lim.ModuleBytes)
	}
	if r.err == nil && !strings.HasPrefix(string(wasm[:min(8, len(wasm))]), "\x00asm\x01\x00\x00\x00") {
		r.refuse("%s", notACoreModule(wasm))
	}

	r.skip(8)
	m.sections(r)
	m.info.Complete = r.err == nil
	m.finish(r)

	if r.err != nil {
		return m, r.err
	}
	return m, nil
}
