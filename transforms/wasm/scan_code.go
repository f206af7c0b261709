package wasm

// constExpr reads an initialiser: one constant instruction and its end. Longer
// ones are refused, which compilers do not write.
func (m *Binary) constExpr(r *reader) {
	switch op := r.byte(); op {
	case opI32Const, opI64Const, opF32Const, opF64Const:
		r.constant(op)
	case opGlobalGet:
		r.index("global", m.has.globals)
	case opRefNull:
		r.valType()
	case opRefFunc:
		m.funcRef(r)
	case opVector:
		r.one("an initialiser", 12)
		r.skip(16)
	default:
		r.refuse("an initialiser is not a constant")
	}
	if end := r.byte(); r.err == nil && end != opEnd {
		r.refuse("an initialiser has more than one instruction")
	}
}

// elementSection reads the segments of the table, of which the format has eight
// forms.
func (m *Binary) elementSection(r *reader) {
	for range r.count("element segments", maxSegments) {
		flags := r.u32()
		if flags > 7 {
			r.refuse("element segment flags %d are not allowed", flags)
		}

		active := flags&1 == 0
		explicit := flags&2 != 0
		exprs := flags&4 != 0

		if active && explicit {
			r.index("table", m.has.tables)
		}
		if active {
			r.need("table 0", m.has.tables)
			m.constExpr(r)
		}

		if !active || explicit {
			m.elementKind(r, exprs)
		}
		n := r.count("elements", maxElements-m.has.elements)
		m.has.elements += n

		for range n {
			if exprs {
				m.constExpr(r)
			} else {
				m.funcRef(r)
			}
		}

		if r.err != nil {
			return
		}
		m.has.elems++
	}
}

// need refuses the use of something that the module has none of, such as memory
// 0.
func (r *reader) need(what string, n int) {
	if n == 0 {
		r.refuse("%s does not exist", what)
	}
}

func (m *Binary) elementKind(r *reader, exprs bool) {
	kind := r.byte()
	if exprs && kind != 0x70 && kind != 0x6f || !exprs && kind != 0 {
		r.refuse("element kind 0x%02x is not allowed", kind)
	}
}

// dataSection reads the segments of memory. Their bytes are passed over.
func (m *Binary) dataSection(r *reader) {
	for range r.count("data segments", maxSegments) {
		flags := r.u32()
		switch flags {
		case 0:
		case 1:
		case 2:
			r.index("memory", m.has.memories)
		default:
			r.refuse("data segment flags %d are not allowed", flags)
		}

		if flags != 1 {
			r.need("memory 0", m.has.memories)
			m.constExpr(r)
		}

		r.skip(uint32(r.count("bytes of data", m.lim.ModuleBytes)))
		if r.err != nil {
			return
		}

		m.has.datas++
	}
}

// codeSection reads the bodies, of which there must be one for each function
// that is not imported.
func (m *Binary) codeSection(r *reader) {
	defined := len(m.funcs) - m.imported
	n := r.count("function bodies", m.lim.Functions)
	if r.err == nil && n != defined {
		r.refuse("%d function bodies for %d functions", n, defined)
	}

	sectionEnd := r.end
	for i := range n {
		size := r.count("bytes of a function body", m.lim.BodyBytes)
		if r.err != nil {
			return
		}

		r.end = r.pos + size
		start := r.pos
		m.body(r, m.types[m.funcs[m.imported+i]])

		if r.err != nil {
			return
		}
		m.bodies = append(m.bodies, section{start, r.end})
		r.pos = r.end
		r.end = sectionEnd
	}
}

// space is what code in this module may name. A function's locals are added by
// its body.
func (m *Binary) space() space {
	return space{
		types:    len(m.types),
		funcs:    len(m.funcs),
		tables:   m.has.tables,
		memories: m.has.memories,
		globals:  m.has.globals,
		elems:    m.has.elems,
		datas:    max(m.has.announced, 0),
		brTable:  m.lim.BranchTable,
		depth:    1,
	}
}

// locals reads the local declarations of a body and returns how many slots the
// function has, parameters included.
func (r *reader) locals(t funcType, limit int) int {
	total := uint64(len(t.params))
	for range r.count("local groups", limit) {
		total += uint64(r.u32())
		if total > uint64(limit) {
			r.refuse("more than %d locals in a function", limit)
		}

		r.valType()
		if r.err != nil {
			return 0
		}
	}

	return int(total)
}

