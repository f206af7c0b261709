package transforms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/guardlock/guardlock/transforms/state"
	"github.com/guardlock/guardlock/transforms/wasm"
)

const (
	frameSize      = 72
	descriptorSize = 48
	chunkRecords   = 1024
	chunkBytes     = 256 << 10
	blockAlign     = 16
)

// instance is one running guest and the scratch space of the batches it runs.
// One goroutine uses it at a time. It is also the context of its calls, which
// is how a host function finds the instance that called it without allocating.
type instance struct {
	module *Module
	guest  guest
	mem    memory
	stack  [2]uint64
	exports
	history

	clock   clock
	linear  linearMemory
	charged int   // for host functions, since the clock was last looked at
	reason  error // why the host stopped the guest

	layout layout
	chunk  chunk
	state  *state.Batch // what its batch counts; nil where nothing is counted
	pull   *pull        // nil in our own ABI
	tools
}

// tools are what host functions work with, kept from call to call.
type tools struct {
	hashers       hashers
	derived       derived
	compressors   compressors
	decompressors decompressors
	finder        finder
	scratch       []byte
	given         []byte // copies of what a worker's guest hands over

	yields      uint64        // how often a slice of fuel was spent
	ticks       uint64        // how often WASI's clocks were asked, and what was slept
	random      *rand.ChaCha8 // nil before WASI's random_get is called
	environment []string      // as WASI's environ_get tells it
}

// exports are the guest's functions that batches need. Each handle owns a stack, so
// that they are fetched once and not for each call.
type exports struct {
	transform, alloc callable
}

// history is what an instance has seen, which says whose batches it may see next.
type history struct {
	used     bool   // by an earlier batch
	topic    string // of the last batch, or the one that it was started for
	isolated bool   // it sees no other topic
}

// layout is where the host's blocks lie in guest memory.
type layout struct {
	frame, inDescs, outDescs uint32
	input, inputCap          uint32
	arena, arenaCap          uint32
}

// Deadline implements context.Context.
func (i *instance) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context. The engine is not to watch it: deadlines are
// kept by yield.
func (i *instance) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (i *instance) Err() error { return nil }

// Value implements context.Context.
func (i *instance) Value(any) any { return nil }

// newInstance makes an instance for batches of a topic, runs its initialisers and
// allocates its blocks.
func (m *Module) newInstance(ctx context.Context, topic string) (*instance, error) {
	i := &instance{module: m, linear: linearMemory{limit: m.limits.memoryFor(0), reserve: reserve}}
	i.environment = m.environmentFor(topic)
	i.history = history{topic: topic, isolated: m.info.Pulls()}
	if err := i.begin(ctx); err != nil {
		return nil, err
	}

	if err := i.initialise(ctx); err != nil {
		m.restarts.after(i, false)
		i.free(ctx)
		return nil, err
	}

	return i, nil
}

// begin starts the guest, in this process or in a worker, and runs nothing of it.
func (i *instance) begin(ctx context.Context) error {
	start := i.instantiate
	if i.module.apart {
		start = i.startWorker
	}

	g, err := start(ctx)
	if err != nil {
		return err
	}

	i.guest = g
	i.mem = g.memory()
	i.transform = g.export(wasm.ExportTransform)
	i.alloc = g.export(wasm.ExportAlloc)

	return nil
}

func (i *instance) initialise(ctx context.Context) error {
	defer i.endBatch()
	i.clock.startBatch(ctx, i.module.limits, 0)
	i.arm(0)

	if i.module.info.Pulls() {
		return i.startPulling()
	}

	for _, name := range []string{wasm.SectionStart, wasm.ExportStart} {
		start := i.guest.export(name)
		if start == nil {
			continue
		}
		if err := i.call(start, i.stack[:0]); err != nil {
			return err
		}
	}

	if err := i.allocateBlocks(); err != nil {
		return err
	}
	configure := i.guest.export(wasm.ExportInit)
	if configure == nil {
		return nil
	}

	at, err := i.allocate(len(i.module.config))
	if err != nil {
		return err
	}

	i.mem.Write(at, i.module.config)
	i.stack[0], i.stack[1] = uint64(at), uint64(len(i.module.config))
	if err := i.call(configure, i.stack[:2]); err != nil {
		return err
	}
	if code := int32(i.stack[0]); code != 0 {
		return i.failed(GuestFailed, fmt.Errorf("%s refused its configuration with code %d", wasm.ExportInit, code))
	}

	return nil
}

func (i *instance) allocateBlocks() error {
	l := &i.layout
	for _, block := range []struct {
		at   *uint32
		size int
	}{
		{&l.frame, frameSize},
		{&l.inDescs, chunkRecords * descriptorSize},
		{&l.outDescs, chunkRecords * descriptorSize},
		{&l.input, chunkBytes},
		{&l.arena, chunkBytes},
	} {
		at, err := i.allocate(block.size)
		if err != nil {
			return err
		}
		*block.at = at
	}

	l.inputCap = chunkBytes
	l.arenaCap = chunkBytes
	return nil
}

// allocate asks the guest for a block and checks what it answers.
func (i *instance) allocate(size int) (uint32, error) {
	i.stack[0], i.stack[1] = uint64(size), blockAlign
	if err := i.call(i.alloc, i.stack[:2]); err != nil {
		return 0, err
	}

	at := uint32(i.stack[0])
	if at == 0 {
		return 0, i.failed(Memory, fmt.Errorf("%s has no %d bytes left", wasm.ExportAlloc, size))
	}
	if at%8 != 0 || uint64(at)+uint64(size) > uint64(i.mem.Size()) {
		return 0, i.failed(OutputInvalid, fmt.Errorf("%s returned a block outside of memory or not aligned", wasm.ExportAlloc))
	}

	return at, nil
}

// arm sets what the calls to come may use, which are given size bytes.
func (i *instance) arm(size int) {
	i.clock.call = i.module.limits.callTime(size)
	i.linear.limit = i.module.limits.memoryFor(size)
}

// call runs a guest function under the limits that were armed.
func (i *instance) call(f callable, stack []uint64) error {
	i.reason = nil
	err := f.call(i, stack)
	if err == nil {
		return nil
	}

	if failed, ok := errors.AsType[*Error](i.reason); ok {
		return i.failed(failed.Kind, i.module.code.trace(failed.Err, err))
	}

	switch reason := i.reason; {
	case reason == errBroken:
		return i.failed(OutputInvalid, reason)
	case reason == errGone:
		return i.failed(Ended, reason)
	case reason == errDeadline, reason == errBatchDeadline, reason == errOverdue, reason == context.Canceled:
		return i.failed(Timeout, i.module.code.trace(reason, err))
	case reason != nil:
		return i.failed(Trap, i.module.code.trace(reason, err))
	}

	return i.failed(Trap, i.module.code.trace(trapText(err), err))
}

func (i *instance) failed(kind Kind, err error) error {
	return &Error{Kind: kind, Module: i.module.name, Err: err}
}

// free gives the guest's memory back.
func (i *instance) free(ctx context.Context) {
	i.endPulling()
	i.guest.close(ctx)
}
