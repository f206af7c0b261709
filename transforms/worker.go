package transforms

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/internal/child"
)

// A module that is loaded apart has each of its guests in a worker: a child process
// that has nothing but the compiled module. The engine that runs hostile code is
// large, and what escapes from it finds itself in a process without environment,
// files, sockets, keys and other topics' records, which may make no system call but
// those of computing (child.Confine).
//
// The guest's memory is shared by both processes, so that records are put into it
// and results are checked where they lie, by the code that serves guests in this
// process. The worker runs exports, one message each way (worker_wire.go). Host
// functions run here, where keys and grant are.
//
// All that comes from a worker is hostile, and its guest's memory may change at any
// time: what is looked at twice is copied before. The memory's size is sealed, so that
// no access can fail. A worker that breaks the protocol, ends, or does not answer in
// time is killed, and its batch fails as if the guest had trapped or run too long.
const (
	// WorkerCommand is the hidden command of this program that calls RunWorker.
	WorkerCommand = "__guest"

	// workerStart is how long a worker may take until its guest is there.
	workerStart = 30 * time.Second
	// firstRestart and lastRestart are what is waited before another worker is
	// started after one that died, and after many.
	firstRestart = 20 * time.Millisecond
	lastRestart  = 2 * time.Second
)

var (
	errBroken  = errors.New("the worker does not keep to the protocol")
	errOverdue = errors.New("the worker did not answer in time")
	errGone    = errors.New("the worker ended")
	errWorkers = errors.New("there are no workers to run it in")
	errHost    = errors.New("a host function failed")
)

// worker is a guest in a process of its own.
type worker struct {
	process *child.Process
	kill    func()
	line    line
	gone    chan struct{} // closed when the process is
	exports []string      // that the module has

	view   []byte // the guest's memory, and what it may grow by
	size   uint32
	spent  time.Duration // processor time, as it says itself
	unmap  func()
	failed bool // it broke the protocol, died, or was killed
	turn   callTurn

	timer *time.Timer
	late  atomic.Bool
}

// callTurn is what the running call used, until it returns or rests.
type callTurn struct {
	hosted time.Duration // processor time of host functions
	began  time.Duration // the thread's time when the running one did
	asked  time.Duration // what the worker had used when it asked for it
	rested bool          // it waited for a batch, which has its own limits
}

// startWorker starts a worker for the instance, which waits if others have died.
func (i *instance) startWorker(ctx context.Context) (guest, error) {
	m := i.module
	if err := m.restarts.wait(ctx); err != nil {
		return nil, i.failed(Timeout, err)
	}

	w, err := m.code.newWorker(ctx)
	if err != nil {
		m.restarts.died()
		return nil, i.failed(Timeout, fmt.Errorf("starting a worker: %w", err))
	}

	i.linear.view = w.view
	i.linear.used = uint64(w.size)

	return w, nil
}

func (c *Code) newWorker(ctx context.Context) (*worker, error) {
	view, file, unmap, err := shareMemory(uint64(mostPages(c.key.pages)) * wasmPage)
	if err != nil {
		return nil, err
	}

	defer file.Close()

	w := &worker{view: view, unmap: unmap, gone: make(chan struct{})}
	for name := range c.compiled.ExportedFunctions() {
		w.exports = append(w.exports, name)
	}

	if err := w.start(ctx, c, file); err != nil {
		unmap()
		return nil, err
	}

	return w, nil
}

// start starts the process and waits until the guest is there. On an error there is
// no process left.
func (w *worker) start(ctx context.Context, c *Code, memory *os.File) error {
	bounds := trialBounds{c.runtime.trialBounds.Memory, workerTime}
	request, err := c.runtime.trialRequest(c.file, c.key, bounds)
	if err != nil {
		return err
	}

	cmd, err := child.Command(context.WithoutCancel(ctx), c.runtime.config.Worker...)
	if err != nil {
		return err
	}

	said := &child.Words{}
	cmd.Stderr = said
	cmd.ExtraFiles = []*os.File{memory}

	stdin, err := cmd.StdinPipe()
	if err == nil {
		w.line.in = stdin
		w.line.out, err = cmd.StdoutPipe()
	}

	if err == nil {
		w.process, err = child.Start(cmd)
	}
	if err != nil {
		return err
	}

	w.kill = w.process.Kill
	go func() {
		_ = w.process.Wait()
		close(w.gone)
	}()

	w.timer = time.AfterFunc(workerStart, w.overdue)
	stop := context.AfterFunc(ctx, w.kill)

	_, err = io.Copy(stdin, request)
	var m message
	if err == nil {
		err = w.line.receive(&m)
	}

	called := !stop()
	w.timer.Stop()

	if err == nil && !called && m.kind == msgStarted && w.resize(m.memory, uint64(len(w.view))) {
		return nil
	}

	w.end()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case w.late.Load():
		return errOverdue
	case said.First() != "":
		return errors.New(said.First()) // no guest code ran in it
	}

	return errGone
}

