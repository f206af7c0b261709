package wasm

import "math"

// The opcodes that the scan or the rewriter treats by name. All others are
// treated by ranges.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI32GtU       = 0x4b
	opI32LeU       = 0x4d
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32ShrU      = 0x76
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd

	miscMemoryInit = 8
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableFill  = 17

	typeV128 = 0x7b
)

// instr is one decoded instruction. index is the function, label, local, global
// or type that it names: of a branch table the last label, of a block its type or
// one of the two below.
type instr struct {
	op    byte
	sub   uint32 // of opMisc and opVector
	index uint32
	count int // of a branch table's labels
	start int
	body  int // where the immediates begin
	tail  int // where the zeros begin that end the immediates
	zeros int // how many they are: indices of the only memory or table
}

// Types of blocks that are not in the type section, above every index of it.
const (
	blockEmpty = math.MaxUint32     // hands nothing on
	blockValue = math.MaxUint32 - 1 // one result
)

// space is what indices in a body may name. The rewriter adds one function, two
// globals and some types and locals of its own behind the module's, so an index
// out of range must be refused here: after the rewriting it could be in range.
type space struct {
	types, funcs, tables, memories, globals, elems, datas int
	locals                                                int
	depth                                                 int // open blocks, the function itself included
	brTable                                               int
}

// instr reads one instruction into in, and refuses whatever s does not have or
// the engine is not to see.
func (r *reader) instr(in *instr, s *space) {
	in.start = r.pos
	in.op = r.byte()
	in.sub = 0
	in.index = 0
	in.zeros = 0
	in.body = r.pos

	switch op := in.op; {
	case op >= 0x45 && op <= 0xc4, op == opRefIsNull, op <= 0x01, op == opElse, op == opEnd,
		op == opReturn, op == 0x1a, op == 0x1b:
	case op >= opLocalGet && op <= opLocalTee:
		in.index = r.index("local", s.locals)
	case op >= 0x28 && op <= 0x3e:
		r.memArg(s)
	case op >= opBlock && op <= opIf:
		in.index = r.blockType(s)
	case op == opBr, op == opBrIf:
		in.index = r.index("label", s.depth)
	case op == opBrTable:
		r.branchTable(in, s)
	case op == opCall, op == opRefFunc:
		in.index = r.index("function", s.funcs)
	case op == opCallIndirect:
		in.index = r.index("type", s.types)
		r.zero(in, "table", s.tables)
	case op == opGlobalGet, op == opGlobalSet:
		in.index = r.index("global", s.globals)
	default:
		r.rareInstr(in, s)
	}
}

// rareInstr reads the instructions that are not the bulk of code, and refuses
// all that the engine is not to see.
func (r *reader) rareInstr(in *instr, s *space) {
	switch in.op {
	case opSelectTyped:
		r.one("select", 1)
		r.valType()
	case opTableGet, opTableSet:
		r.zero(in, "table", s.tables)
	case 0x3f, opMemoryGrow:
		r.zero(in, "memory", s.memories)
	case opI32Const, opI64Const, opF32Const, opF64Const:
		r.constant(in.op)
	case opRefNull:
		r.valType()
	case opMisc:
		r.miscInstr(in, s)
	case opVector:
		r.vectorInstr(in, s)
	case 0x12, 0x13, 0x14, 0x15:
		r.refuse("tail calls and typed function references are not allowed")
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		r.refuse("exceptions are not allowed")
	case 0xfe:
		r.refuse("threads are not allowed")
	default:
		r.refuse("instruction 0x%02x is not allowed", in.op)
	}
}

// constant skips the value of a constant instruction of a number.
func (r *reader) constant(op byte) {
	switch op {
	case opI32Const:
		r.signed(5)
	case opI64Const:
		r.signed(10)
	case opF32Const:
		r.skip(4)
	case opF64Const:
		r.skip(8)
	}
}

// The engine reads some immediates as one byte where others, or its own
// validator, read a number of any length. What they would disagree on is refused
// here or written anew by the meter (padded): behind it, code could stand that
// the one sees and the other does not, and that would then be neither validated
// nor metered.

