package wasm

import "slices"

// metered is one function body on its way through the rewriter. One value
// serves all bodies in turn.
type metered struct {
	w              *rewriter
	typ            funcType
	r              reader
	declared, code int // where the declarations and the instructions begin
	space          space
	costs          []int32 // of the entry, then of each loop in the order of the code
	loops          int     // how many loops were written
	calls          bool
	bulk           bool
	ahead          int32  // fuel that its loops are given at a time
	handed         int32  // bytes that calls and blocks hand on
	counter        uint32 // local: fuel of the loops
	operand        uint32 // local: the length of a bulk instruction
	out            []byte
}

// code writes the code section: every body with what it pays, and behind them
// burn, fill and copy.
func (w *rewriter) code() []byte {
	w.blocks = make(map[string]int)
	w.yieldTyp = w.addType([]byte{0x7f}, nil)
	w.bulkTyp = w.addType([]byte{0x7f, 0x7f, 0x7f}, nil)
	contents := appendU32(nil, uint32(len(w.m.bodies))+3)
	f := metered{w: w}
	w.unpaid = make([]int32, len(w.m.funcs))

	for i := range w.m.bodies {
		f.open(i)
		if f.measure(); f.free() {
			w.unpaid[w.m.imported+i] = f.costs[0]
		}
	}

	for i := range w.m.bodies {
		f.open(i)
		f.rewrite()
		contents = append(appendU32(contents, uint32(len(f.out))), f.out...)
	}

	for _, write := range []func(){f.writeBurn, f.writeFill, f.writeCopy} {
		f.out = append(f.out[:0], 0) // no locals
		write()
		f.out = append(f.out, opEnd)
		contents = append(appendU32(contents, uint32(len(f.out))), f.out...)
	}

	return contents
}

// writeBurn writes the function burn(units). Loops and bulk instructions call it
// to keep their code short: the engine's compile time grows with the square of
// the branches in a function.
func (f *metered) writeBurn() {
	f.global(opGlobalGet, f.w.fuel)
	f.local(opLocalGet, 0)
	f.take()
}

// The functions fill and copy take the operands of the instruction that they
// stand for. One that is out of bounds traps as it would, though some pieces may
// be done by then: nobody looks at the memory of a guest that trapped.
const (
	bulkTo = iota
	bulkFrom
	bulkLength
)

func (f *metered) writeFill() {
	f.pieces(func() {
		f.pay()
		f.bulkOperands(f.piece)
		f.out = append(f.out, opMisc, miscMemoryFill, 0)
		f.advance(bulkTo)
	})

	f.payRest()
	f.bulkOperands(f.rest)
	f.out = append(f.out, opMisc, miscMemoryFill, 0)
}

// writeCopy goes upwards or downwards, so that no piece overwrites what a later
// one is to read.
func (f *metered) writeCopy() {
	f.local(opLocalGet, bulkTo)
	f.local(opLocalGet, bulkFrom)
	f.out = append(f.out, opI32LeU, opIf, 0x40)
	f.pieces(func() {
		f.pay()
		f.bulkOperands(f.piece)
		f.out = append(f.out, opMisc, miscMemoryCopy, 0, 0)
		f.advance(bulkTo)
		f.advance(bulkFrom)
	})

	f.out = append(f.out, opElse)
	f.pieces(func() {
		f.pay()
		for _, operand := range []uint32{bulkTo, bulkFrom} {
			f.local(opLocalGet, operand)
			f.local(opLocalGet, bulkLength)
			f.out = append(f.out, opI32Add)
			f.piece()
			f.out = append(f.out, opI32Sub)
		}

		f.piece()
		f.out = append(f.out, opMisc, miscMemoryCopy, 0, 0)
	})

	f.out = append(f.out, opEnd)

	f.payRest()
	f.bulkOperands(f.rest)
	f.out = append(f.out, opMisc, miscMemoryCopy, 0, 0)
}

