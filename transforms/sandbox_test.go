package transforms

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// quick are limits that make hostile guests fail fast.
var quick = Limits{Deadline: 20 * time.Millisecond, BatchDeadline: 60 * time.Millisecond, Instances: 2}

// ample are limits for guests that end by themselves, on the slowest machine too.
var ample = Limits{Deadline: time.Minute, BatchDeadline: time.Minute, Instances: 2}

func runOne(t *testing.T, a asm, limits Limits) (*Module, error) {
	t.Helper()
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{Limits: limits}})
	return m, NewChain(m).Run(t.Context(), values("one", "two"), Origin{})
}

func wantKind(t *testing.T, err error, kind Kind) {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != kind {
		t.Fatalf("got %v, want an error of kind %s", err, kind)
	}
}

// exponential is n functions, each of which calls the next one twice: 2^n calls
// without a loop, in 280 bytes.
func exponential(n int) asm {
	a := asm{transform: cat(call(2), i32c(0))}
	for k := range n {
		a.extra = append(a.extra, asmFunc{typ: typVoid, code: cat(call(uint32(3+k)), call(uint32(3+k)))})
	}
	a.extra = append(a.extra, asmFunc{typ: typVoid})
	return a
}

func TestHostileGuestIsStoppedInTime(t *testing.T) {
	fill := cat(i32c(0), i32c(1), i32c(1<<20), memoryFill())
	for name, a := range map[string]asm{
		"EndlessLoop":      {transform: cat(loopForever(nil), i32c(0))},
		"ExponentialCalls": exponential(40),
		"NestedLoops":      {transform: cat(loopForever(loopForever(nil)), i32c(0))},
		"MemoryFillLoop":   {transform: cat(loopForever(fill), i32c(0))},
		"MemoryGrowLoop":   {transform: cat(loopForever(cat(i32c(1), op(opMemoryGrow, 0, 0x1a))), i32c(0))},
		"BranchTableLoop":  {transform: cat(op(opLoop, 0x40), lget(0), op(opBrTable, 2, 0, 0, 0, opEnd), i32c(0))},
		"LoopInCalledLeaf": {transform: cat(loopForever(call(2)), i32c(0)), extra: []asmFunc{{typ: typVoid, code: cat(op(opLoop, 0x40), op(opEnd))}}},
		"TableInit":        straightLine(withTable(cat(i32c(0), i32c(0), i32c(60_000), op(opMisc, miscTableInit, 0, 0)))),
		"TableFill":        straightLine(withTable(cat(i32c(0), op(opRefNull, 0x70), i32c(60_000), op(opMisc, miscTableFill, 0)))),
		"TableCopy":        straightLine(withTable(cat(i32c(0), i32c(1), i32c(59_000), op(opMisc, miscTableCopy, 0, 0)))),
		"Division":         {transform: cat(loopForever(cat(i32c(1<<30), lget(0), op(0x6d, 0x1a))), i32c(0))},
		"CallsAndBulk":     {transform: cat(loopForever(cat(call(2), fill)), i32c(0)), extra: []asmFunc{{typ: typVoid, code: fill}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{Limits: quick}})
			start := time.Now()
			wantKind(t, NewChain(m).Run(t.Context(), values("one"), Origin{}), Timeout)
			took := time.Since(start)
			t.Logf("stopped after %s", took)

			if took > 10*time.Second { // the deadline is 20 ms, but machines can be busy
				t.Error("stopped too late")
			}
			if len(m.pool.idle) != 0 {
				t.Error("the instance was kept")
			}
		})
	}
}

// withTable is a guest of a large table whose body is code.
func withTable(code []byte) asm {
	functions := cat(op(1, 0), u32(60_000), make([]byte, 60_000))
	return asm{table: sec(secTable, vec(cat(op(0x70, 0), u32(60_000)))), element: cat(sec(secElement, vec(functions))), transform: code}
}

// straightLine runs a body many times for each turn of an endless loop.
func straightLine(a asm) asm {
	a.transform = cat(loopForever(bytes.Repeat(a.transform, 2000)), i32c(0))
	return a
}

