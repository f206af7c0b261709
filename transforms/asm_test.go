package transforms

import (
	"encoding/binary"
	"slices"
)

// A small assembler: enough to write guests, and above all broken ones, byte by
// byte. A guest's functions are: its imports, then transform, then alloc, then
// what extra holds.

// The numbers of the instructions and sections that the tests use. They are the
// specification's, so that package wasm need not show its own.
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
	opTableSet     = 0x26
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscTableCopy  = 14
	miscTableFill  = 17
	miscTableGrow  = 15
)

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

const (
	reasonSection = "guardlock.reasons"
	metricSection = "guardlock.metrics"
)

// The types every assembled guest has.
const (
	typTransform = iota // (i32)->i32
	typAlloc            // (i32,i32)->i32
	typVoid             // ()->()
	typLog              // (i32,i32)->()
	typFour             // (i32,i32,i32,i32)->i32
	typThree            // (i32,i32,i32)->i32
	typSeal             // seven i32->i32
	typAbort            // (i32,i32,i32,i32)->()
	typPair             // (i32)->(i32,i32)
	typEight            // eight i32->i32
	typNine             // nine i32->i32
	typCount
)

type asmFunc struct {
	typ    int
	export string
	locals int // all i32
	code   []byte
}

type asm struct {
	imports   [][]byte // of functions
	types     [][]byte // more of them, from typCount on
	others    [][]byte // imports of other kinds
	transform []byte
	locals    int // of transform, all i32, from index 1
	alloc     []byte
	extra     []asmFunc
	pages     uint32
	reasons   string
	metrics   string
	exports   [][]byte // more of them
	before    []byte   // raw sections in front of the type section
	table     []byte   // raw table and element sections
	element   []byte
	tail      []byte // raw sections behind the code
	globals   [][]byte
}

