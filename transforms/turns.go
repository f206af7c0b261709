package transforms

import (
	"runtime"
	"slices"
	"sync"
)

// turns are the right to run a guest for longer than most batches take. There are
// fewer than processors, so that a slow or hostile module leaves one of them to
// everything else, and modules get them in rotation, however many batches each of
// them has: a module with a thousand slow batches delays another's by one quantum.
type turns struct {
	mu   sync.Mutex
	free int
	next []*queue // of modules that wait, in rotation
}

// queue are the batches of one module that wait for a turn; guarded by turns.mu.
type queue struct {
	waiting []chan struct{} // closed when the turn is given
}

func newTurns() *turns { return &turns{free: max(1, runtime.GOMAXPROCS(0)-1)} }

// take waits for a turn. It reports false, and there is none to give back, when
// done is closed before.
func (t *turns) take(q *queue, done <-chan struct{}) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}

	given := t.join(q)
	t.mu.Unlock()

	return t.wait(q, given, done)
}

// pass hands the caller's turn to who waits longest, and waits for another one.
// Without anybody waiting the caller keeps it. On false the turn is gone.
func (t *turns) pass(q *queue, done <-chan struct{}) bool {
	t.mu.Lock()
	if len(t.next) == 0 {
		t.mu.Unlock()
		return true
	}

	given := t.join(q)
	t.give()
	t.mu.Unlock()

	return t.wait(q, given, done)
}

func (t *turns) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.give()
}

// join puts the caller at the end of its module's queue. The caller holds mu.
func (t *turns) join(q *queue) chan struct{} {
	given := make(chan struct{})
	q.waiting = append(q.waiting, given)
	if len(q.waiting) == 1 {
		t.next = append(t.next, q)
	}

	return given
}

// give hands a turn to the module whose rotation it is. The caller holds mu.
func (t *turns) give() {
	if len(t.next) == 0 {
		t.free++
		return
	}

	q := t.next[0]
	t.next = t.next[1:]
	close(q.waiting[0])
	q.waiting = q.waiting[1:]

	if len(q.waiting) > 0 {
		t.next = append(t.next, q)
	}
}

// wait waits for the turn or for done. A turn that comes at the moment of
// giving up is handed on to the next.
func (t *turns) wait(q *queue, given chan struct{}, done <-chan struct{}) bool {
	select {
	case <-given:
		return true
	case <-done:
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-given: // just now, by somebody else
		t.give()
		return false
	default:
	}

	at := slices.Index(q.waiting, given)
	q.waiting = slices.Delete(q.waiting, at, at+1)
	if len(q.waiting) == 0 {
		t.next = slices.DeleteFunc(t.next, func(other *queue) bool { return other == q })
	}

	return false
}
