package wasm

// metered is one function body on its way through the rewriter.
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
	counter        uint32 // local: fuel of the loops
	operand        uint32 // local: the length of a bulk instruction
	out            []byte
}

// code writes the code section.
func (w *rewriter) code() []byte {
	w.blocks = make(map[string]int)
	w.yieldTyp = w.addType([]byte{0x7f}, nil)
	contents := appendU32(nil, uint32(len(w.m.bodies))+1)
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

	f.writeBurn()
	return append(appendU32(contents, uint32(len(f.out))), f.out...)
}

// writeBurn writes the function burn(units). Loops and bulk instructions call it
// to keep their code short: the engine's compile time grows with the square of
// the branches in a function.
func (f *metered) writeBurn() {
	f.out = append(f.out[:0], 0)
	f.global(opGlobalGet, f.w.fuel)
	f.local(opLocalGet, 0)
	f.take()
	f.out = append(f.out, opEnd)
}

// open begins with body i and reads its declarations.
func (f *metered) open(i int) {
	body := f.w.m.bodies[i]
	f.typ = f.w.m.types[f.w.m.funcs[f.w.m.imported+i]]
	f.r = reader{b: f.w.m.wasm, pos: body.start, end: body.end}
	f.out = f.out[:0]
	f.costs = f.costs[:0]
	f.loops = 0
	f.calls = false
	f.bulk = false
	f.space = f.w.m.space()
	f.space.locals = f.r.locals(f.typ, f.w.m.lim.Locals)
	f.declared = body.start
	f.code = f.r.pos
}

// free reports whether the function's callers pay for its entry.
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
}

// cost is the fuel of one instruction, and notes what the function needs.
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
		switch in.sub {
		case miscMemoryInit, miscMemoryCopy, miscMemoryFill:
			f.bulk = true
			return leafCost
		}
		if in.sub >= miscTableInit {
			return rareCost
		}
	}
	return 1
}

// writeLocals copies the declarations and adds the rewriter's own.
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

// frame estimates the bytes of the function's frame: its locals, and
// temporaries in proportion to its code. Entry and exit must agree on it.
func (f *metered) frame() int32 {
	return int32(frameBytes + 8*f.space.locals + (f.r.end-f.code)/4)
}

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

	if f.calls {
		// The wrapper takes the place of the function's own label: a branch to
		// it, and return, now land before the frame is given back.
		f.out = f.w.blockType(append(f.out, opBlock), f.typ.results)
	}
}

func (f *metered) writeExit() {
	if f.calls { // the body's own end closed the wrapper
		f.takeStack(f.frame())
		f.out = append(f.out, opEnd)
	}
}

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
			if f.calls {
				f.flush(&copied, in.start)
				f.out = appendU32(append(f.out, opBr), uint32(f.space.depth-1))
				copied = f.r.pos
			}
		case opMisc:
			if in.sub == miscMemoryInit || in.sub == miscMemoryCopy || in.sub == miscMemoryFill {
				f.flush(&copied, in.start)
				f.burnOperand()
			}
		}

		if in.padded(f.r.pos) {
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

// turn pays for one turn of a loop.
func (f *metered) turn(cost int32) {
	f.local(opLocalGet, f.counter)
	f.constant(cost)
	f.out = append(f.out, opI32Sub)
	f.local(opLocalTee, f.counter)
	f.ifNegative()
	f.local(opLocalGet, f.counter)
	f.constant(cost + localFuel)
	f.out = append(f.out, opI32Add)
	f.local(opLocalSet, f.counter)
	f.constant(cost + localFuel)
	f.callBurn()
	f.out = append(f.out, opEnd)
}

// burnOperand pays for a bulk instruction, whose length is on the stack.
func (f *metered) burnOperand() {
	f.local(opLocalTee, f.operand)
	f.constant(bulkShift)
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
