package transforms

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/wasm"
)

func header(sections ...[]byte) []byte { return cat(asmMagic, cat(sections...)) }

// nested is depth blocks around nothing.
func nested(depth int) []byte {
	return cat(bytes.Repeat(op(opBlock, 0x40), depth), bytes.Repeat(op(opEnd), depth), i32c(0))
}

func typesOnly() []byte { return sec(secType, vec(funcType0(0, 0))) }

func bodyOnly(body []byte) []byte {
	return header(typesOnly(), sec(secFunction, vec(u32(0))), sec(secCode, vec(cat(u32(uint32(len(body))), body))))
}

func instruction(code ...byte) []byte { return bodyOnly(cat(vec(), code, op(opEnd))) }

func withMemory(code ...byte) []byte {
	return header(typesOnly(), sec(secFunction, vec(u32(0))), sec(secMemory, vec(op(0, 1))), sec(secCode, vec(function(0, code))))
}

// wide is a function of 16 results and some parameters that does a thing many times.
func wide(params, times int, thing []byte) []byte {
	body := cat(vec(), bytes.Repeat(thing, times), op(opEnd))
	return header(sec(secType, vec(funcType0(params, 16))), sec(secFunction, vec(u32(0))),
		sec(secCode, vec(cat(u32(uint32(len(body))), body))))
}

// manyFunctions are functions that all have this code.
func manyFunctions(n int, code []byte) []byte {
	return header(typesOnly(), sec(secFunction, vec(slices.Repeat([][]byte{u32(0)}, n)...)),
		sec(secCode, vec(slices.Repeat([][]byte{function(0, code)}, n)...)))
}

