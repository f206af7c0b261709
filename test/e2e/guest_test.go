package e2e

import (
	"encoding/binary"
	"slices"
)

// The guests of these tests are put together here, instruction by instruction,
// so that each says no more and no less than what its test is about.

// code is a function's body under construction.
type code []byte

func (c *code) op(b ...byte)        { *c = append(*c, b...) }
func (c *code) get(local byte)      { c.op(0x20, local) }
func (c *code) set(local byte)      { c.op(0x21, local) }
func (c *code) i32(v int32)         { c.op(0x41); *c = appendSigned(*c, int64(v)) }
func (c *code) load(offset uint32)  { c.op(0x28, 2); *c = binary.AppendUvarint(*c, uint64(offset)) }
func (c *code) store(offset uint32) { c.op(0x36, 2); *c = binary.AppendUvarint(*c, uint64(offset)) }
func (c *code) addTo(local byte, n int32) {
	c.get(local)
	c.i32(n)
	c.op(opAdd)
	c.set(local)
}

const (
	opUnreachable = 0x00
	opIf          = 0x04
	opEnd         = 0x0b
	opBr          = 0x0c
	opLoop        = 0x03
	opEq          = 0x46
	opLtU         = 0x49
	opGtS         = 0x4a
	opGtU         = 0x4b
	opAdd         = 0x6a
	opSub         = 0x6b
	opAnd         = 0x71
	opShl         = 0x74
	opShrU        = 0x76
	noResult      = 0x40
)

func appendSigned(dst []byte, v int64) []byte {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(dst, b)
		}
		dst = append(dst, b|0x80)
	}
}

func vec(items ...[]byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(items))), slices.Concat(items...)...)
}

func name(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }

func section(id byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
}

func body(locals byte, c code) []byte {
	out := append([]byte{1, locals, 0x7f}, c...)
	return append(binary.AppendUvarint(nil, uint64(len(out)+1)), append(out, opEnd)...)
}

// guest is a module of guest ABI v1 (docs/abi.md).
type guest struct {
	imports    []string // "module.field" of functions
	importType byte     // index in the types below; 0: the module's own choice
	reasons    string
	locals     byte
	transform  code
	more       []code   // further functions, without parameters or results
	extra      [][]byte // sections before the memory section, whole
}

var wasmMagic = []byte("\x00asm\x01\x00\x00\x00")

// The types of every guest.
const (
	typeTransform = iota
	typeAlloc
	typeNothing
	typeLog
)

func (g guest) wasm() []byte {
	if g.importType == 0 {
		g.importType = typeNothing
	}
	var imports, functions, bodies [][]byte
	for _, i := range g.imports {
		mod, field, _ := cut(i)
		imports = append(imports, slices.Concat(name(mod), name(field), []byte{0, g.importType}))
	}

	functions = append(functions, []byte{typeTransform}, []byte{typeAlloc})
	bodies = append(bodies, body(g.locals, g.transform), body(2, allocator()))
	for _, c := range g.more {
		functions, bodies = append(functions, []byte{typeNothing}), append(bodies, body(0, c))
	}

	first := byte(len(imports))
	out := slices.Concat(wasmMagic, section(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f},
		[]byte{0x60, 0, 0}, []byte{0x60, 2, 0x7f, 0x7f, 0})))
	if first > 0 {
		out = append(out, section(2, vec(imports...))...)
	}

	out = append(out, section(3, vec(functions...))...)
	out = append(out, slices.Concat(g.extra...)...)
	out = append(out, section(5, vec([]byte{0, 2}))...)
	out = append(out, section(6, vec(append([]byte{0x7f, 1, 0x41}, append(appendSigned(nil, 1024), opEnd)...)))...)
	out = append(out, section(7, vec(
		append(name("memory"), 2, 0),
		append(name("guardlock_transform_v1"), 0, first),
		append(name("guardlock_alloc"), 0, first+1)))...)

	out = append(out, section(10, vec(bodies...))...)
	if g.reasons != "" {
		out = append(out, section(0, append(name("guardlock.reasons"), g.reasons...))...)
	}

	return out
}

