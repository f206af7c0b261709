package transforms

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
)

var withWorkers = Config{Worker: []string{WorkerCommand}}

// runBothWays runs a module over a batch in this process and in a worker, which
// must come to the same, and returns what that is.
func runBothWays(t *testing.T, spec Spec, batch func() *record.Batch, at Origin) (*record.Batch, error) {
	t.Helper()
	r := newRuntime(t, withWorkers)
	here := batch()
	err := NewChain(load(t, r, spec)).Run(t.Context(), here, at)

	if runtime.GOOS != "linux" {
		return here, err // there are no workers
	}

	spec.Apart = true
	there := batch()
	errThere := NewChain(load(t, r, spec)).Run(t.Context(), there, at)
	if fmt.Sprint(errThere) != fmt.Sprint(err) {
		t.Errorf("in a worker it ends with %v, and here with %v", errThere, err)
	}
	if err != nil {
		return here, err
	}

	random := strings.Contains(fmt.Sprint(spec.Grant.HostFunctions), "seal")
	if !slices.Equal(there.Records, here.Records) || there.Changed != here.Changed {
		t.Errorf("in a worker the records are %+v, and here %+v", there.Records, here.Records)
	}
	if !random && (!bytes.Equal(there.Data, here.Data) || !bytes.Equal(there.Out, here.Out)) {
		t.Error("in a worker the bytes are others than here")
	}

	return here, nil
}

// What ends a guest ends it in a worker too, and is told in the same words.
func TestGuestEndsInAWorkerAsItEndsHere(t *testing.T) {
	recursive := []asmFunc{{typ: typVoid, code: call(2)}}
	for name, a := range map[string]asm{
		"EndlessLoop":  {transform: cat(loopForever(nil), i32c(0))},
		"Unreachable":  {transform: op(opUnreachable)},
		"OutOfMemory":  {transform: cat(i32c(-4), load32(0))},
		"DivideByZero": {transform: cat(i32c(1), i32c(0), op(0x6d))},
		"Overflow":     {transform: cat(i32c(-1<<31), i32c(-1), op(0x6d))},
		"Recursion":    {transform: cat(call(2), i32c(0)), extra: recursive},
		"Abort": {imports: [][]byte{importFunc("env", "abort", typAbort)},
			transform: cat(i32c(0), i32c(0), i32c(0), i32c(0), call(0), i32c(0))},
		"HostCalls": {imports: [][]byte{importFunc("guardlock_crypto", "sha256", typThree)},
			transform: cat(loopForever(cat(i32c(0), i32c(1<<15), i32c(0), call(0), op(0x1a))), i32c(0))},
	} {
		t.Run(name, func(t *testing.T) {
			limits := ample
			if name == "EndlessLoop" || name == "HostCalls" {
				limits = quick
			}

			spec := Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: AllHostFunctions(), Limits: limits}}
			if _, err := runBothWays(t, spec, threeRecords, Origin{}); err == nil {
				t.Error("it did not end")
			}
		})
	}
}

func TestWorkersServeBatchesOfEveryKind(t *testing.T) {
	for name, c := range map[string]struct {
		wasm  []byte
		batch func() *record.Batch
	}{
		"InPlace": {testdata(t, "upper.wasm"), func() *record.Batch { return values("alpha", "bravo", "4711") }},
		"Chunks":  {testdata(t, "copy.wasm"), func() *record.Batch { return sized(3000, 500) }},
		"Large":   {testdata(t, "upper.wasm"), func() *record.Batch { return sized(2, 3<<20) }},
		"Empty":   {testdata(t, "upper.wasm"), func() *record.Batch { return values() }},
		"Drops":   {verdictWhere('b', verdictDrop, 0).wasm(), func() *record.Batch { return values("alpha", "bravo") }},
		"Shorter": {oneByteLess().wasm(), func() *record.Batch { return values("alpha", "bravo") }},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := runBothWays(t, Spec{Wasm: c.wasm}, c.batch, Origin{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestModuleIsNotLoadedApartWhereThereAreNoWorkers(t *testing.T) {
	_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "m", Wasm: asm{}.wasm(), Apart: true})
	if !errors.Is(err, errWorkers) {
		t.Errorf("got %v", err)
	}
}

func TestDyingWorkersAreStartedMoreAndMoreSlowly(t *testing.T) {
	var r restarts
	for _, want := range []time.Duration{firstRestart, 2 * firstRestart, 4 * firstRestart} {
		r.died()
		if pause := time.Until(r.next); pause > want || pause < want/2 {
			t.Errorf("a pause of %s, want %s", pause, want)
		}
	}

	for range 100 {
		r.died()
	}
	if pause := time.Until(r.next); pause > lastRestart || pause < lastRestart/2 {
		t.Errorf("a pause of %s, want %s", pause, lastRestart)
	}

	r.worked()
	if err := r.wait(t.Context()); err != nil {
		t.Error(err)
	}
}
