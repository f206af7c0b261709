package wasm

import "strings"

// The section ids. Custom sections have id 0; data count (12) stands between
// elements and code in a file.
const (
	secType = iota + 1
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secEnd
)

var sectionNames = [secEnd]string{"custom", "type", "import", "function", "table", "memory", "global",
	"export", "start", "element", "code", "data", "data count"}

// sectionOrder is the position of each section in a file, which is not the
// order of the ids.
var sectionOrder = [secEnd]int{
	secDataCount: 10,
	secCode:      11,
	secData:      12,
	secType:      1,
	secImport:    2,
	secFunction:  3,
	secTable:     4,
	secMemory:    5,
	secGlobal:    6,
	secExport:    7,
	secStart:     8,
	secElement:   9,
}

type section struct{ start, end int } // of the contents

// funcType is a function's signature. Params and results are views of the file,
// a byte for each value.
type funcType struct{ params, results []byte }

// funcRef is a place outside the bodies that names a function, which the
// rewriter has to change.
type funcRef struct {
	start, end int
	index      uint32
}

// Binary is a scanned file: its bytes and where things are in them. It is
// immutable once Scan has returned it.
type Binary struct {
	wasm []byte
	lim  ScanLimits
	info Info

	found [secEnd]section

	types    []funcType
	funcs    []uint32 // type of each function, the imported ones first
	imported int      // how many functions are imported
	has      counts
	bodies   []section
	refs     []funcRef // in file order
	start    int       // the function of the start section, or -1
	weight   weight    // of all functions
}

// counts is how many of each thing a file has, imported ones included.
type counts struct {
	tables, memories, globals int
	elems, elements           int // segments, and the elements of all of them
	datas                     int
	typeValues                int // parameters and results of all types
	announced                 int // data segments, by the data count section; -1 without one
}

// weight is what makes code costly to compile, summed over all functions.
type weight struct {
	work    int // sum of the squares of the functions' branches
	values  int // see ScanLimits.Values
	entries int // of branch tables
}

// Info is what the scan found. Its lists must not be changed.
func (m *Binary) Info() Info { return m.info }

// sections walks the sections of the file, each of which may be there once and
// in the order of the format.
func (m *Binary) sections(r *reader) {
	m.has.announced = -1
	m.start = -1
	last := 0
	file := r.end
	for r.err == nil && r.left() > 0 {
		id := r.byte()
		size := r.count("bytes of a section", m.lim.ModuleBytes)
		if id >= secEnd {
			r.pos--
			r.refuse("section %d is not allowed", id)
		}

		if r.err != nil {
			return
		}
		r.end = r.pos + size
		switch {
		case id == 0:
			m.custom(r)
		case sectionOrder[id] == last:
			r.refuse("the %s section appears twice", sectionNames[id])
		case sectionOrder[id] < last:
			r.refuse("the %s section is out of order", sectionNames[id])
		default:
			last = sectionOrder[id]
			m.found[id] = section{r.pos, r.end}
			m.section(r, int(id))

			if r.err == nil && r.left() > 0 {
				r.refuse("the %s section has %d bytes too many", sectionNames[id], r.left())
			}
			if r.err == nil {
				m.info.Sections = append(m.info.Sections, sectionNames[id])
			}
		}

		r.pos = r.end
		r.end = file
	}
}

// section reads the contents of one section within its end.
func (m *Binary) section(r *reader, id int) {
	switch id {
	case secType:
		m.typeSection(r)
	case secImport:
		m.importSection(r)
	case secFunction:
		m.info.Functions = r.count("functions", m.lim.Functions)
		for range m.info.Functions {
			m.funcs = append(m.funcs, r.index("type", len(m.types)))
		}
	case secTable:
		for range r.count("tables", 1) {
			m.table(r)
		}
	case secMemory:
		for range r.count("memories", 1) {
			m.memory(r)
		}
	case secGlobal:
		for range r.count("globals", maxGlobals) {
			m.globalType(r)
			m.constExpr(r)
			m.has.globals++
		}
	case secExport:
		m.exportSection(r)
	case secStart:
		m.startSection(r)
	case secElement:
		m.elementSection(r)
	case secDataCount:
		m.has.announced = r.data("data segments")
	case secCode:
		m.codeSection(r)
	case secData:
		m.dataSection(r)
	}
}