func cut(s string) (before, after string, ok bool) {
	for i := range s {
		if s[i] == '.' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// allocator gives memory behind what it gave before, and grows it: size 0,
// align 1, start 2, end 3.
func allocator() code {
	const size, align, start, end = 0, 1, 2, 3
	var c code
	c.op(0x23, 0) // the heap
	c.get(align)
	c.op(opAdd)
	c.i32(1)
	c.op(opSub)
	c.i32(0)
	c.get(align)
	c.op(opSub, opAnd)
	c.set(start)
	c.get(start)
	c.get(size)
	c.op(opAdd)
	c.set(end)
	c.get(end)
	c.op(0x3f, 0) // pages
	c.i32(16)
	c.op(opShl, opGtU, opIf, noResult)
	c.get(end)
	c.i32(16)
	c.op(opShrU)
	c.i32(1)
	c.op(opAdd, 0x3f, 0, opSub, 0x40, 0) // grow by what lacks
	c.i32(-1)
	c.op(opEq, opIf, noResult)
	c.i32(0)
	c.op(0x0f, opEnd, opEnd) // return: none left
	c.get(end)
	c.op(0x24, 0)
	c.get(start)

	return c
}

// eachRecord begins a loop over the records of a frame. What follows is done with
// each, whose input descriptor is the output already.
func (c *code) eachRecord(frame, i, n, in, out byte) {
	for _, field := range []struct{ at, local byte }{{8, in}, {12, n}, {16, out}} {
		c.get(frame)
		c.load(uint32(field.at))
		c.set(field.local)
	}

	c.op(opLoop, noResult)
	c.get(i)
	c.get(n)
	c.op(opLtU, opIf, noResult)
	c.get(out)
	c.get(in)
	c.i32(48)
	c.op(0xfc, 10, 0, 0) // memory.copy of the descriptor
}

// judge does with each record what its value's first byte asks for.
//
//	r reject  d drop  q route  m change  t trap  l loop for ever  else pass
func judge() []byte {
	const frame, i, n, in, out, value, first = 0, 1, 2, 3, 4, 5, 6
	var c code
	c.eachRecord(frame, i, n, in, out)
	c.get(in)
	c.load(28)
	c.i32(0)
	c.op(opGtS, opIf, noResult)
	c.get(in)
	c.load(24)
	c.set(value)
	c.get(value)
	c.op(0x2d, 0, 0) // load8_u
	c.set(first)
	when := func(letter byte, do func()) {
		c.get(first)
		c.i32(int32(letter))
		c.op(opEq, opIf, noResult)
		do()
		c.op(opEnd)
	}

	put := func(offset uint32, v int32) {
		c.get(out)
		c.i32(v)
		c.store(offset)
	}

	when('r', func() { put(44, 1|1<<16) })
	when('d', func() { put(44, 2|2<<16) })
	when('q', func() { put(40, 1); put(44, 3|3<<16) })
	when('m', func() { c.get(value); c.i32('M'); c.op(0x3a, 0, 0) })
	when('t', func() { c.op(opUnreachable) })
	when('l', func() { c.op(opLoop, noResult, opBr, 0, opEnd) })
	c.op(opEnd)
	c.addTo(in, 48)
	c.addTo(out, 48)
	c.addTo(i, 1)
	c.op(opBr, 1, opEnd, opEnd)
	c.get(n)

	return guest{reasons: "judge.no\njudge.drop\njudge.route", locals: 6, transform: c}.wasm()
}

// pass copies every descriptor as it is.
func pass() code {
	const frame = 0
	var c code
	c.get(frame)
	c.load(16)
	c.get(frame)
	c.load(8)
	c.get(frame)
	c.load(12)
	c.i32(48)
	c.op(0x6c, 0xfc, 10, 0, 0)
	c.get(frame)
	c.load(12)

	return c
}

// passer passes everything, and imports what it likes.
func passer(imports ...string) []byte { return guest{imports: imports, transform: pass()}.wasm() }
