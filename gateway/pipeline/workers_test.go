package pipeline

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// A binding whose batches never end keeps its share of the workers, and other
// bindings theirs.
func TestSlowBindingLeavesWorkersToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		workers := NewWorkers(2, recordbatch.Limits{})
		var slow, other Grant
		var served atomic.Int32
		hold := make(chan struct{})
		for range 20 {
			go func() {
				w := workers.take(&slow)
				served.Add(1)
				<-hold
				workers.put(w, &slow)
			}()
		}

		synctest.Wait()
		if n := served.Load(); n != 2 {
			t.Fatalf("the slow binding has %d workers, want 2", n)
		}

		for range 50 {
			workers.put(workers.take(&other), &other)
		}
		if len(workers.idle) != 1 {
			t.Errorf("%d workers were made where one was enough", len(workers.idle))
		}

		close(hold)
		synctest.Wait()
		if n := served.Load(); n != 20 || len(workers.busy) != 0 {
			t.Errorf("%d of 20 were served, %d bindings are still at work", n, len(workers.busy))
		}
	})
}

// Where all workers are taken, bindings that wait get the next ones in rotation.
func TestWorkersGoRoundTheBindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		workers := NewWorkers(1, recordbatch.Limits{})
		held := make([]Grant, bindingsAtWork)
		taken := make([]*worker, bindingsAtWork)
		for n := range held {
			taken[n] = workers.take(&held[n])
		}

		var many, one Grant
		var order []*Grant
		wait := func(g *Grant) {
			go func() {
				w := workers.take(g)
				order = append(order, g)
				workers.put(w, g)
			}()
			synctest.Wait()
		}
		for range 3 {
			wait(&many)
		}

		wait(&one)
		workers.put(taken[0], &held[0])
		synctest.Wait()

		if len(order) != 4 || order[1] != &one {
			t.Errorf("the binding with one batch was not the second of %d", len(order))
		}
		if workers.free != 1 || len(workers.next) != 0 || len(workers.busy) != bindingsAtWork-1 {
			t.Errorf("%d are free, %d wait, %d bindings are at work", workers.free, len(workers.next), len(workers.busy))
		}
	})
}