// startSection notes the function that the engine would call while it
// instantiates, before any limit applies. The meter exports it instead, and the
// host calls it first of all.
func (m *Binary) startSection(r *reader) {
	f := r.index("function", len(m.funcs))
	if r.err != nil {
		return
	}

	if t := m.types[m.funcs[f]]; len(t.params)+len(t.results) > 0 {
		r.refuse("the start function must be a ()->()")
	}
	m.info.HasStart = true
	m.start = int(f)
}

// data reads a count that stands alone, without the elements that it counts, so
// that their bytes cannot bound it.
func (r *reader) data(what string) int {
	n := r.u32()
	if n > maxSegments {
		r.refuse("%d %s exceed the limit of %d", n, what, maxSegments)
		return 0
	}
	return int(n)
}

// custom reads the catalogues of reasons and of metrics. Every other custom section is
// passed over, and none reaches the engine: a module could take a name by its "name" section.
func (m *Binary) custom(r *reader) {
	size := r.u32()
	if uint64(size) > uint64(r.left()) {
		r.refuse("a custom section is truncated")
		return
	}

	name := r.b[r.pos : r.pos+int(size)]
	r.skip(size)
	switch string(name) {
	case reasonCatalogue.section:
		reasonCatalogue.read(r, &m.info.Reasons)
	case metricCatalogue.section:
		metricCatalogue.read(r, &m.info.Metrics)
	}
}

// typeSection reads the signatures, of which all others are indices.
func (m *Binary) typeSection(r *reader) {
	for range r.count("types", maxTypes) {
		if form := r.byte(); form != 0x60 {
			r.refuse("type form 0x%02x is not allowed", form)
		}
		t := funcType{params: m.valTypes(r, "parameters", maxParams), results: m.valTypes(r, "results", maxResults)}
		if m.has.typeValues += len(t.params) + len(t.results); m.has.typeValues > maxTypeValues {
			r.refuse("the types have more than %d parameters and results", maxTypeValues)
		}
		if r.err != nil {
			return
		}

		m.types = append(m.types, t)
	}
}

func (m *Binary) valTypes(r *reader, what string, limit int) []byte {
	n := r.count(what, limit)
	start := r.pos
	for range n {
		r.valType()
	}

	if r.err != nil {
		return nil
	}
	return r.b[start:r.pos]
}

// importSection reads the imports. Which of them a module may have is for the
// grant; here they must be of a kind that is known.
func (m *Binary) importSection(r *reader) {
	for range r.count("imports", maxImports) {
		i := Import{Module: r.name("a module name", maxName), Name: r.name("an import name", maxName)}
		switch kind := r.byte(); kind {
		case 0:
			i.Kind = "func"
			t := r.index("type", len(m.types))
			if r.err == nil {
				i.Type = m.types[t].String()
				m.funcs = append(m.funcs, t)
				m.imported++
			}
		case 1:
			i.Kind = "table"
			m.table(r)
		case 2:
			i.Kind = "memory"
			m.memory(r)
		case 3:
			i.Kind = "global"
			m.globalType(r)
			m.has.globals++
		case 4:
			r.refuse("exception tags are not allowed")
		default:
			r.refuse("import kind %d is not allowed", kind)
		}

		if r.err != nil {
			return
		}
		m.info.Imports = append(m.info.Imports, i)
	}
}