// Between two looks at the clock a guest runs for some milliseconds at most, on
// the processor, whatever it does. The bound is loose for machines that are slow.
func TestGuestComesBackSoon(t *testing.T) {
	longest := 20 * time.Millisecond
	fill := cat(i32c(0), i32c(1), i32c(15<<20), memoryFill())
	for name, a := range map[string]asm{
		"TableInit":  straightLine(withTable(cat(i32c(0), i32c(0), i32c(60_000), op(opMisc, miscTableInit, 0, 0)))),
		"TableFill":  straightLine(withTable(cat(i32c(0), op(opRefNull, 0x70), i32c(60_000), op(opMisc, miscTableFill, 0)))),
		"MemoryFill": straightLine(asm{pages: 250, transform: fill}),
		"MemoryGrow": straightLine(asm{transform: cat(i32c(1), op(opMemoryGrow, 0, 0x1a))}),
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{Limits: Limits{Deadline: 50 * time.Millisecond}}})
			i := m.pool.take()
			i.clock.longest = new(time.Duration)
			m.pool.put(i)
			wantKind(t, NewChain(m).Run(t.Context(), values("one"), Origin{}), Timeout)
			t.Logf("at most %s without a look at the clock", *i.clock.longest)

			if *i.clock.longest > longest {
				t.Errorf("%s without a look at the clock", *i.clock.longest)
			}
		})
	}
}

// Host functions count whatever comes of them: a loop of calls that do nothing
// ends like any other.
func TestUselessHostCallsAreStopped(t *testing.T) {
	for name, code := range map[string][]byte{
		"Empty":      cat(i32c(0), i32c(0), i32c(1024), call(0), op(0x1a)),
		"BadPointer": cat(i32c(-1), i32c(100), i32c(-1), call(0), op(0x1a)),
	} {
		t.Run(name, func(t *testing.T) {
			a := asm{imports: [][]byte{importFunc("guardlock_crypto", "sha256", typThree)}, transform: cat(loopForever(code), i32c(0))}
			m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: AllHostFunctions(), Limits: quick}})
			i := m.pool.take()
			m.pool.put(i)
			err := NewChain(m).Run(t.Context(), values("one"), Origin{})
			wantKind(t, err, Timeout)

			if !errors.Is(err, errDeadline) {
				t.Errorf("got %v", err)
			}
			if used := i.clock.spent; used > 2*quick.Deadline {
				t.Errorf("it used %s of %s", used, quick.Deadline)
			}
		})
	}
}

// What a module may use is processor time: a machine that is busy with other
// things takes nothing of it.
func TestBusyMachineDoesNotCount(t *testing.T) {
	var stop atomic.Bool
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop.Store(true)

	for range 4 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for !stop.Load() {
			}
		})
	}

	// A count to 20 million: some 10 ms.
	work := cat(op(opLoop, 0x40), lget(1), i32c(1), op(opI32Add, opLocalTee, 1), i32c(20_000_000), op(0x48, opBrIf, 0, opEnd))
	a := asm{locals: 1, transform: cat(work, copyDescs(), count())}
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{Limits: Limits{Deadline: 400 * time.Millisecond, BatchDeadline: 400 * time.Millisecond}}})
	start := time.Now()

	if err := NewChain(m).Run(t.Context(), values("one"), Origin{}); err != nil {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// Calls that hand on many values make frames that the code's size does not show.
func TestWideRecursionEndsInTheBudget(t *testing.T) {
	results := 16
	wideType := cat([]byte{0x60, 0, byte(results)}, bytes.Repeat([]byte{0x7b}, results))
	zeros := bytes.Repeat(cat(op(opVector, 12), make([]byte, 16)), results)
	// Function 3 hands on 16 vectors; function 2 keeps those of 100 calls and calls itself.
	body := cat(bytes.Repeat(call(3), 100), call(2), bytes.Repeat(op(0x1a), 100*results))
	a := asm{transform: cat(call(2), i32c(0)), types: [][]byte{wideType}, extra: []asmFunc{{typ: typVoid, code: body}, {typ: typCount, code: zeros}}}

	var before, after runtime.MemStats
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{Limits: ample}})
	runtime.ReadMemStats(&before)
	err := NewChain(m).Run(t.Context(), values("one"), Origin{})
	runtime.ReadMemStats(&after)

	if !errors.Is(err, errStackBudget) {
		t.Errorf("got %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
		t.Errorf("%d MiB of stack", got>>20)
	} else {
		t.Logf("%d KiB of stack", got>>10)
	}
}