// pieces writes a loop around body that runs while more than a piece is left, and
// takes one off the length after each turn.
func (f *metered) pieces(body func()) {
	f.out = append(f.out, opLoop, 0x40)
	f.rest()
	f.piece()
	f.out = append(f.out, opI32GtU, opIf, 0x40)
	body()
	f.rest()
	f.piece()
	f.out = append(f.out, opI32Sub)
	f.local(opLocalSet, bulkLength)
	f.out = append(f.out, opBr, 1, opEnd, opEnd)
}

func (f *metered) piece() { f.constant(bulkChunk) }
func (f *metered) rest()  { f.local(opLocalGet, bulkLength) }

func (f *metered) bulkOperands(length func()) {
	f.local(opLocalGet, bulkTo)
	f.local(opLocalGet, bulkFrom)
	length()
}

func (f *metered) advance(operand uint32) {
	f.local(opLocalGet, operand)
	f.piece()
	f.out = append(f.out, opI32Add)
	f.local(opLocalSet, operand)
}

func (f *metered) pay() {
	f.constant(bulkChunk >> bulkShift)
	f.callBurn()
}

func (f *metered) payRest() {
	f.rest()
	f.constant(bulkShift)
	f.out = append(f.out, opI32ShrU)
	f.callBurn()
}

// open begins with body i and reads its declarations. What was known of the
// body before is forgotten.
func (f *metered) open(i int) {
	body := f.w.m.bodies[i]
	f.typ = f.w.m.types[f.w.m.funcs[f.w.m.imported+i]]
	f.r = reader{b: f.w.m.wasm, pos: body.start, end: body.end}
	f.out = f.out[:0]
	f.costs = f.costs[:0]
	f.loops = 0
	f.calls = false
	f.bulk = false
	f.ahead = 0
	f.handed = 0
	f.space = f.w.m.space()
	f.space.locals = f.r.locals(f.typ, f.w.m.lim.Locals)
	f.declared = body.start
	f.code = f.r.pos
}

// free reports whether the function's callers pay for its entry: it is short
// and calls nothing.
func (f *metered) free() bool { return !f.calls && f.costs[0] <= leafCost }

func (f *metered) rewrite() {
	f.measure()
	f.writeLocals(f.declared, f.code)
	f.r.pos = f.code
	f.writeEntry()
	f.writeBody()
	f.writeExit()
}

