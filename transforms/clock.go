package transforms

import (
	"context"
	"runtime"
	"time"
)

// clock counts the processor time of one instance on one batch. The thread is
// locked while a guest runs, so that the thread's time is the guest's: how busy
// the machine is does not count against a module.
type clock struct {
	done  <-chan struct{} // of the batch's context
	call  time.Duration   // the most that the running call may use
	batch time.Duration   // the most that all calls of the batch may use
	free  time.Duration   // what the batch may use before it needs a turn

	started time.Duration // the thread's time when the call began
	spent   time.Duration // by earlier calls of the batch
	rested  time.Duration // what the call had used when others could last run
	thread  time.Duration // the thread's time when it was last asked
	asked   time.Time     // and when that was
	turn    bool          // the batch holds one of the turns

	looked  time.Duration  // what the call had used at the last look
	longest *time.Duration // the most between two looks, where a test wants to know
}

const (
	// quantum is how long a guest runs, in processor time, before others get a
	// chance to.
	quantum = 500 * time.Microsecond
	// freeTime and freeTimePerMiB are what a batch may use without a turn. Batches
	// of modules that work at 100 MB/s end within it.
	freeTime       = 500 * time.Microsecond
	freeTimePerMiB = 10 * time.Millisecond
)

// startBatch sets the limits of a batch that gives size bytes to the guest.
func (c *clock) startBatch(ctx context.Context, limits Limits, size int) {
	c.done = ctx.Done()
	c.batch = limits.batchTime(size)
	c.free = freeTime + perMiB(freeTimePerMiB, size)
	c.spent = 0
}

// startCall begins a call on the thread that the goroutine is locked to, whose
// time is the call's.
func (c *clock) startCall() {
	c.started = c.ask()
	c.rested = 0
	c.looked = 0
}

func (c *clock) endCall() { c.spent += c.used() }

// used is the processor time of the running call so far.
func (c *clock) used() time.Duration { return c.ask() - c.started }

func (c *clock) ask() time.Duration {
	c.thread = threadTime()
	c.asked = time.Now()

	return c.thread
}

// usedAtMost is what the running call can have used: no thread uses more than the time
// that passes, which costs no system call to know.
func (c *clock) usedAtMost() time.Duration { return c.thread + time.Since(c.asked) - c.started }

// over reports whether a call that has used so much has to be stopped, or to let
// others run.
func (c *clock) over(used time.Duration) bool {
	return used > c.call || c.spent+used > c.batch || used-c.rested > quantum
}

// checkTime stops the guest when its time is up or its batch was given up, and
// lets others run where they wait.
func (i *instance) checkTime() {
	c := &i.clock
	select {
	case <-c.done:
		i.stop(context.Canceled)
	default:
	}

	if c.longest == nil && !c.over(c.usedAtMost()) {
		return
	}

	used := c.used()
	if c.longest != nil {
		*c.longest = max(*c.longest, used-c.looked)
		c.looked = used
	}

	switch {
	case used > c.call:
		i.stop(errDeadline)
	case c.spent+used > c.batch:
		i.stop(errBatchDeadline)
	case used-c.rested > quantum && !i.giveWay(used):
		i.stop(context.Canceled)
	}
}

// giveWay lets other goroutines run, and reports whether the batch may go on.
// The thread is let go meanwhile: a locked one would have to be put to sleep and
// woken, which costs more than a tenth of a fast module's time. The call goes on
// with what it has used, on whatever thread that is then.
func (i *instance) giveWay(used time.Duration) bool {
	runtime.UnlockOSThread()
	goesOn := i.awaitTurn(i.clock.spent + used)
	runtime.LockOSThread()

	i.clock.started = i.clock.ask() - used
	i.clock.rested = used
	return goesOn
}

// awaitTurn returns when others had a chance to run. A batch that has used more
// than its free time goes on when it is its module's turn; it reports false if it
// was given up before.
func (i *instance) awaitTurn(used time.Duration) bool {
	c := &i.clock
	turns := i.module.code.runtime.turns
	switch {
	case used < c.free:
		runtime.Gosched()
	case !c.turn:
		c.turn = turns.take(&i.module.queue, c.done)
		return c.turn
	default:
		c.turn = turns.pass(&i.module.queue, c.done)
		if !c.turn {
			return false
		}
		runtime.Gosched()
	}

	return true
}

// endBatch gives the turn back, if the batch holds one, so that another batch
// gets it.
func (i *instance) endBatch() {
	if i.clock.turn {
		i.clock.turn = false
		i.module.code.runtime.turns.giveBack()
	}
}