// A bulk instruction is one instruction, whatever it copies.
func TestStraightLineMemoryFillsAreStopped(t *testing.T) {
	var code []byte
	for range 1000 {
		code = append(code, cat(i32c(0), i32c(1), i32c(8<<20-65536), memoryFill())...)
	}
	_, err := runOne(t, asm{pages: 128, transform: cat(code, i32c(0))}, quick)
	wantKind(t, err, Timeout)
}

// Compiled code cannot be preempted: a guest that never came back to Go would
// keep the garbage collector, and with it every goroutine, waiting for ever.
func TestGarbageCollectorRunsWhileGuestLoops(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{transform: cat(loopForever(nil), i32c(0))}.wasm(),
		Grant: Grant{Limits: Limits{Deadline: time.Hour}}})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- NewChain(m).Run(ctx, values("x"), Origin{}) }()

	for len(m.pool.tokens) == cap(m.pool.tokens) {
		runtime.Gosched()
	}
	for range 3 {
		runtime.GC()
	}

	select {
	case err := <-failed:
		t.Fatalf("the guest ended by itself: %v", err)
	default:
	}

	cancel()
	wantKind(t, <-failed, Timeout)
}

func TestRecursionIsBoundedBySmallStack(t *testing.T) {
	for name, a := range map[string]asm{
		"Small": {transform: cat(call(2), i32c(0)), extra: []asmFunc{{typ: typVoid, code: call(2)}}},
		"Large": {transform: cat(call(2), i32c(0)), extra: []asmFunc{{typ: typVoid, locals: 9000, code: cat(call(2), lget(8999), op(0x1a))}}},
		"Indirect": {transform: cat(call(2), i32c(0)), table: sec(secTable, vec(op(0x70, 0, 1))),
			element: sec(secElement, vec(cat(op(0), i32c(0), op(opEnd, 1, 2)))),
			extra:   []asmFunc{{typ: typVoid, code: cat(i32c(0), op(opCallIndirect, typVoid, 0))}}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, err := runOne(t, a, ample)
			runtime.ReadMemStats(&after)
			wantKind(t, err, Trap)

			if !errors.Is(err, errStackBudget) {
				t.Errorf("got %v", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
				t.Errorf("%d bytes were allocated", got)
			}
			if len(m.pool.idle) != 0 {
				t.Error("the instance was kept")
			}
		})
	}
}

func TestDeepButBoundedRecursionPasses(t *testing.T) {
	countdown := cat(lget(0), op(opIf, 0x7f), lget(0), i32c(1), op(opI32Sub), call(2), op(opElse), i32c(0), op(opEnd))
	_, err := runOne(t, asm{transform: cat(copyDescs(), i32c(5000), call(2), op(0x1a), count()),
		extra: []asmFunc{{typ: typTransform, code: countdown}}}, ample)
	if err != nil {
		t.Error(err)
	}
}

func TestMemoryStaysUnderItsLimit(t *testing.T) {
	grow := cat(i32c(300), op(opMemoryGrow, 0), i32c(-1), op(0x47), op(opIf, 0x40, opUnreachable, opEnd)) // not -1: trap
	if _, err := runOne(t, asm{transform: cat(grow, copyDescs(), count())}, Limits{MemoryBytes: 16 << 20}); err != nil {
		t.Errorf("memory grew above its limit: %v", err)
	}
}

func TestModuleAboveItsMemoryLimitIsRefused(t *testing.T) {
	_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "big", Wasm: asm{pages: 300}.wasm()})
	if err == nil || !strings.Contains(err.Error(), "needs 300 pages of 64 KiB, its limit is 256") {
		t.Errorf("got %v", err)
	}
}

func TestInstanceIsNotUsedAgainAfterTrap(t *testing.T) {
	// The first call sets a global and traps; a call that finds it set traps too.
	code := cat(op(opGlobalGet, 1, opIf, 0x40, opUnreachable, opEnd), i32c(1), op(opGlobalSet, 1),
		frameField(framePartition), op(opIf, 0x40, opUnreachable, opEnd),
		i32c(0), op(opGlobalSet, 1), copyDescs(), count())
	m := load(t, newRuntime(t, Config{}), Spec{Grant: Grant{Limits: Limits{Instances: 1}}, Wasm: asm{transform: code,
		globals: [][]byte{cat(op(0x7f, 1), i32c(0), op(opEnd))}}.wasm()})

	c := NewChain(m)
	for range 3 {
		wantKind(t, c.Run(t.Context(), values("x"), Origin{Partition: 1}), Trap)
		if err := c.Run(t.Context(), values("x"), Origin{Partition: 0}); err != nil {
			t.Fatalf("the instance of a trapped call was used again: %v", err)
		}
	}
}

