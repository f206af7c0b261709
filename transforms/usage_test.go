package transforms

import (
	"testing"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// A module that works for a while is charged for it under its name, and a reload does
// not begin anew.
func TestUsageOfAModuleOutlivesIt(t *testing.T) {
	r := newRuntime(t, Config{})
	spec := Spec{Name: "busy", Wasm: asm{transform: cat(loopForever(nil), i32c(0))}.wasm(), Grant: Grant{Limits: quick}}
	used := uint64(0)
	for range 2 {
		m := load(t, r, spec)
		if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err == nil {
			t.Fatal("a loop without end has ended by itself")
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}

		all := r.Usage()
		if len(all) != 1 || all[0].Module != "busy" || all[0].Fuel <= used || all[0].Fuel%wasm.FuelSlice != 0 {
			t.Fatalf("got %+v after %d", all, used)
		}
		if all[0].Memory < wasmPage || all[0].Memory%wasmPage != 0 {
			t.Errorf("memory of %d bytes", all[0].Memory)
		}
		used = all[0].Fuel
	}
}