var refusals = []struct {
	rule string
	wasm []byte
	want string
}{
	{"NoMagic", []byte("#!/bin/sh"), "not a WebAssembly 1.0 module"},
	{"ComponentVersion", []byte("\x00asm\x0d\x00\x01\x00"), "a component, as WASI 0.2 and later make them: build a core module"},
	{"Empty", nil, "not a WebAssembly 1.0 module"},
	{"FunctionCountBomb", header(op(3, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 functions exceed"},
	{"ImportCountBomb", header(op(2, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 imports exceed"},
	{"TableCountBomb", header(op(4, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 tables exceed"},
	{"GlobalCountBomb", header(op(6, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 globals exceed"},
	{"ExportCountBomb", header(op(7, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 exports exceed"},
	{"ElementCountBomb", header(op(9, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 element segments exceed"},
	{"CodeCountBomb", header(op(10, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 function bodies exceed"},
	{"DataCountBomb", header(op(11, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 data segments exceed"},
	{"DataCountSectionBomb", header(op(12, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "4294967295 data segments exceed"},
	{"CountAboveBytesLeft", header(op(3, 2, 0xc8, 0x01)), "200 functions are announced in 0 bytes"},
	{"NumberTooLong", header(op(3, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)), "does not fit in 32 bits"},
	{"SectionBehindEnd", header(op(1, 100)), "100 bytes of a section are announced in 0 bytes"},
	{"SectionTooLong", header(op(1, 2, 0, 0)), "1 bytes too many"},
	{"SectionTwice", header(typesOnly(), typesOnly()), "type section appears twice"},
	{"SectionOrder", header(sec(secFunction, vec()), typesOnly()), "type section is out of order"},
	{"TagSection", header(op(13, 1, 0)), "section 13 is not allowed"},
	{"TruncatedCustom", header(op(0, 2, 50, 'x')), "custom section is truncated"},
	{"ManyParameters", header(sec(secType, cat(op(1, 0x60), u32(100_000), bytes.Repeat(op(0x7f), 100_000), op(0)))), "100000 parameters exceed"},
	{"ManyTypes", header(sec(secType, vec(slices.Repeat([][]byte{funcType0(0, 0)}, 5000)...))), "5000 types exceed"},
	{"ValueType", header(sec(secType, op(1, 0x60, 1, 0x6e, 0))), "value type 0x6e"},
	{"TypeForm", header(sec(secType, op(1, 0x5f, 0))), "type form 0x5f"},
	{"LongName", header(typesOnly(), sec(secImport, vec(importFunc(strings.Repeat("x", 300), "f", 0)))), "300 bytes of a module name exceed"},
	{"TagImport", header(typesOnly(), sec(secImport, vec(cat(str("a"), str("b"), op(4, 0, 0))))), "exception tags"},
	{"TwoTables", header(sec(secTable, vec(op(0x70, 0, 1), op(0x70, 0, 1)))), "2 tables exceed"},
	{"TableMinimum", header(sec(secTable, vec(cat(op(0x70, 0), u32(1<<27))))), "a table of 134217728 elements"},
	{"TwoMemories", header(sec(secMemory, vec(op(0, 1), op(0, 1)))), "2 memories exceed"},
	{"ImportedAndOwnMemory", header(sec(secImport, vec(cat(str("a"), str("b"), op(2, 0, 1)))), sec(secMemory, vec(op(0, 1)))), "more than one memory"},
	{"SharedMemory", header(sec(secMemory, vec(op(3, 1, 2)))), "shared memory"},
	{"Memory64", header(sec(secMemory, vec(op(4, 1)))), "64-bit memory"},
	{"MemoryPages", header(sec(secMemory, vec(cat(op(0), u32(70_000))))), "more than 65536 pages"},
	{"StartWithParameters", header(sec(secType, vec(funcType0(1, 0))), sec(secFunction, vec(u32(0))), sec(secStart, u32(0))), "start function must be a ()->()"},
	{"HostsExport", asm{extra: []asmFunc{{typ: typVoid, export: wasm.SectionStart}}}.wasm(), "is the host's"},
	{"FunctionsWithoutBodies", header(typesOnly(), sec(secFunction, vec(u32(0)))), "0 function bodies for 1 functions"},
	{"BodiesWithoutFunctions", header(sec(secCode, vec(function(0, nil)))), "1 function bodies for 0 functions"},
	{"BodyTooLong", bodyOnly(make([]byte, 300<<10)), "bytes of a function body exceed"},
	{"LocalsBomb", bodyOnly(cat(vec(cat(u32(49_000_000), op(0x7f))), op(opEnd))), "more than 10000 locals"},
	{"LocalsOverflow", bodyOnly(cat(vec(cat(u32(1<<32-1), op(0x7f)), cat(u32(1<<32-1), op(0x7f))), op(opEnd))), "more than 10000 locals"},
	{"NestedBlocks", bodyOnly(cat(vec(), nested(80_000), op(opEnd))), "nested deeper than 1024"},
	{"MoreNestedBlocks", bodyOnly(cat(vec(), nested(100_000), op(opEnd))), "300004 bytes of a function body exceed"},
	{"BranchTable", instruction(cat(i32c(0), op(opBrTable), u32(50_000), make([]byte, 50_001))...), "50000 branch table entries exceed"},
	{"ManyLoops", bodyOnly(cat(vec(), bytes.Repeat(op(opLoop, 0x40, opEnd), 5000), op(opEnd))), "20000 branches in a function exceed"},
	{"ManyLoopsInManyFunctions", header(typesOnly(), sec(secFunction, vec(slices.Repeat([][]byte{u32(0)}, 20)...)),
		sec(secCode, vec(slices.Repeat([][]byte{function(0, bytes.Repeat(op(opLoop, 0x40, opEnd), 1000))}, 20)...))), "would take too long to compile"},
	{"LocalsTimesBlocks", bodyOnly(cat(vec(cat(u32(9_000), op(0x7f))), bytes.Repeat(op(opBlock, 0x40, opEnd), 1000), op(opEnd))), "too long to compile"},
	{"BytesBehindBody", bodyOnly(cat(vec(), op(opEnd, 1))), "1 bytes behind its end"},
	{"BodyWithoutEnd", bodyOnly(cat(vec(), op(0x01))), "truncated"},
	{"TableGrow", header(typesOnly(), sec(secFunction, vec(u32(0))), sec(secTable, vec(op(0x70, 0, 1))),
		sec(secCode, vec(function(0, op(opMisc, miscTableGrow, 0))))), "table.grow is not allowed"},
	{"Threads", instruction(0xfe, 0, 0, 0), "threads are not allowed"},
	{"TailCall", instruction(0x12, 0), "tail calls"},
	{"Exceptions", instruction(0x08, 0), "exceptions are not allowed"},
	{"RelaxedSIMD", instruction(opVector, 0x80, 0x02), "relaxed SIMD"},
	{"HiddenCodeBehindVector", instruction(opVector, 0x8c, 0), "more bytes than it needs"},
	{"HiddenCodeBehindBulk", instruction(opMisc, 0x8b, 0), "more bytes than it needs"},
	{"MemoryNotTheOnlyOne", withMemory(0x3f, 0x81, 0), "memory 1 does not exist"},
	{"CopyFromAnotherMemory", withMemory(opMisc, miscMemoryCopy, 0, 0x81, 0), "memory 1 does not exist"},
	{"HiddenCodeBehindSelect", instruction(opSelectTyped, 0x81, 0, 0x7f), "operand 0x81 of select"},
	{"UnknownInstruction", instruction(0xff), "instruction 0xff"},
	{"GarbageCollection", instruction(0xfb, 0), "instruction 0xfb"},
	{"UnknownLocal", instruction(opLocalGet, 0), "local 0 does not exist"},
	{"UnknownGlobal", instruction(opGlobalGet, 0), "global 0 does not exist"},
	{"UnknownFunction", instruction(opCall, 1), "function 1 does not exist"},
	{"UnknownLabel", instruction(opBr, 1), "label 1 does not exist"},
	{"UnknownBlockType", instruction(opBlock, 1, opEnd), "block type 1 does not exist"},
	{"NegativeBlockType", instruction(opBlock, 0x41, opEnd), "block type 0x41"},
	{"NoMemory", instruction(0x28, 0, 0), "memory 0 does not exist"},
	{"SecondMemory", withMemory(0x28, 0x40, 0, 0), "names a second memory"},
	{"ComputedInitialiser", header(sec(secGlobal, vec(cat(op(0x7f, 0), i32c(1), i32c(1), op(opI32Add, opEnd))))), "more than one instruction"},
	{"CallInInitialiser", header(sec(secGlobal, vec(op(0x7f, 0, opCall, 0, opEnd)))), "not a constant"},
	{"ElementIndex", header(sec(secTable, vec(op(0x70, 0, 1))), sec(secElement, vec(cat(op(0), i32c(0), op(opEnd, 1, 7))))), "function 7 does not exist"},
	{"ManyElements", header(sec(secElement, vec(cat(op(5, 0x70), u32(70_000), bytes.Repeat(op(opRefNull, 0x70, opEnd), 70_000))))), "70000 elements exceed"},
	{"DataBehindEnd", header(sec(secMemory, vec(op(0, 1))), sec(secData, vec(cat(op(0), i32c(0), op(opEnd, 100))))), "100 bytes of data are announced in 0 bytes"},
	{"DataCountMismatch", header(sec(secDataCount, u32(3))), "0 data segments where 3"},
	{"ExportTwice", asm{exports: [][]byte{exportEntry("memory", 2, 0)}}.wasm(), "export name appears twice"},
	{"ManyResults", header(sec(secType, vec(funcType0(0, 17)))), "17 results exceed the limit of 16"},
	{"ManyTypeValues", header(sec(secType, vec(slices.Repeat([][]byte{funcType0(100, 16)}, 600)...))), "more than 65536 parameters and results"},
	{"WideCalls", wide(100, 1000, op(opCall, 0)), "hand on 117116 values, more than 65536"},
	{"WideBranches", wide(0, 4000, cat(i32c(0), op(opBrIf, 0))), "hand on 68016 values, more than 65536"},
	{"WideReturns", wide(0, 4000, op(opReturn)), "hand on 68016 values, more than 65536"},
	{"WideBlocks", wide(16, 3000, op(opBlock, 0, opEnd)), "hand on 99032 values, more than 65536"},
	{"BranchTableEntries", wide(0, 5, cat(op(opBrTable), u32(4000), make([]byte, 4001))), "hand on 320096 values, more than 65536"},
	{"BranchTablesOfAFunction", bodyOnly(cat(vec(), bytes.Repeat(cat(op(opBrTable), u32(4000), make([]byte, 4001)), 5), op(opEnd))), "have 20005 entries, more than 16384"},
	{"BranchTablesOfAModule", manyFunctions(200, bytes.Repeat(cat(op(opBrTable), u32(4000), make([]byte, 4001)), 4)), "branch tables have more than 524288 entries"},
	{"ValuesOfAModule", manyFunctions(100, bytes.Repeat(op(opCall, 0), 60_000)), "hand on more than 4194304 values"},
	{"ReasonText", asm{reasons: "Dear operator, the card was 4111"}.wasm(), "not of the form"},
	{"ReasonEmptyLine", asm{reasons: "a\n\nb"}.wasm(), "not of the form"},
	{"ReasonTooLong", asm{reasons: strings.Repeat("a", 65)}.wasm(), "not of the form"},
	{"ManyReasons", asm{reasons: strings.Repeat("a\n", 257)}.wasm(), "257 reasons exceed"},
	{"ReasonsTwice", asm{reasons: "a", tail: custom(reasonSection, []byte("b"))}.wasm(), "appears twice"},
	{"MetricText", asm{metrics: "Cards Seen"}.wasm(), "holds a metric that is not of the form"},
	{"ManyMetrics", asm{metrics: strings.Repeat("a\n", 65)}.wasm(), "65 metrics exceed"},
	{"MetricsTooLong", asm{metrics: strings.Repeat("abcdefgh\n", 1000)}.wasm(), "more than the limit"},
	{"MetricsTwice", asm{metrics: "a", tail: custom(metricSection, []byte("b"))}.wasm(), "appears twice"},
	{"NoTransform", header(sec(secMemory, vec(op(0, 1))), sec(secExport, vec(exportEntry("memory", 2, 0)))), `"guardlock_transform_v1" of guest ABI v1 is missing`},
	{"NoMemoryExport", header(), `"memory" of guest ABI v1 is missing`},
	{"WrongTypeOfInit", asm{extra: []asmFunc{{typ: typVoid, export: wasm.ExportInit}}}.wasm(), `"guardlock_init_v1" must be a func(i32,i32)->i32`},
	{"MemoryExportIsGlobal", header(sec(secGlobal, vec(cat(op(0x7f, 0), i32c(0), op(opEnd)))), sec(secExport, vec(exportEntry("memory", 3, 0)))), `"memory" must be a memory`},
}

func TestScanRefuses(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.rule, func(t *testing.T) {
			_, err := Inspect(c.wasm, ScanLimits{})
			var refused *wasm.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestEachRefusalAllocatesInProportionToTheFile(t *testing.T) {
	for _, c := range refusals {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Inspect(c.wasm, ScanLimits{})
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(64<<10+64*len(c.wasm)); got > most {
			t.Errorf("%s: %d bytes allocated for a file of %d", c.rule, got, len(c.wasm))
		}
	}
}

func TestInspectListsImportsOfAllKinds(t *testing.T) {
	file := header(typesOnly(), sec(secImport, vec(
		importFunc("guardlock_crypto", "sha256", 0),
		cat(str("env"), str("table"), op(1, 0x70, 0, 1)),
		cat(str("env"), str("memory"), op(2, 0, 1)),
		cat(str("env"), str("global"), op(3, 0x7f, 0)))))

	info, _ := Inspect(file, ScanLimits{})
	want := []string{"func guardlock_crypto.sha256 ()->()", "table env.table ", "memory env.memory ", "global env.global "}
	var got []string
	for _, i := range info.Imports {
		got = append(got, i.Kind+" "+i.String()+" "+i.Type)
	}

	if !slices.Equal(got, want) {
		t.Errorf("got %v", info.Imports)
	}
}

// Of a file that was refused, the Info says which sections it speaks of.
func TestInspectOfRefusedModuleKnowsWhatItRead(t *testing.T) {
	file := header(typesOnly(), sec(secImport, vec(importFunc("env", "abort", 0))), sec(secMemory, vec(op(0, 1))), op(13, 1, 0))
	info, err := Inspect(file, ScanLimits{})
	if err == nil {
		t.Fatal("the module was not refused")
	}

	for section, want := range map[string]bool{"type": true, "import": true, "function": true, "memory": true, "export": false, "code": false} {
		if got := info.Knows(section); got != want {
			t.Errorf("the %s section is known: %v, want %v", section, got, want)
		}
	}

	if nothing, _ := Inspect([]byte("#!/bin/sh"), ScanLimits{}); nothing.Knows("import") {
		t.Error("the imports of a shell script are known")
	}
}

func TestInspectDescribesModule(t *testing.T) {
	file := asm{reasons: "first.reason\nsecond_reason\n", pages: 20}.wasm()
	info, err := Inspect(file, ScanLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if info.ABI != "guardlock_v1" || info.MemoryMinPages != 20 || info.MemoryMaxPages != 65536 || info.Functions != 2 {
		t.Errorf("got %+v", info)
	}
	if !slices.Equal(info.Reasons, []string{"first.reason", "second_reason"}) {
		t.Errorf("got reasons %v", info.Reasons)
	}
	if !slices.Contains(info.Exports, wasm.Export{Name: "guardlock_alloc", Kind: "func", Type: "(i32,i32)->i32"}) {
		t.Errorf("got exports %v", info.Exports)
	}
}

// The engine's runtime would otherwise hold the module under that name.
func TestNameSectionDoesNotReachTheEngine(t *testing.T) {
	hijack := custom("name", cat(op(0), u32(uint32(len(str("guardlock_crypto")))), str("guardlock_crypto")))
	wasm := asm{tail: hijack, imports: [][]byte{importFunc("guardlock_crypto", "sha256", typThree)}}.wasm()
	m, err := scan(wasm, ScanLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if rewritten := meter(m, 1<<20); bytes.Contains(rewritten, []byte("\x04name")) {
		t.Error("the name section was kept")
	}

	r := newRuntime(t, Config{})
	loaded := load(t, r, Spec{Wasm: wasm, Grant: Grant{HostFunctions: []string{"guardlock_crypto.sha256"}}})
	if name := loaded.code.compiled.Name(); name != "" {
		t.Errorf("the module took the name %q", name)
	}
}
