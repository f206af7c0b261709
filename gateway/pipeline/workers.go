package pipeline

import (
	"sync"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// bindingsAtWork is how many bindings can have as many workers as each may
// have, before others must wait.
const bindingsAtWork = 4

// Workers bound the batches that are decided at one time, and so the memory of
// decompressed records. A binding has its share of them and no more, so that
// one whose modules are slow leaves workers to the others; those that wait are
// served in rotation of their bindings. Several pipelines may share them. It is
// safe for concurrent use.
type Workers struct {
	limits recordbatch.Limits
	share  int // what one binding may have

	mu   sync.Mutex
	idle []*worker
	free int // workers that may still be taken, idle ones and those never made
	busy map[*Grant]int
	next []*lane // of bindings that wait, in rotation
}

// lane is the batches of one binding that wait for a worker, in the order in
// which they came.
type lane struct {
	grant   *Grant
	waiting []chan *worker
}

// NewWorkers makes workers of which each binding may have share at one time. Each
// decodes batches within limits.
func NewWorkers(share int, limits recordbatch.Limits) *Workers {
	return &Workers{
		limits: limits,
		share:  share,
		free:   bindingsAtWork * share,
		busy:   make(map[*Grant]int),
	}
}

// take waits for a worker for a batch of a binding. The caller puts it back.
func (w *Workers) take(grant *Grant) *worker {
	w.mu.Lock()
	if w.free > 0 && w.busy[grant] < w.share {
		got := w.assign(grant)
		w.mu.Unlock()
		return got
	}

	given := w.wait(grant)
	w.mu.Unlock()

	return <-given
}

// assign takes a worker out. There is one, as the caller has seen, who holds
// mu.
func (w *Workers) assign(grant *Grant) *worker {
	w.free--
	w.busy[grant]++

	last := len(w.idle) - 1
	if last < 0 {
		return &worker{codec: recordbatch.NewCodec(w.limits)}
	}

	got := w.idle[last]
	w.idle = w.idle[:last]

	return got
}

// wait joins the binding's lane, which the rotation serves in its turn. The
// caller holds mu.
func (w *Workers) wait(grant *Grant) chan *worker {
	given := make(chan *worker, 1)
	for _, l := range w.next {
		if l.grant == grant {
			l.waiting = append(l.waiting, given)
			return given
		}
	}

	w.next = append(w.next, &lane{grant: grant, waiting: []chan *worker{given}})

	return given
}

// put takes a worker back and gives it to the first in rotation who may have one.
func (w *Workers) put(back *worker, grant *Grant) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.idle = append(w.idle, back)
	w.free++
	w.busy[grant]--

	if w.busy[grant] == 0 {
		delete(w.busy, grant)
	}

	for n, l := range w.next {
		if w.busy[l.grant] >= w.share {
			continue
		}

		w.next = append(w.next[:n], w.next[n+1:]...)
		l.waiting[0] <- w.assign(l.grant)
		if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
			w.next = append(w.next, l)
		}

		return
	}
}