func TestCancelledBatchEnds(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{transform: cat(loopForever(nil), i32c(0))}.wasm(),
		Grant: Grant{Limits: Limits{Deadline: time.Hour}}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantKind(t, NewChain(m).Run(ctx, values("x"), Origin{}), Timeout)
}

func TestWaitForInstanceIsBounded(t *testing.T) {
	limits := quick
	limits.Instances = 1
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{}.wasm(), Grant: Grant{Limits: limits}})

	held, err := m.acquire(t.Context(), time.Now().Add(time.Hour), "", false)
	if err != nil {
		t.Fatal(err)
	}

	err = NewChain(m).Run(t.Context(), values("x"), Origin{})
	wantKind(t, err, Timeout)
	if !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}

	m.release(t.Context(), held, true)
	if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Error(err)
	}
}

func TestTrapTextHoldsNoNames(t *testing.T) {
	_, err := runOne(t, asm{transform: op(opUnreachable)}, ample)
	wantKind(t, err, Trap)
	if got, want := err.Error(), `running module "guest": trap: unreachable`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEndlessInitialiserIsStopped(t *testing.T) {
	forever := cat(loopForever(nil))
	for name, f := range map[string]asmFunc{
		"Initialize": {typ: typVoid, export: wasm.ExportStart, code: forever},
		"Init":       {typ: typAlloc, export: wasm.ExportInit, code: cat(forever, i32c(0))},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "slow", Wasm: asm{extra: []asmFunc{f}}.wasm(), Grant: Grant{Limits: quick}})
			wantKind(t, err, Timeout)
		})
	}

	section := asm{extra: []asmFunc{{typ: typVoid, code: forever}}, element: sec(secStart, u32(2))}
	_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "slow", Wasm: section.wasm(), Grant: Grant{Limits: quick}})
	wantKind(t, err, Timeout)
	_, err = newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "slow", Wasm: asm{alloc: cat(forever, i32c(0))}.wasm(), Grant: Grant{Limits: quick}})
	wantKind(t, err, Timeout)
}

// The function of a start section runs once, before everything else, and under
// the limits: the engine would run it while it instantiates.
func TestStartSectionRunsUnderTheLimits(t *testing.T) {
	a := asm{
		imports:   [][]byte{importFunc("guardlock_log", "log", typLog)}, // moves the index of the start function
		globals:   [][]byte{cat(op(0x7f, 1), i32c(0), op(opEnd))},
		extra:     []asmFunc{{typ: typVoid, code: cat(op(opGlobalGet, 1), i32c(1), op(opI32Add, opGlobalSet, 1))}},
		element:   sec(secStart, u32(3)),
		transform: cat(op(opGlobalGet, 1), i32c(1), op(0x47, opIf, 0x40, opUnreachable, opEnd), copyDescs(), count()),
	}

	m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{"guardlock_log.log"}}})
	if !m.Info().HasStart {
		t.Error("the start section is not in the Info")
	}
	if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Error(err)
	}
}

func TestClosedModuleRefusesBatches(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{}.wasm()})
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	wantKind(t, NewChain(m).Run(t.Context(), values("x"), Origin{}), Closed)
	if err := m.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestCloseWaitsForRunningBatches(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{}.wasm()})
	held, err := m.acquire(t.Context(), time.Now().Add(time.Hour), "", false)
	if err != nil {
		t.Fatal(err)
	}

	closed := make(chan error)
	go func() { closed <- m.Close(t.Context()) }()
	<-m.pool.closed
	select {
	case <-closed:
		t.Fatal("closed under a running batch")
	default:
	}

	m.release(t.Context(), held, true)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestClosedRuntimeLoadsNothing(t *testing.T) {
	r := newRuntime(t, Config{})
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := r.Load(t.Context(), Spec{Name: "late", Wasm: asm{}.wasm()})
	wantKind(t, err, Closed)
}