// overdue ends a worker that does not answer.
func (w *worker) overdue() {
	w.late.Store(true)
	w.kill()
}

// end kills the process and waits until it is gone.
func (w *worker) end() {
	w.kill()
	<-w.gone
}

// dead reports whether the worker ended by itself, or was killed.
func (w *worker) dead() bool {
	select {
	case <-w.gone:
		return true
	default:
		return w.failed
	}
}

// worn reports whether the worker nears the end that the kernel sets to its life.
func (w *worker) worn() bool { return w.spent > workerTime/2 }

func (w *worker) close(context.Context) {
	w.timer.Stop()
	w.end()
	w.unmap()
}

func (w *worker) export(name string) callable {
	if !slices.Contains(w.exports, name) {
		return nil
	}
	return workerFunction{w, uint32(slices.Index(workerExports, name))}
}

func (w *worker) memory() memory { return w }

// resize takes over the size that the worker tells of the guest's memory.
func (w *worker) resize(size, limit uint64) bool {
	most := max(uint64(w.size), min(limit, uint64(len(w.view))))
	if size%wasmPage != 0 || size < uint64(w.size) || size > most {
		return false
	}
	w.size = uint32(size)
	return true
}

// Size implements memory.
func (w *worker) Size() uint32 { return w.size }

// Read implements memory. The worker may change the bytes at any time.
func (w *worker) Read(at, n uint32) ([]byte, bool) {
	return view(w.view[:w.size], at, uint64(n))
}

// ReadUint32Le implements memory.
func (w *worker) ReadUint32Le(at uint32) (uint32, bool) {
	p, ok := w.Read(at, 4)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint32(p), true
}

// WriteUint32Le implements memory.
func (w *worker) WriteUint32Le(at, v uint32) bool {
	return w.Write(at, binary.LittleEndian.AppendUint32(nil, v))
}

// WriteUint64Le implements memory.
func (w *worker) WriteUint64Le(at uint32, v uint64) bool {
	return w.Write(at, binary.LittleEndian.AppendUint64(nil, v))
}

// Write implements memory.
func (w *worker) Write(at uint32, p []byte) bool {
	to, ok := view(w.view[:w.size], at, uint64(len(p)))
	copy(to, p)
	return ok
}

// workerFunction is an export of a worker's guest.
type workerFunction struct {
	worker *worker
	number uint32
}

// call has the worker run the export, and serves the host functions that the guest
// calls meanwhile.
func (f workerFunction) call(i *instance, stack []uint64) error {
	w := f.worker
	m := i.bounded(msgCall)
	m.number = f.number
	copy(m.args[:], stack)
	w.turn = callTurn{}
	w.timer.Reset(waitFactor * i.clock.call)
	defer w.timer.Stop()

	for {
		if err := w.line.exchange(&m); err != nil {
			return i.lost(errGone)
		}
		if !w.resize(m.memory, i.linear.limit) {
			return i.lost(errBroken)
		}

		i.linear.used = uint64(w.size)
		switch {
		case m.kind == msgAsked && i.reason == nil && m.number < uint32(len(i.module.code.functions)):
			i.serve(&m)
		case m.kind == msgReturned && i.reason == nil:
			w.turn.asked = m.time
			w.settleTurn(i)
			copy(stack, m.args[:])
			return nil
		case m.kind == msgFailed:
			return i.stopped(m.number)
		default:
			return i.lost(errBroken)
		}
	}
}

// bounded is a message that gives the limits that are armed.
func (i *instance) bounded(kind uint32) message {
	return message{
		kind:   kind,
		memory: i.linear.limit,
		time:   i.clock.call,
		batch:  i.clock.batch - i.clock.spent,
	}
}

