package wasm

import (
	"encoding/binary"
	"slices"
)

// The rewriter makes a guest pay for what it runs.
//
// It adds to the module one imported function, guardlock_runtime.yield, three
// functions (burn takes fuel, fill and copy stand for memory.fill and
// memory.copy), and two globals, fuel and stack. No export
// names them, and the scan refused every index that could reach them. One unit of
// fuel is about one instruction.
//
//   - A loop pays for each turn out of a local variable, which the engine keeps
//     in a register. The function's entry pays ahead for some turns, and the local
//     is refilled from the global after as many: leastAhead units at least, and
//     turnsAhead turns of its longest loop, but mostAhead units at most. What is left
//     of them goes back when the function returns.
//   - A function that calls others, loops or is long pays at its entry for the code
//     outside of its loops. For a short one that does neither its callers pay.
//   - Instructions whose cost depends on an operand pay by that operand before
//     they run. memory.fill and memory.copy run in pieces, each of which pays.
//   - When the global falls below zero the guest calls yield, where Go looks at
//     the clock, and where the scheduler and the garbage collector get the
//     thread; then it has FuelSlice units more.
//   - A function that calls others also takes its estimated frame from the stack
//     global and gives it back when it returns, so that recursion ends in an
//     error and not in the engine's ceiling of 400 MB. Locals, code and whatever
//     calls and blocks hand on count for the frame.
//
// So a guest runs at most about FuelSlice+mostAhead instructions and one function
// body between two looks at the clock: well under a millisecond, and some
// milliseconds if each of them misses the cache. What is forgiven when the fuel is
// filled up again is not lost, since the clock counts what was really used.
const (
	FuelSlice = 1 << 18

	leastAhead = 256
	turnsAhead = 4
	mostAhead  = 1 << 12

	callCost  = 4         // of a call, on top of what a callee does not pay itself
	leafCost  = 64        // the most that a function may cost and not pay itself
	growCost  = 4096      // of memory.grow, which moves nothing
	bulkShift = 4         // memory.fill and its kind: bytes for a unit, as a power of two
	bulkChunk = 256 << 10 // bytes that memory.fill and memory.copy move at a time

	frameBytes = 64 // of an empty frame; locals and temporaries come on top

	YieldModule = "guardlock_runtime"
	YieldName   = "yield"

	// What the guest passes to yield: which budget is spent.
	YieldFuel  = 0
	YieldStack = 1
)

// Meter returns the metered module, without custom sections. m was scanned and
// not refused; stackBytes is the budget of the call stack.
func Meter(m *Binary, stackBytes int) []byte {
	w := &rewriter{
		m:     m,
		fuel:  uint32(m.has.globals),
		stack: uint32(m.has.globals) + 1,
		yield: uint32(m.imported),
		burn:  uint32(len(m.funcs)) + 1,
		fill:  uint32(len(m.funcs)) + 2,
		copy:  uint32(len(m.funcs)) + 3,
	}

	code := w.code() // first: it adds block types
	out := make([]byte, 0, len(code)+len(m.wasm)-m.info.CodeBytes+256)
	out = append(out, m.wasm[:8]...)
	out = w.extend(out, secType, w.types, w.newTypes)
	out = w.extend(out, secImport, w.yieldImport(), 1)
	out = w.extend(out, secFunction, w.ownFunctions(), 3)
	out = w.copied(out, secTable, secMemory)
	out = w.globals(out, stackBytes)
	out = w.exports(out)
	out = w.patched(out, secElement)
	out = w.copied(out, secDataCount)
	out = appendSection(out, secCode, code)

	return w.copied(out, secData)
}

// rewriter makes one metered file. It lives for one call of Meter.
type rewriter struct {
	m        *Binary
	types    []byte // encoded, behind the module's own
	newTypes int
	yieldTyp int // of yield and burn
	bulkTyp  int // of fill and copy
	blocks   map[string]int
	unpaid   []int32 // by function: what its callers pay for it

	// The indices of what was added, behind the module's own.
	fuel, stack, yield, burn, fill, copy uint32
}

// function is the index of function i in the rewritten module: yield is the
// last import, so that the module's own functions move up by one.
func (w *rewriter) function(i uint32) uint32 {
	if i >= w.yield {
		return i + 1
	}
	return i
}

// OriginalFunction is the index in the file of function i of the metered module:
// rewriter.function the other way round. imported is how many functions the file
// imports and end how many it has with them; what the meter added is not the file's.
func OriginalFunction(i, imported, end uint32) (index uint32, own bool) {
	if i > imported {
		return i - 1, i-1 < end
	}
	return i, i < imported
}

func (w *rewriter) addType(params, results []byte) int {
	w.types = append(w.types, 0x60)
	w.types = append(appendU32(w.types, uint32(len(params))), params...)
	w.types = append(appendU32(w.types, uint32(len(results))), results...)
	w.newTypes++
	return len(w.m.types) + w.newTypes - 1
}

