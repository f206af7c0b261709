package transforms

import (
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// evaluate runs an exported function of a module, rewritten or as it is.
func evaluate(t *testing.T, file []byte, name string, arg int32) ([]uint64, error) {
	t.Helper()
	results, _, err := evaluateYields(t, file, name, arg)
	return results, err
}

// evaluateYields also tells how often the function yielded.
func evaluateYields(t *testing.T, file []byte, name string, arg int32) (results []uint64, yields uint64, err error) {
	t.Helper()
	engine := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	defer engine.Close(t.Context())

	_, err = engine.NewHostModuleBuilder(wasm.YieldModule).NewFunctionBuilder().
		WithGoModuleFunction(yield{}, []api.ValueType{api.ValueTypeI32}, nil).Export(wasm.YieldName).Instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	mod, err := engine.Instantiate(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}

	m := &Module{limits: Limits{}.withDefaults(), code: &Code{runtime: &Runtime{turns: newTurns()}}}
	i := &instance{module: m}
	i.clock = clock{call: time.Hour, batch: time.Hour, free: time.Hour}
	results, err = mod.ExportedFunction(name).Call(i, api.EncodeI32(arg))
	return results, i.yields, err
}

// controlFlow are functions of type (i32)->i32 that leave in every way there is.
// Function 2 + n is entry n; leaf is the last.
func controlFlow() []asmFunc {
	leaf := uint32(2 + 9)
	fib := cat(lget(0), i32c(2), op(opI32LtS, opIf, 0x7f), lget(0), op(opElse),
		lget(0), i32c(1), op(opI32Sub), call(2), lget(0), i32c(2), op(opI32Sub), call(2), op(opI32Add, opEnd))
	returns := cat(op(opBlock, 0x40, opLoop, 0x40), lget(0), i32c(10), op(opI32LtS, opBrIf, 1), lget(0), call(leaf), op(opReturn, opEnd, opEnd), i32c(-1))
	toFunctionLabel := cat(lget(0), call(leaf), op(opBlock, 0x40), lget(0), op(opIf, 0x40), i32c(7), op(opBr, 2, opEnd, opEnd))
	table := cat(op(opBlock, 0x7f), i32c(100), lget(0), op(opBrTable, 1, 0, 1, opEnd), call(leaf))
	pair := cat(lget(0), call(leaf), lget(0), i32c(5), op(opI32LtS, opIf, 0x40), i32c(1), i32c(2), op(opReturn, opEnd), lget(0))
	usePair := cat(lget(0), call(6), op(opI32Add))
	nestedLoops := cat(op(opBlock, 0x40, opLoop, 0x40), lget(1), lget(0), op(0x4f, opBrIf, 1), i32c(0), lset(2), op(opBlock, 0x40, opLoop, 0x40),
		lget(2), lget(0), op(0x4f, opBrIf, 1), lget(3), lget(1), lget(2), op(0x6c, opI32Add), lset(3), lget(2), i32c(1), op(opI32Add), lset(2), op(opBr, 0, opEnd, opEnd),
		lget(1), i32c(1), op(opI32Add), lset(1), op(opBr, 0, opEnd, opEnd), lget(3))

	loopWithParam := cat(lget(0), op(opLoop, typTransform), i32c(1), op(opI32Sub), op(opLocalTee, 1), lget(1), i32c(0), op(0x4a, opBrIf, 0, opEnd))
	bulk := cat(i32c(64), i32c(9), lget(0), memoryFill(), i32c(0), i32c(64), lget(0), memoryCopy(), i32c(0), load32(0))
	return []asmFunc{
		{typ: typTransform, export: "fib", code: fib},
		{typ: typTransform, export: "returns", code: returns},
		{typ: typTransform, export: "toFunctionLabel", code: toFunctionLabel},
		{typ: typTransform, export: "table", code: table},
		{typ: typPair, export: "pair", code: pair},
		{typ: typTransform, export: "usePair", code: usePair},
		{typ: typTransform, export: "nestedLoops", locals: 3, code: nestedLoops},
		{typ: typTransform, export: "loopWithParam", locals: 1, code: loopWithParam},
		{typ: typTransform, export: "bulk", code: bulk},
		{typ: typTransform, export: "leaf", code: cat(lget(0), i32c(3), op(0x6c))},
	}
}

// A loop is given fuel ahead, and gives back what it did not use however its function ends:
// a function that is called a hundred thousand times pays for what runs.
func TestLoopsGiveBackWhatTheyDoNotUse(t *testing.T) {
	const calls, atMost = 100_000, 50 // instructions of a call and of the turn around it
	once := cat(op(opBlock, 0x40, opLoop, 0x40), lget(0), op(opBrIf, 1, opEnd, opEnd), lget(0))
	returned := cat(op(opLoop, 0x40), lget(0), op(opReturn, opEnd), lget(0))
	for name, code := range map[string][]byte{"branch": once, "return": returned} {
		around := cat(op(opLoop, 0x40), i32c(1), call(3), op(0x1a), lget(0), i32c(1), op(opI32Sub, opLocalTee, 0), op(opBrIf, 0, opEnd), lget(0))
		file := asm{extra: []asmFunc{
			{typ: typTransform, export: "around", code: around},
			{typ: typTransform, export: "loop", code: code},
		}}.wasm()
		m, err := scan(file, ScanLimits{})
		if err != nil {
			t.Fatal(err)
		}

		_, yields, err := evaluateYields(t, meter(m, defaultStackBytes), "around", calls)
		if err != nil || yields == 0 || yields > calls*atMost/wasm.FuelSlice+1 {
			t.Errorf("%s: %d yields, %v", name, yields, err)
		}
	}
}

func TestRewrittenCodeComputesTheSame(t *testing.T) {
	wasm := asm{extra: controlFlow()}.wasm()
	m, err := scan(wasm, ScanLimits{})
	if err != nil {
		t.Fatal(err)
	}

	rewritten := meter(m, defaultStackBytes)
	for _, f := range controlFlow() {
		for _, arg := range []int32{0, 1, 2, 5, 11, 20} {
			want, err := evaluate(t, wasm, f.export, arg)
			if err != nil {
				t.Fatalf("%s(%d): %v", f.export, arg, err)
			}

			got, err := evaluate(t, rewritten, f.export, arg)
			if err != nil {
				t.Fatalf("%s(%d) rewritten: %v", f.export, arg, err)
			}

			for n := range want {
				if int32(got[n]) != int32(want[n]) {
					t.Errorf("%s(%d): got %d, want %d", f.export, arg, int32(got[n]), int32(want[n]))
				}
			}
		}
	}
}

// memory.fill and memory.copy run in pieces once they were rewritten. Upwards,
// downwards, over each other and in lengths around a piece they do the same.
func TestBulkInPiecesDoesTheSame(t *testing.T) {
	const piece = 256 << 10
	at := func(n int32) []byte { return i32c(1<<20 + n) }
	sum := cat(op(opLoop, 0x40), lget(2), i32c(31), op(0x6c), lget(1), load32(0), op(opI32Add), lset(2),
		lget(1), i32c(4), op(opI32Add, opLocalTee, 1), i32c(4<<20-8), op(opI32LtS, opBrIf, 0, opEnd), lget(2))

	// Every word gets a value of its own, then bytes are moved, then all are summed.
	words := cat(op(opLoop, 0x40), lget(1), lget(1), i32c(-1640531527), op(0x6c), store32(0),
		lget(1), i32c(4), op(opI32Add, opLocalTee, 1), i32c(4<<20-8), op(opI32LtS, opBrIf, 0, opEnd), i32c(0), lset(1))

	for name, move := range map[string][]byte{
		"Up":   cat(at(0), at(5), lget(0), memoryCopy()),
		"Down": cat(at(5), at(0), lget(0), memoryCopy()),
		"Far":  cat(i32c(0), at(1<<20), lget(0), memoryCopy()),
		"Same": cat(at(7), at(7), lget(0), memoryCopy()),
		"Fill": cat(at(3), i32c(0xab), lget(0), memoryFill()),
	} {
		a := asm{pages: 64, extra: []asmFunc{{typ: typTransform, export: "moved", locals: 2, code: cat(words, move, sum)}}}
		m, err := scan(a.wasm(), ScanLimits{})
		if err != nil {
			t.Fatal(err)
		}

		metered := meter(m, defaultStackBytes)
		for _, length := range []int32{0, 1, piece - 1, piece, piece + 1, 2 * piece, 3*piece + 5, -1, 3 << 20} {
			want, wantErr := evaluate(t, a.wasm(), "moved", length)
			got, gotErr := evaluate(t, metered, "moved", length)
			if (wantErr == nil) != (gotErr == nil) {
				t.Errorf("%s of %d bytes: got %v, want %v", name, length, gotErr, wantErr)
			}
			if wantErr == nil && gotErr == nil && got[0] != want[0] {
				t.Errorf("%s of %d bytes left other bytes", name, length)
			}
		}
	}
}

// Every way out of a function gives its frame back: a leak would end this call
// long before its last turn.
func TestStackIsGivenBackOnEveryWayOut(t *testing.T) {
	for _, f := range controlFlow() {
		if f.typ != typTransform || f.export == "fib" || f.export == "nestedLoops" {
			continue
		}
		t.Run(f.export, func(t *testing.T) {
			index := uint32(2)
			for n, g := range controlFlow() {
				if g.export == f.export {
					index += uint32(n)
				}
			}

			driver := asmFunc{typ: typTransform, export: "driver", locals: 1, code: cat(op(opBlock, 0x40, opLoop, 0x40), lget(1), lget(0), op(0x4f, opBrIf, 1),
				lget(1), i32c(15), op(0x71), call(index), op(0x1a), lget(1), i32c(1), op(opI32Add), lset(1), op(opBr, 0, opEnd, opEnd), lget(1))}
			m, err := scan(asm{extra: append(controlFlow(), driver)}.wasm(), ScanLimits{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := evaluate(t, meter(m, 2000), "driver", 10_000); err != nil {
				t.Error(err)
			}
		})
	}
}

// The rewriter's own function, globals, locals and label lie right behind the
// module's. None may be in reach of it.
func TestRewriterIsOutOfReach(t *testing.T) {
	for name, code := range map[string][]byte{
		"Fuel":      cat(i32c(1<<30), op(opGlobalSet, 1), i32c(0)),
		"Stack":     cat(i32c(1<<30), op(opGlobalSet, 2), i32c(0)),
		"Burn":      cat(i32c(-1<<30), call(2), i32c(0)),
		"Counter":   cat(i32c(1<<30), lset(1), op(opLoop, 0x40, opEnd), i32c(0)),
		"Label":     cat(i32c(0), op(opBr, 1)),
		"BlockType": cat(op(opBlock, typCount, opEnd), i32c(0)),
	} {
		if _, err := Inspect(asm{transform: code}.wasm(), ScanLimits{}); err == nil {
			t.Errorf("%s can be named", name)
		}
	}
	for name, a := range map[string]asm{
		"ExportedFuel": {exports: [][]byte{exportEntry("fuel", 3, 1)}},
		"ExportedBurn": {exports: [][]byte{exportEntry("burn", 0, 2)}},
		"ElementBurn": {table: sec(secTable, vec(op(0x70, 0, 1))),
			element: sec(secElement, vec(cat(op(0), i32c(0), op(opEnd, 1, 2))))},
		"ImportedYield": {imports: [][]byte{importFunc(wasm.YieldModule, wasm.YieldName, typVoid)}},
	} {
		if _, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "x", Wasm: a.wasm()}); err == nil {
			t.Errorf("%s can be named", name)
		}
	}
}

// Function indices move up by one behind the imports, wherever they stand.
func TestFunctionReferencesAreMoved(t *testing.T) {
	target := asmFunc{typ: typVoid, code: cat(i32c(0), i32c(42), store32(64))}
	indirect := func(element []byte) asm {
		return asm{imports: [][]byte{importFunc("guardlock_log", "log", typLog)}, extra: []asmFunc{target},
			table: sec(secTable, vec(op(0x70, 0, 2))), element: sec(secElement, vec(element)),
			transform: cat(i32c(1), op(opCallIndirect, typVoid, 0), i32c(0), load32(64), i32c(42), op(0x47, opIf, 0x40, opUnreachable, opEnd), copyDescs(), count())}
	}

	refFunc := indirect(op(3, 0, 1, 3)) // declared, so that ref.func may name it
	refFunc.transform = cat(i32c(1), op(opRefFunc, 3, opTableSet, 0), refFunc.transform)
	for name, a := range map[string]asm{
		"Active":      indirect(cat(op(0), i32c(0), op(opEnd, 2, 3, 3))),
		"ActiveTable": indirect(cat(op(2, 0), i32c(1), op(opEnd, 0, 1, 3))),
		"Expressions": indirect(cat(op(4), i32c(1), op(opEnd, 1, opRefFunc, 3, opEnd))),
		"Declared":    refFunc,
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{"guardlock_log.log"}}})
			if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
				t.Error(err)
			}
		})
	}
}