// measure sums what each loop and the code outside of loops cost. Branches
// forward only skip code, so that the sum bounds what one turn can execute.
func (f *metered) measure() {
	f.costs = append(f.costs, 1)
	var open []int // the cost that each open block adds to
	current := 0
	s := f.space
	var in instr
	for s.depth > 0 && f.r.err == nil {
		f.r.instr(&in, &s)
		f.costs[current] += f.cost(&in)
		f.handed += f.handsOn(&in)

		switch in.op {
		case opBlock, opIf:
			open = append(open, current)
			s.depth++
		case opLoop:
			open = append(open, current)
			s.depth++
			f.costs = append(f.costs, 1)
			current = len(f.costs) - 1
		case opEnd:
			s.depth--
			if s.depth > 0 {
				current = open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
	}

	if loops := f.costs[1:]; len(loops) > 0 {
		f.ahead = min(max(leastAhead, turnsAhead*min(slices.Max(loops), mostAhead)), mostAhead)
		f.costs[0] += f.ahead
	}
}

// cost is the fuel of one instruction. It notes whether the function calls
// others or runs bulk instructions.
func (f *metered) cost(in *instr) int32 {
	switch in.op {
	case opCall:
		f.calls = true
		return callCost + f.w.unpaid[in.index]
	case opCallIndirect:
		f.calls = true
		return callCost + leafCost
	case opMemoryGrow:
		return growCost
	case opRefFunc, opTableGet, opTableSet:
		return leafCost
	case opMisc:
		if _, pays := in.operandShift(); pays {
			f.bulk = true
		}
		if in.sub >= miscMemoryInit {
			return leafCost
		}
	}

	return 1
}

// operandShift reports whether an instruction pays by its last operand, its
// length, and how many of what it counts are a unit, as a power of two.
func (in *instr) operandShift() (shift int32, pays bool) {
	switch {
	case in.op != opMisc:
		return 0, false
	case in.sub == miscMemoryInit:
		return bulkShift, true
	case in.sub == miscTableInit || in.sub == miscTableCopy || in.sub == miscTableFill:
		return 0, true
	}

	return 0, false
}

// handsOn is how many bytes of the frame an instruction may take, out of
// proportion to its code: the engine keeps a place for each value.
func (f *metered) handsOn(in *instr) int32 {
	switch in.op {
	case opCall:
		return valueBytes(f.w.m.types[f.w.m.funcs[in.index]].results)
	case opCallIndirect:
		return valueBytes(f.w.m.types[in.index].results)
	case opBlock, opLoop, opIf:
		if in.index < blockValue {
			t := f.w.m.types[in.index]
			return valueBytes(t.params) + valueBytes(t.results)
		}
	}

	return 0
}

func valueBytes(types []byte) int32 {
	n := int32(0)
	for _, t := range types {
		if t == typeV128 {
			n += 8
		}
		n += 8
	}

	return n
}

// writeLocals copies the declarations and adds the rewriter's own locals behind
// them.
func (f *metered) writeLocals(start, code int) {
	r := reader{b: f.r.b, pos: start, end: code}
	groups := r.u32()
	added := uint32(0)
	f.counter = uint32(f.space.locals)
	f.operand = f.counter

	if len(f.costs) > 1 {
		added++
		f.operand++
	}

	if f.bulk {
		added++
	}
	if added == 0 {
		f.out = append(f.out, f.r.b[start:code]...)
		return
	}

	f.out = appendU32(f.out, groups+1)
	f.out = append(f.out, f.r.b[r.pos:code]...)
	f.out = append(appendU32(f.out, added), 0x7f)
}

// frame estimates the bytes of the function's frame: its locals, temporaries in
// proportion to its code, and what is handed on. Entry and exit must agree on it.
func (f *metered) frame() int32 {
	return int32(frameBytes+8*f.space.locals+(f.r.end-f.code)/4) + f.handed
}

// writeEntry writes what the function pays at its entry: its frame of the
// stack, and the fuel that its callers do not pay.
func (f *metered) writeEntry() {
	if f.calls {
		f.takeStack(-f.frame())
		f.global(opGlobalGet, f.w.stack)
		f.ifNegative()
		f.callYield(YieldStack)
		f.out = append(f.out, opEnd)
	}

	if !f.free() {
		f.global(opGlobalGet, f.w.fuel)
		f.constant(f.costs[0])
		f.take()
	}

	if f.ahead > 0 {
		f.constant(f.ahead)
		f.local(opLocalSet, f.counter)
	}

	if f.givesBack() {
		// The wrapper takes the place of the function's own label: a branch to
		// it, and return, now land before what was taken is given back.
		f.out = f.w.blockType(append(f.out, opBlock), f.typ.results)
	}
}

// givesBack reports whether a function gives back what it took: its frame, and the fuel
// that its loops did not use.
func (f *metered) givesBack() bool { return f.calls || f.ahead > 0 }

func (f *metered) writeExit() {
	if f.ahead > 0 {
		f.global(opGlobalGet, f.w.fuel)
		f.local(opLocalGet, f.counter)
		f.out = append(f.out, opI32Add)
		f.global(opGlobalSet, f.w.fuel)
	}
	if f.calls {
		f.takeStack(f.frame())
	}
	if f.givesBack() { // the body's own end closed the wrapper
		f.out = append(f.out, opEnd)
	}
}

// writeBody copies the instructions, with what loops and bulk instructions pay,
// function indices moved, and returns turned into branches to where what was taken
// is given back.
func (f *metered) writeBody() {
	f.space.depth = 1
	copied := f.r.pos // up to here the code was written
	var in instr
	for f.space.depth > 0 && f.r.err == nil {
		f.r.instr(&in, &f.space)
		switch in.op {
		case opBlock, opIf:
			f.space.depth++
		case opLoop:
			f.space.depth++
			f.flush(&copied, f.r.pos)
			f.loops++
			f.turn(f.costs[f.loops])
		case opEnd:
			f.space.depth--
		case opCall, opRefFunc:
			f.flush(&copied, in.body)
			f.out = appendU32(f.out, f.w.function(in.index))
			copied = f.r.pos
		case opReturn:
			if f.givesBack() {
				f.flush(&copied, in.start)
				f.out = appendU32(append(f.out, opBr), uint32(f.space.depth-1))
				copied = f.r.pos
			}
		case opMisc:
			f.writeBulk(&in, &copied)
		}

		if in.padded(f.r.pos) && copied <= in.tail {
			f.flush(&copied, in.tail)
			f.out = append(f.out, make([]byte, in.zeros)...)
			copied = f.r.pos
		}
	}

	f.flush(&copied, f.r.pos)
}

func (f *metered) flush(copied *int, to int) {
	f.out = append(f.out, f.r.b[*copied:to]...)
	*copied = to
}

// turn pays for one turn of a loop out of the counter, and refills that from
// the global when it is used up.
func (f *metered) turn(cost int32) {
	f.local(opLocalGet, f.counter)
	f.constant(cost)
	f.out = append(f.out, opI32Sub)
	f.local(opLocalTee, f.counter)
	f.ifNegative()
	f.local(opLocalGet, f.counter)
	f.constant(cost + f.ahead)
	f.out = append(f.out, opI32Add)
	f.local(opLocalSet, f.counter)
	f.constant(cost + f.ahead)
	f.callBurn()
	f.out = append(f.out, opEnd)
}

// writeBulk calls the function that stands for an instruction, or pays for it by
// its length, which is on the stack.
func (f *metered) writeBulk(in *instr, copied *int) {
	if in.sub == miscMemoryFill || in.sub == miscMemoryCopy {
		function := f.w.fill
		if in.sub == miscMemoryCopy {
			function = f.w.copy
		}

		f.flush(copied, in.start)
		f.out = appendU32(append(f.out, opCall), function)
		*copied = f.r.pos
		return
	}

	shift, pays := in.operandShift()
	if !pays {
		return
	}

	f.flush(copied, in.start)
	f.local(opLocalTee, f.operand)
	f.constant(shift)
	f.out = append(f.out, opI32ShrU)
	f.callBurn()
	f.local(opLocalGet, f.operand)
}

func (f *metered) callBurn() { f.out = appendU32(append(f.out, opCall), f.w.burn) }

// take lowers the fuel, which is on the stack, by the units above it, and yields
// when it is used up.
func (f *metered) take() {
	f.out = append(f.out, opI32Sub)
	f.global(opGlobalSet, f.w.fuel)
	f.global(opGlobalGet, f.w.fuel)
	f.ifNegative()
	f.callYield(YieldFuel)
	f.constant(FuelSlice)
	f.global(opGlobalSet, f.w.fuel)
	f.out = append(f.out, opEnd)
}

func (f *metered) takeStack(n int32) {
	f.global(opGlobalGet, f.w.stack)
	f.constant(n)
	f.out = append(f.out, opI32Add)
	f.global(opGlobalSet, f.w.stack)
}

func (f *metered) callYield(why int32) {
	f.constant(why)
	f.out = appendU32(append(f.out, opCall), f.w.yield)
}

func (f *metered) ifNegative() {
	f.constant(0)
	f.out = append(f.out, opI32LtS, opIf, 0x40)
}

func (f *metered) constant(v int32)         { f.out = appendS32(append(f.out, opI32Const), v) }
func (f *metered) local(op byte, i uint32)  { f.out = appendU32(append(f.out, op), i) }
func (f *metered) global(op byte, i uint32) { f.out = appendU32(append(f.out, op), i) }