func u32(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func vec(items ...[]byte) []byte { return cat(u32(uint32(len(items))), cat(items...)) }

func str(s string) []byte { return cat(u32(uint32(len(s))), []byte(s)) }

func sec(id int, contents []byte) []byte {
	return cat([]byte{byte(id)}, u32(uint32(len(contents))), contents)
}

func custom(name string, contents []byte) []byte { return sec(0, cat(str(name), contents)) }

func importFunc(module, name string, typ uint32) []byte {
	return cat(str(module), str(name), []byte{0}, u32(typ))
}

func exportEntry(name string, kind byte, index uint32) []byte {
	return cat(str(name), []byte{kind}, u32(index))
}

func funcType0(params, results int) []byte {
	f := []byte{0x60, byte(params)}
	for range params {
		f = append(f, 0x7f)
	}

	f = append(f, byte(results))
	for range results {
		f = append(f, 0x7f)
	}
	return f
}

func function(locals int, code []byte) []byte {
	decl := vec()
	if locals > 0 {
		decl = vec(cat(u32(uint32(locals)), []byte{0x7f}))
	}
	body := cat(decl, code, []byte{opEnd})
	return cat(u32(uint32(len(body))), body)
}

var asmMagic = []byte("\x00asm\x01\x00\x00\x00")

// wasm assembles the guest.
func (a asm) wasm() []byte {
	if a.transform == nil {
		a.transform = cat(copyDescs(), count())
	}
	if a.alloc == nil {
		a.alloc = bumpAlloc()
	}
	if a.pages == 0 {
		a.pages = 32
	}

	n := uint32(len(a.imports))
	types := vec(append([][]byte{funcType0(1, 1), funcType0(2, 1), funcType0(0, 0), funcType0(2, 0), funcType0(4, 1),
		funcType0(3, 1), funcType0(7, 1), funcType0(4, 0), funcType0(1, 2),
		funcType0(8, 1), funcType0(9, 1)}, a.types...)...)
	funcs := [][]byte{u32(typTransform), u32(typAlloc)}
	codes := [][]byte{function(a.locals, a.transform), function(0, a.alloc)}
	exports := append([][]byte{exportEntry("memory", 2, 0), exportEntry("guardlock_transform_v1", 0, n),
		exportEntry("guardlock_alloc", 0, n+1)}, a.exports...)
	for k, f := range a.extra {
		funcs = append(funcs, u32(uint32(f.typ)))
		codes = append(codes, function(f.locals, f.code))
		if f.export != "" {
			exports = append(exports, exportEntry(f.export, 0, n+2+uint32(k)))
		}
	}

	out := cat(asmMagic, a.before, sec(secType, types))
	if imports := slices.Concat(a.imports, a.others); len(imports) > 0 {
		out = append(out, sec(secImport, vec(imports...))...)
	}

	globals := append([][]byte{cat([]byte{0x7f, 1}, i32c(4096), []byte{opEnd})}, a.globals...)
	out = cat(out, sec(secFunction, vec(funcs...)), a.table, sec(secMemory, cat([]byte{1, 0}, u32(a.pages))),
		sec(secGlobal, vec(globals...)), sec(secExport, vec(exports...)), a.element, sec(secCode, vec(codes...)), a.tail)
	if a.metrics != "" {
		out = append(out, custom(metricSection, []byte(a.metrics))...)
	}
	if a.reasons != "" {
		out = append(out, custom(reasonSection, []byte(a.reasons))...)
	}

	return out
}

func i32c(v int32) []byte {
	out := []byte{opI32Const}
	for v < -64 || v > 63 {
		out = append(out, byte(v)&0x7f|0x80)
		v >>= 7
	}
	return append(out, byte(v)&0x7f)
}

func lget(i uint32) []byte           { return cat(op(opLocalGet), u32(i)) }
func lset(i uint32) []byte           { return cat(op(opLocalSet), u32(i)) }
func call(f uint32) []byte           { return cat(op(opCall), u32(f)) }
func load32(off uint32) []byte       { return cat(op(0x28, 0), u32(off)) }
func store32(off uint32) []byte      { return cat(op(0x36, 0), u32(off)) }
func op(codes ...byte) []byte        { return codes }
func memoryCopy() []byte             { return op(opMisc, miscMemoryCopy, 0, 0) }
func memoryFill() []byte             { return op(opMisc, miscMemoryFill, 0) }
func loopForever(body []byte) []byte { return cat(op(opLoop, 0x40), body, op(opBr, 0, opEnd)) }

// bumpAlloc returns global 0 and moves it behind the block, to a multiple of 16;
// or 0 when the memory ends before.
func bumpAlloc() []byte {
	return cat(op(opGlobalGet, 0), lget(0), op(opI32Add), i32c(15), op(opI32Add), i32c(-16), op(0x71), lset(1),
		lget(1), op(0x3f, 0), i32c(16), op(0x74, 0x4b), op(opIf, 0x7f), i32c(0), op(opElse, opGlobalGet, 0),
		lget(1), op(opGlobalSet, 0, opEnd))
}

// frameField pushes a field of the frame, which is transform's parameter.
func frameField(off uint32) []byte { return cat(lget(0), load32(off)) }

// copyDescs copies the input descriptors to the output table.
func copyDescs() []byte {
	return cat(frameField(frameOutDescs), frameField(frameInDescs), frameField(frameInCount), i32c(descriptorSize), op(0x6c), memoryCopy())
}

// copyDesc copies input descriptor from to output descriptor to.
func copyDesc(to, from int32) []byte {
	return cat(frameField(frameOutDescs), i32c(to*descriptorSize), op(opI32Add),
		frameField(frameInDescs), i32c(from*descriptorSize), op(opI32Add), i32c(descriptorSize), memoryCopy())
}

// count pushes in_count.
func count() []byte { return frameField(frameInCount) }

// setOut writes a field of output descriptor n.
func setOut(n, field int, v int32) []byte {
	return cat(frameField(frameOutDescs), i32c(v), store32(uint32(n*descriptorSize+field)))
}

// tampered passes everything on after these changes.
func tampered(changes ...[]byte) []byte {
	return cat(copyDescs(), cat(changes...), count())
}