// settleTurn counts what a call used, or what it used until it rested.
func (w *worker) settleTurn(i *instance) {
	i.clock.spent += max(w.turn.hosted, w.turn.asked)
	w.spent += w.turn.asked
}

// rest implements guest.
func (w *worker) rest(i *instance) {
	w.timer.Stop()
	w.turn.hosted += threadTime() - w.turn.began
	w.settleTurn(i)
	runtime.UnlockOSThread()
}

// resume implements guest.
func (w *worker) resume(i *instance) {
	runtime.LockOSThread()
	w.turn = callTurn{began: threadTime(), rested: true}
	w.timer.Reset(waitFactor * i.clock.call)
}

// abandon implements guest.
func (w *worker) abandon() { w.kill() }

// lost notes why nothing more is to be expected of the instance's worker.
func (i *instance) lost(cause error) error {
	w := i.guest.(*worker)
	w.failed = true
	w.kill()

	i.reason = cause
	if w.late.Load() {
		i.reason = errOverdue
	}
	return i.reason
}

// stopped is why a call failed: in our own words if it was us, else in those that
// the worker chose.
func (i *instance) stopped(number uint32) error {
	cause := causeOf(number)
	if i.reason == nil && (cause == errDeadline || cause == errBatchDeadline || cause == errStackBudget) {
		i.reason = cause
	}
	return cause
}

// serve runs the host function that m asks for, and makes m the answer. The processor
// time that this takes counts like the guest's own.
func (i *instance) serve(m *message) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	turn := &i.guest.(*worker).turn
	turn.began = threadTime()
	turn.asked = m.time
	f := i.module.code.functions[m.number]
	args := m.args
	i.given = i.given[:0]
	if cap(i.given) > 2*maxHostBytes {
		i.given = nil
	}

	result := uint64(uint32(i.hostCall(f, args[:])))
	took := threadTime() - turn.began
	turn.hosted += took

	switch {
	case i.reason != nil:
	case isDone(i.clock.done):
		i.reason = context.Canceled
	case turn.hosted > i.clock.call:
		i.reason = errDeadline
	case i.clock.spent+turn.hosted > i.clock.batch:
		i.reason = errBatchDeadline
	}

	switch {
	case i.reason != nil:
		*m = message{kind: msgStop, time: took}
	case turn.rested:
		*m = i.bounded(msgNext)
		turn.rested = false
	default:
		*m = message{kind: msgAnswered, time: took}
	}
	m.args[0] = result
}

// hostCall calls a host function. One that stops the guest leaves the reason.
func (i *instance) hostCall(f hostFunction, args []uint64) (result int32) {
	defer func() {
		if recover() != nil && i.reason == nil {
			i.reason = errHost // as the engine turns a panic into the call's error
		}
	}()
	return f.call(i, args)
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// line is the way to the other process.
type line struct {
	in    io.Writer
	out   io.Reader
	frame [messageSize]byte
}

func (l *line) send(m *message) error {
	m.encode(&l.frame)
	_, err := l.in.Write(l.frame[:])
	return err
}

func (l *line) receive(m *message) error {
	_, err := io.ReadFull(l.out, l.frame[:])
	m.decode(&l.frame)
	return err
}

func (l *line) exchange(m *message) error {
	if err := l.send(m); err != nil {
		return err
	}
	return l.receive(m)
}

// restarts holds a module's workers back that are started after others died.
type restarts struct {
	mu   sync.Mutex
	dead int // since one worked
	next time.Time
}

// after notes what became of the instance's worker.
func (r *restarts) after(i *instance, healthy bool) {
	w, ok := i.guest.(*worker)
	switch {
	case !ok:
	case healthy:
		r.worked()
	case w.dead():
		r.died()
	}
}

func (r *restarts) worked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = 0
}

func (r *restarts) died() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = time.Now().Add(min(firstRestart<<min(r.dead, 10), lastRestart))
	r.dead++
}

// wait returns when another worker may be started.
func (r *restarts) wait(ctx context.Context) error {
	r.mu.Lock()
	next := r.next
	if r.dead == 0 {
		next = time.Time{}
	}
	r.mu.Unlock()

	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
