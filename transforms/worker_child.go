package transforms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/internal/child"
)

const (
	// sharedMemoryFile is the descriptor of the guest's memory in a worker.
	sharedMemoryFile = 3
	// workerMemory is what a worker may take of address space once its guest is there,
	// beyond the guest's own memory: stacks, and what the collector needs.
	workerMemory = 256 << 20
	// workerTime ends a worker, by its processor time. One is replaced before that.
	workerTime = time.Hour
	// workerNice lets the gateway go before its guests.
	workerNice = 5
)

// RunWorker is the whole of the hidden command that a guest runs in apart from its
// gateway. It owns the process, which it confines before anything of the guest runs.
// It returns when stdin ends.
func RunWorker(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	request, file, err := readTrialRequest(stdin)
	if err != nil {
		return err
	}

	// The memory stays mapped when its descriptor is closed.
	size := uint64(mostPages(request.Limits.pages())) * wasmPage
	view, unmap, err := mapShared(sharedMemoryFile, size)
	if err != nil {
		return fmt.Errorf("mapping the guest's memory: %w", err)
	}

	defer unmap()
	if err := unix.Close(sharedMemoryFile); err != nil {
		return fmt.Errorf("closing the descriptor of the guest's memory: %w", err)
	}

	w := &workplace{line: line{in: stdout, out: stdin}}
	if err := w.instantiate(ctx, request, file, view); err != nil {
		return err
	}
	if err := confineWorker(); err != nil {
		return err
	}

	err = w.line.send(&message{kind: msgStarted, memory: w.instance.linear.used})
	for err == nil {
		err = w.serve()
	}

	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// confineWorker takes from this process all that a guest could use.
func confineWorker() error {
	// One guest and the collector. The runtime no longer looks how many there are.
	runtime.GOMAXPROCS(2)
	if err := child.GiveWay(workerNice); err != nil {
		return err
	}
	if err := (child.Bounds{Reserved: workerMemory, NoFiles: true}).Apply(); err != nil {
		return err
	}

	return child.Confine()
}

// workplace is a worker as it sees itself.
type workplace struct {
	line     line
	instance *instance
	calls    []callable // by number; nil for what the module does not export
	stack    [maxHostParams]uint64
}

// instantiate makes the guest and runs nothing of it.
func (w *workplace) instantiate(ctx context.Context, request trialRequest, file, view []byte) error {
	code, err := request.compile(ctx, file, Config{Scan: request.Scan, hostCalls: w.askFor})
	if err != nil {
		return err
	}

	m := &Module{
		name:   "guest",
		code:   code,
		info:   code.info,
		limits: request.Limits.withDefaults(),
	}

	w.instance = &instance{module: m, linear: linearMemory{limit: m.limits.memoryFor(0)}}
	w.instance.linear.reserve = func(size uint64) ([]byte, func()) { return view[:size], func() {} }
	if err := w.instance.begin(ctx); err != nil {
		return err
	}

	for _, name := range workerExports {
		w.calls = append(w.calls, w.instance.guest.export(name))
	}
	return nil
}

// askFor makes host functions that ask the gateway.
func (w *workplace) askFor(functions []hostFunction) []hostFunction {
	functions = slices.Clone(functions)
	for n := range functions {
		functions[n].call = func(i *instance, args []uint64) int32 { return w.ask(uint32(n), args) }
	}
	return functions
}

func (w *workplace) ask(number uint32, args []uint64) int32 {
	i := w.instance
	m := message{kind: msgAsked, number: number, memory: i.linear.used, time: i.clock.used()}
	copy(m.args[:], args)

	err := w.line.exchange(&m)
	switch {
	case err == nil && m.kind == msgAnswered:
		i.clock.started -= m.time // the gateway's time is the guest's
	case err == nil && m.kind == msgNext:
		i.bound(&m)
		i.clock.startCall()
	default:
		i.stop(errStopped)
	}

	return int32(uint32(m.args[0]))
}

// bound sets the limits that the gateway gives.
func (i *instance) bound(m *message) {
	i.clock = clock{call: m.time, batch: m.batch, free: time.Hour}
	i.linear.limit = m.memory
}

// serve runs one call.
func (w *workplace) serve() error {
	var m message
	if err := w.line.receive(&m); err != nil {
		return err
	}
	if m.kind != msgCall || m.number >= uint32(len(w.calls)) || w.calls[m.number] == nil {
		return errBroken
	}

	i := w.instance
	i.bound(&m)
	w.stack = m.args
	err := i.call(w.calls[m.number], w.stack[:])

	answer := message{kind: msgReturned, memory: i.linear.used, time: i.clock.spent}
	answer.args[0] = w.stack[0]
	if err != nil {
		answer.kind = msgFailed
		answer.number = causeNumber(err)
	}

	return w.line.send(&answer)
}