// table reads the type of a table. There may be one, and the engine makes room
// for its size at once, which is bounded here.
func (m *Binary) table(r *reader) {
	m.has.tables++
	if m.has.tables > 1 {
		r.refuse("more than one table")
	}
	if t := r.byte(); t != 0x70 && t != 0x6f {
		r.refuse("table element type 0x%02x is not allowed", t)
	}

	flags := r.byte()
	if flags > 1 {
		r.refuse("shared and 64-bit tables are not allowed")
	}
	if n := r.u32(); n > maxTable {
		r.refuse("a table of %d elements exceeds the limit of %d", n, maxTable)
	}
	if flags == 1 {
		r.u32() // without table.grow the maximum does not matter
	}
}

// memory reads the type of a memory. There may be one, of 32 bits and not
// shared.
func (m *Binary) memory(r *reader) {
	m.has.memories++
	if m.has.memories > 1 {
		r.refuse("more than one memory")
	}

	flags := r.byte()
	switch {
	case flags&4 != 0:
		r.refuse("64-bit memory is not allowed")
	case flags&2 != 0:
		r.refuse("shared memory is not allowed")
	case flags > 1:
		r.refuse("memory flags 0x%02x are not allowed", flags)
	}

	m.info.MemoryMinPages = r.u32()
	m.info.MemoryMaxPages = maxPages
	if flags == 1 {
		m.info.MemoryMaxPages = r.u32()
	}
	if m.info.MemoryMinPages > maxPages || m.info.MemoryMaxPages > maxPages {
		r.refuse("a memory of more than %d pages is not allowed", maxPages)
	}
}

func (m *Binary) globalType(r *reader) {
	r.valType()
	if mutable := r.byte(); mutable > 1 {
		r.refuse("global flags 0x%02x are not allowed", mutable)
	}
}

// exportSection reads the exports and notes those of functions, which the
// rewriter moves.
func (m *Binary) exportSection(r *reader) {
	seen := make(map[string]bool)
	for range r.count("exports", maxExports) {
		e := Export{Name: r.name("an export name", maxName)}
		kind := r.byte()
		switch kind {
		case 0:
			e.Kind = "func"
			if e.Name == SectionStart {
				r.refuse("the export name %q is the host's", e.Name)
			}

			ref := m.funcRef(r)
			if r.err == nil {
				e.Type = m.types[m.funcs[ref]].String()
			}
		case 1:
			e.Kind = "table"
			r.index("table", m.has.tables)
		case 2:
			e.Kind = "memory"
			r.index("memory", m.has.memories)
		case 3:
			e.Kind = "global"
			r.index("global", m.has.globals)
		default:
			r.refuse("export kind %d is not allowed", kind)
		}

		if seen[e.Name] {
			r.refuse("an export name appears twice")
		}
		if r.err != nil {
			return
		}

		seen[e.Name] = true
		m.info.Exports = append(m.info.Exports, e)
	}
}

// funcRef reads a function index and notes where it stands, for the rewriter to
// move it.
func (m *Binary) funcRef(r *reader) uint32 {
	start := r.pos
	i := r.index("function", len(m.funcs))
	if r.err == nil {
		m.refs = append(m.refs, funcRef{start, r.pos, i})
	}
	return i
}

// String is the signature as Info spells it: (i32,i32)->i32, with () where
// nothing is returned.
func (t funcType) String() string {
	var s strings.Builder
	s.WriteByte('(')
	writeTypes(&s, t.params)
	s.WriteString(")->")

	if len(t.results) != 1 {
		s.WriteByte('(')
	}
	writeTypes(&s, t.results)
	if len(t.results) != 1 {
		s.WriteByte(')')
	}

	return s.String()
}

func writeTypes(s *strings.Builder, types []byte) {
	for i, t := range types {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(typeName(t))
	}
}

func typeName(t byte) string {
	switch t {
	case 0x7f:
		return "i32"
	case 0x7e:
		return "i64"
	case 0x7d:
		return "f32"
	case 0x7c:
		return "f64"
	case 0x7b:
		return "v128"
	case 0x70:
		return "funcref"
	}
	return "externref"
}
