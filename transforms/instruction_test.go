package transforms

import (
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Every instruction that the engine takes passes the scan, but for table.grow,
// and the scan reads its immediates as the engine does. Behind "unreachable" all
// operands type-check; the zeros behind an instruction are its immediates and
// then more of "unreachable".
func TestScanReadsInstructionsAsTheEngineDoes(t *testing.T) {
	engine := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	defer engine.Close(t.Context())
	accepted := 0

	check := func(code ...byte) {
		for _, tail := range [][]byte{{}, {opEnd}, {0x70}, {1, 0x7f}} {
			a := asm{globals: [][]byte{cat(op(0x7f, 1), i32c(0), op(opEnd))}, table: sec(secTable, vec(op(0x70, 0, 2))),
				element: cat(sec(secElement, vec(op(1, 0, 1, 0))), sec(secDataCount, u32(1))), tail: sec(secData, vec(op(1, 1, 'x')))}
			zeros := make([]byte, 18)
			a.extra = []asmFunc{{typ: typTransform, code: cat(op(opUnreachable), code, tail, zeros)}}

			if len(tail) > 0 && tail[0] == opEnd {
				a.extra[0].code = cat(op(opUnreachable), code, op(0x40, opEnd), zeros)
			}
			wasm := a.wasm()
			compiled, err := engine.CompileModule(t.Context(), wasm)
			if err != nil {
				continue
			}

			_ = compiled.Close(t.Context())
			accepted++
			if _, err := Inspect(wasm, ScanLimits{}); err != nil && !(code[0] == opMisc && code[1] == miscTableGrow) {
				t.Errorf("% x % x: %v", code, tail, err)
			}
		}
	}
	for code := range 256 {
		check(byte(code))
	}

	for sub := range uint32(128) {
		check(cat(op(opMisc), u32(sub))...)
	}
	for sub := range uint32(256) { // what lies above, the engine misreads
		check(cat(op(opVector), u32(sub))...)
	}

	if accepted < 450 {
		t.Errorf("the engine took only %d programs: the test tests nothing", accepted)
	}
}

func TestScanTakesEveryFormOfInitialiser(t *testing.T) {
	vector := cat(op(opVector, 12), make([]byte, 16))
	wasm := asm{globals: [][]byte{
		op(0x7e, 0, opI64Const, 0x80, 0x7f, opEnd), cat(op(0x7d, 0, opF32Const), make([]byte, 4), op(opEnd)),
		cat(op(0x7c, 0, opF64Const), make([]byte, 8), op(opEnd)), cat(op(0x7b, 0), vector, op(opEnd)),
		op(0x70, 0, opRefNull, 0x70, opEnd), op(0x6f, 0, opRefNull, 0x6f, opEnd), op(0x70, 0, opRefFunc, 1, opEnd)},
		tail: sec(secData, vec(cat(op(0), i32c(8), op(opEnd, 2, 'h', 'i')), cat(op(2, 0), i32c(16), op(opEnd, 1, 'x')), op(1, 1, 'p')))}.wasm()
	load(t, newRuntime(t, Config{}), Spec{Wasm: wasm})
}

func TestModuleDescribesItself(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Name: "self", Wasm: asm{reasons: "one\ntwo"}.wasm(), Grant: Grant{Routes: []string{"alerts"}}})
	if m.Name() != "self" || m.Digest() == [32]byte{} || m.Info().ABI != "guardlock_v1" || m.Routes()[0] != "alerts" {
		t.Errorf("got %q %x %+v %v", m.Name(), m.Digest(), m.Info(), m.Routes())
	}
	if r := m.Reasons(); len(r) != 3 || r[0] != "unspecified" || r[2] != "two" {
		t.Errorf("got reasons %v", r)
	}
	if c := NewChain(m); len(c.Modules()) != 1 || c.Modules()[0] != m {
		t.Error("the chain does not hold its module")
	}
}
