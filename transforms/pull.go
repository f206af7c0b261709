package transforms

import (
	"errors"
	"runtime"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// A module of Redpanda's ABI is not called for its records: it fetches them. Its
// main function never returns, and calls read_batch_header for the next batch. So
// each instance of one has a goroutine of its own, on which main runs and which
// rests inside of that call while there is no batch.
//
// The goroutine that has a batch and the guest's own take turns. One of them is
// always waiting for the other, so that both use the instance without a lock, and
// whoever frees an instance finds its goroutine resting or gone.
type pull struct {
	next  chan struct{} // to the guest's goroutine: there is a chunk. Closed: end
	rests chan error    // from it: nil, it waits for a chunk; else why it ended
	ended bool          // nothing more comes from it

	fetching
}

var errMainReturned = errors.New("the main function returned, where it had to ask for the next batch")

// startPulling runs the guest's main function until it asks for its first batch.
func (i *instance) startPulling() error {
	i.pull = &pull{next: make(chan struct{}), rests: make(chan error)}
	go func() { i.pull.rests <- i.runMain() }()

	return i.awaitRest()
}

// runMain runs main to its end, and says why it ended.
func (i *instance) runMain() error {
	for _, name := range []string{wasm.SectionStart, wasm.ExportMain} {
		f := i.guest.export(name)
		if f == nil {
			continue
		}
		if err := i.call(f, i.stack[:0]); err != nil {
			return err
		}
	}

	return i.failed(Trap, errMainReturned)
}

// awaitRest returns when the guest waits for a chunk, or with why it never will.
func (i *instance) awaitRest() error {
	err := <-i.pull.rests
	i.pull.ended = err != nil
	return err
}

// rest is where the guest's goroutine is between two chunks. It takes no time of the
// clock meanwhile, and no thread.
func (i *instance) rest() {
	i.guest.rest(i)
	i.pull.rests <- nil
	if _, more := <-i.pull.next; !more {
		i.stop(errModuleClosed)
	}

	i.guest.resume(i)
}

// pullChunk lets the guest fetch the current records, and returns when it asks for
// more than there are.
func (i *instance) pullChunk() error {
	i.pull.next <- struct{}{}

	err := i.awaitRest()
	if failed, ok := errors.AsType[*Error](err); ok && failed.Kind == Trap && i.outOfRoom() {
		return i.failed(Memory, failed.Err)
	}
	return err
}

// outOfRoom reports whether there was no room for what the guest would have written of
// a large record. Its runtime traps then, as it does for anything else.
func (i *instance) outOfRoom() bool {
	size := uint64(i.chunk.bytes)
	return size > chunkBytes && i.linear.used+size > i.linear.limit
}

// undecided reports whether the current records are as they were, so that another
// instance can be given them.
func (i *instance) undecided() bool {
	return i.pull == nil || i.pull.read <= 1 && i.pull.writes == 0
}

// endPulling ends the guest's goroutine, if there is one.
func (i *instance) endPulling() {
	if i.pull == nil || i.pull.ended {
		return
	}

	i.guest.abandon()
	close(i.pull.next)
	<-i.pull.rests
	i.pull.ended = true
}

// rest implements guest. It is called on the thread that call has locked.
func (g localGuest) rest(i *instance) {
	i.clock.endCall()
	runtime.UnlockOSThread()
}

// resume implements guest.
func (g localGuest) resume(i *instance) {
	runtime.LockOSThread()
	i.clock.startCall()
}

// abandon implements guest.
func (g localGuest) abandon() {}
