package transforms

import (
	"sync"
	"testing"
)

func TestModulesOfOneFileShareItsCode(t *testing.T) {
	r := newRuntime(t, Config{})
	file := asm{}.wasm()

	first := load(t, r, Spec{Name: "first", Wasm: file})
	second := load(t, r, Spec{Name: "second", Wasm: file, Config: []byte("another configuration")})
	roomy := load(t, r, Spec{Name: "roomy", Wasm: file, Grant: Grant{Limits: Limits{StackBytes: 2 << 20}}})

	if first.code != second.code {
		t.Error("one file was compiled twice")
	}
	if first.code == roomy.code {
		t.Error("code with another stack budget was shared")
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := NewChain(second).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Errorf("a module lost its code when another one was closed: %v", err)
	}
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.codes); n != 1 {
		t.Errorf("%d files are compiled where one is in use", n)
	}
}

func TestFileIsCompiledOnceHoweverManyAskForIt(t *testing.T) {
	r := newRuntime(t, Config{})
	file := asm{}.wasm()
	codes := make([]*Code, 20)

	var wait sync.WaitGroup
	for n := range codes {
		wait.Go(func() {
			code, err := r.Compile(t.Context(), file, Limits{})
			if err != nil {
				t.Error(err)
			}
			codes[n] = code
		})
	}

	wait.Wait()

	m, err := codes[0].Load(t.Context(), Spec{Name: "m"})
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range codes {
		if c != codes[0] {
			t.Error("one file was compiled twice")
		}
		c.Close()
	}

	if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Errorf("the module lost its code: %v", err)
	}
}

func TestCodeIsNotLoadedUnderOtherLimits(t *testing.T) {
	code, err := newRuntime(t, Config{}).Compile(t.Context(), asm{}.wasm(), Limits{})
	if err != nil {
		t.Fatal(err)
	}

	defer code.Close()

	if _, err := code.Load(t.Context(), Spec{Name: "m", Grant: Grant{Limits: Limits{MemoryBytes: 32 << 20}}}); err == nil {
		t.Error("code was loaded under a memory limit that it was not compiled for")
	}
}