// one reads a byte that must be want, where the format leaves room for others
// that nobody writes.
func (r *reader) one(what string, want byte) {
	if got := r.byte(); r.err == nil && got != want {
		r.refuse("the operand 0x%02x of %s is not allowed", got, what)
	}
}

// zero reads the index of the only memory or table. Linkers leave room for five
// bytes where they fill the index in: clang from 19 on and rustc from 1.82 on do so
// in every call_indirect.
func (r *reader) zero(in *instr, what string, n int) {
	r.need(what+" 0", n)
	if in.zeros == 0 {
		in.tail = r.pos
	}
	in.zeros++

	r.index(what, min(n, 1))
}

// padded reports whether the zeros at the end of the instruction, which was read
// up to end, are longer than the one byte each that the engine takes.
func (in *instr) padded(end int) bool { return in.zeros > 0 && end-in.tail > in.zeros }

// miscInstr reads what follows the prefix 0xfc: conversions, and bulk
// instructions on memory and tables.
func (r *reader) miscInstr(in *instr, s *space) {
	in.sub = uint32(r.byte())
	switch {
	case in.sub >= 0x80:
		r.refuse("an instruction is encoded in more bytes than it needs")
	case in.sub < 8:
	case in.sub == miscMemoryInit:
		r.index("data segment", s.datas)
		r.zero(in, "memory", s.memories)
	case in.sub == 9:
		r.index("data segment", s.datas)
	case in.sub == miscMemoryCopy:
		r.zero(in, "memory", s.memories)
		r.zero(in, "memory", s.memories)
	case in.sub == miscMemoryFill:
		r.zero(in, "memory", s.memories)
	case in.sub == miscTableInit:
		r.index("element segment", s.elems)
		r.zero(in, "table", s.tables)
	case in.sub == 13:
		r.index("element segment", s.elems)
	case in.sub == 14:
		r.zero(in, "table", s.tables)
		r.zero(in, "table", s.tables)
	case in.sub == miscTableGrow:
		r.refuse("table.grow is not allowed: the engine does not bound tables")
	case in.sub == 16, in.sub == miscTableFill:
		r.zero(in, "table", s.tables)
	default:
		r.refuse("instruction 0xfc %d is not allowed", in.sub)
	}
}

// vectorInstr reads what follows the prefix 0xfd: SIMD of 128 bits, without the
// relaxed instructions, whose results differ from machine to machine.
func (r *reader) vectorInstr(in *instr, s *space) {
	in.sub = uint32(r.byte())
	if in.sub >= 0x80 { // two bytes, the second of them 1 up to number 255
		if more := r.byte(); r.err == nil && more == 0 {
			r.refuse("an instruction is encoded in more bytes than it needs")
		} else if r.err == nil && more != 1 {
			r.refuse("relaxed SIMD is not allowed")
		}
	}

	switch sub := in.sub; {
	case sub <= 11, sub == 92, sub == 93:
		r.memArg(s)
	case sub == 12, sub == 13:
		r.skip(16)
	case sub >= 21 && sub <= 34:
		r.skip(1)
	case sub >= 84 && sub <= 91:
		r.memArg(s)
		r.skip(1)
	}
}

func (r *reader) memArg(s *space) {
	if align := r.u32(); align > 4 {
		r.refuse("a memory access is aligned to more than 16 bytes or names a second memory")
	}
	r.u32()
	r.need("memory 0", s.memories)
}

// blockType reads the type of a block, in one of three forms: nothing, one
// value, or an index of a type.
func (r *reader) blockType(s *space) uint32 {
	switch {
	case r.pos < r.end && r.b[r.pos] == 0x40:
		r.pos++
		return blockEmpty
	case r.pos < r.end && isValType(r.b[r.pos]):
		r.pos++
		return blockValue
	}

	if r.pos < r.end && r.b[r.pos]&0xc0 == 0x40 { // one byte, negative: no type index
		r.refuse("block type 0x%02x is not allowed", r.b[r.pos])
		return blockEmpty
	}

	return r.index("block type", s.types)
}

func (r *reader) branchTable(in *instr, s *space) {
	in.count = r.count("branch table entries", s.brTable) + 1
	for range in.count {
		in.index = r.index("label", s.depth)
	}
}