// body checks one function. Types are left to the engine's validator, which
// runs in linear time; what is checked is whatever could make it blow up, and
// every index.
func (m *Binary) body(r *reader, t funcType) {
	s := m.space()
	s.locals = r.locals(t, m.lim.Locals)
	f := weighed{
		m:      m,
		labels: []int{len(t.results)},
		values: len(t.params) + len(t.results),
		blocks: 1,
	}

	var in instr
	for s.depth > 0 && r.err == nil {
		r.instr(&in, &s)
		if r.err != nil {
			return
		}

		f.add(&in)
		s.depth = len(f.labels)
		if s.depth > m.lim.Nesting {
			r.refuse("blocks are nested deeper than %d", m.lim.Nesting)
		}
	}

	if r.err == nil && r.left() > 0 {
		r.refuse("a function body has %d bytes behind its end", r.left())
	}
	f.check(r, s.locals)
}

// weighed is one function whose cost to compile is summed while its body is
// scanned.
type weighed struct {
	m        *Binary
	labels   []int // values that a branch to each open block hands on
	blocks   int
	branches int
	values   int
	entries  int
}

// add counts one instruction and keeps the blocks that are open, for what
// branches to them hand on.
func (f *weighed) add(in *instr) {
	f.branches += in.branches()

	switch in.op {
	case opBlock, opLoop, opIf:
		params, results := f.m.blockValues(in.index)
		f.values += 1 + params + results
		f.blocks++

		if in.op == opLoop {
			f.labels = append(f.labels, params)
		} else {
			f.labels = append(f.labels, results)
		}
	case opEnd:
		f.labels = f.labels[:len(f.labels)-1]
	case opBr, opBrIf:
		f.values += 1 + f.label(in.index)
	case opBrTable:
		f.values += in.count * f.label(in.index)
		f.entries += in.count
	case opReturn:
		f.values += 1 + f.labels[0]
	case opCall:
		f.call(f.m.types[f.m.funcs[in.index]])
	case opCallIndirect:
		f.call(f.m.types[in.index])
	}
}

func (f *weighed) call(t funcType) { f.values += 1 + len(t.params) + len(t.results) }

func (f *weighed) label(depth uint32) int { return f.labels[len(f.labels)-1-int(depth)] }

// blockValues is how many values a block of this type takes, and how many it
// hands on.
func (m *Binary) blockValues(index uint32) (params, results int) {
	switch index {
	case blockEmpty:
		return 0, 0
	case blockValue:
		return 0, 1
	}

	t := m.types[index]
	return len(t.params), len(t.results)
}

// check adds the function to those before it, and holds it and all of them
// against the limits.
func (f *weighed) check(r *reader, locals int) {
	lim := &f.m.lim
	total := &f.m.weight
	total.work += f.branches * f.branches
	total.values += f.values
	total.entries += f.entries

	switch {
	case f.branches > lim.Branches:
		r.refuse("%d branches in a function exceed the limit of %d", f.branches, lim.Branches)
	case total.work > lim.CompileWork:
		r.refuse("so many functions with many branches would take too long to compile")
	case f.blocks*(locals+1) > maxMerges:
		r.refuse("%d blocks over %d locals would take too long to compile", f.blocks, locals)
	case f.values > lim.Values:
		r.refuse("the calls, blocks and branches of a function hand on %d values, more than %d", f.values, lim.Values)
	case total.values > lim.ModuleValues:
		r.refuse("the calls, blocks and branches hand on more than %d values", lim.ModuleValues)
	case f.entries > lim.TableEntries:
		r.refuse("the branch tables of a function have %d entries, more than %d", f.entries, lim.TableEntries)
	case total.entries > lim.ModuleTableEntries:
		r.refuse("the branch tables have more than %d entries", lim.ModuleTableEntries)
	}
}

// branches is what an instruction counts towards ScanLimits.Branches, with what
// the rewriter adds to it.
func (in *instr) branches() int {
	switch in.op {
	case opBlock, opBrIf, opCallIndirect:
		return 1
	case opIf:
		return 2
	case opLoop:
		return 4
	case opMisc:
		if in.sub >= miscMemoryInit {
			return 2
		}
	}
	return 0
}

// finish checks what no single section can: that sections agree with each
// other, and the exports of the ABI.
func (m *Binary) finish(r *reader) {
	if r.err != nil {
		return
	}
	if defined := len(m.funcs) - m.imported; defined != len(m.bodies) {
		r.refuse("%d function bodies for %d functions", len(m.bodies), defined)
	}
	if m.has.announced >= 0 && m.has.announced != m.has.datas {
		r.refuse("%d data segments where %d are announced", m.has.datas, m.has.announced)
	}

	m.info.CodeBytes = m.found[secCode].end - m.found[secCode].start
	m.checkABI(r)
}