// ownFunctions are the types of burn, fill and copy, as the function section
// has them.
func (w *rewriter) ownFunctions() []byte {
	b := appendU32(nil, uint32(w.yieldTyp))
	b = appendU32(b, uint32(w.bulkTyp))
	return appendU32(b, uint32(w.bulkTyp))
}

func (w *rewriter) yieldImport() []byte {
	var b []byte
	b = append(appendU32(b, uint32(len(YieldModule))), YieldModule...)
	b = append(appendU32(b, uint32(len(YieldName))), YieldName...)
	b = append(b, 0)
	return appendU32(b, uint32(w.yieldTyp))
}

// blockType is the type of a block that yields the results of a function. More
// than one result needs a type of its own.
func (w *rewriter) blockType(dst []byte, results []byte) []byte {
	switch len(results) {
	case 0:
		return append(dst, 0x40)
	case 1:
		return append(dst, results[0])
	}

	i, ok := w.blocks[string(results)]
	if !ok {
		i = w.addType(nil, results)
		w.blocks[string(results)] = i
	}

	return appendS32(dst, int32(i))
}

// extend writes a vector section with more elements behind its own: n of them,
// encoded in more.
func (w *rewriter) extend(dst []byte, id int, more []byte, n int) []byte {
	r := w.section(id)
	old := uint32(0)
	if r.left() > 0 {
		old = r.u32()
	}

	contents := appendU32(nil, old+uint32(n))
	contents = append(contents, r.b[r.pos:r.end]...)
	return appendSection(dst, id, append(contents, more...))
}

func (w *rewriter) section(id int) *reader {
	s := w.m.found[id]
	return &reader{b: w.m.wasm, pos: s.start, end: s.end}
}

func (w *rewriter) copied(dst []byte, ids ...int) []byte {
	for _, id := range ids {
		if s := w.m.found[id]; s.end > s.start {
			dst = appendSection(dst, id, w.m.wasm[s.start:s.end])
		}
	}
	return dst
}

// patched copies a section with every function index in it moved.
func (w *rewriter) patched(dst []byte, id int) []byte {
	s := w.m.found[id]
	if s.end == s.start {
		return dst
	}
	return appendSection(dst, id, w.moved(nil, s.start, s.end))
}

// exports writes the export section, with the function of the start section in
// it, which the engine is not to call itself.
func (w *rewriter) exports(dst []byte) []byte {
	if w.m.start < 0 {
		return w.patched(dst, secExport)
	}

	r := w.section(secExport)
	contents := appendU32(nil, r.u32()+1)
	contents = w.moved(contents, r.pos, r.end)
	contents = append(appendU32(contents, uint32(len(SectionStart))), SectionStart...)
	contents = appendU32(append(contents, 0), w.function(uint32(w.m.start)))

	return appendSection(dst, secExport, contents)
}

// moved copies wasm[from:to] with the function indices moved that the scan has
// noted there.
func (w *rewriter) moved(dst []byte, from, to int) []byte {
	refs := w.m.refs
	first, _ := slices.BinarySearchFunc(refs, from, func(r funcRef, pos int) int { return r.start - pos })
	for _, ref := range refs[first:] {
		if ref.start >= to {
			break
		}
		dst = append(dst, w.m.wasm[from:ref.start]...)
		dst = appendU32(dst, w.function(ref.index))
		from = ref.end
	}

	return append(dst, w.m.wasm[from:to]...)
}

func (w *rewriter) globals(dst []byte, stackBytes int) []byte {
	r := w.section(secGlobal)
	old := uint32(0)
	if r.left() > 0 {
		old = r.u32()
	}

	contents := appendU32(nil, old+2)
	contents = w.moved(contents, r.pos, r.end)
	contents = appendGlobal(contents, FuelSlice)
	contents = appendGlobal(contents, int32(min(stackBytes, 1<<30)))

	return appendSection(dst, secGlobal, contents)
}

func appendGlobal(dst []byte, v int32) []byte {
	return append(appendS32(append(dst, 0x7f, 1, opI32Const), v), opEnd)
}

func appendSection(dst []byte, id int, contents []byte) []byte {
	dst = appendU32(append(dst, byte(id)), uint32(len(contents)))
	return append(dst, contents...)
}

// appendU32 appends an unsigned number as WebAssembly has it: unsigned LEB128, which
// is what Go calls a uvarint.
func appendU32(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

// appendS32 appends a signed number as WebAssembly has it: signed LEB128, which is
// not Go's varint, since that keeps the sign in the lowest bit.
func appendS32(dst []byte, v int32) []byte {
	for v < -64 || v > 63 {
		dst = append(dst, byte(v)&0x7f|0x80)
		v >>= 7
	}
	return append(dst, byte(v)&0x7f)
}
