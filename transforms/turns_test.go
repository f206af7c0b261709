package transforms

import (
	"testing"
	"testing/synctest"
)

// A module with many slow batches delays another one's by one turn, not by all.
func TestTurnsGoRoundTheModules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &turns{free: 1}
		var busy, other queue
		var order []string
		never := make(chan struct{})

		if !turns.take(&busy, never) {
			t.Fatal("no turn where one is free")
		}
		wait := func(q *queue, name string) {
			go func() {
				turns.take(q, never)
				order = append(order, name)
				turns.giveBack()
			}()
			synctest.Wait()
		}
		for range 3 {
			wait(&busy, "busy")
		}

		wait(&other, "other")
		turns.giveBack()
		synctest.Wait()

		if len(order) != 4 || order[1] != "other" {
			t.Errorf("the turns went to %v", order)
		}
		if turns.free != 1 || len(turns.next) != 0 {
			t.Errorf("%d turns are free, %d modules wait", turns.free, len(turns.next))
		}
	})
}

func TestTurnIsPassedOnlyToWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &turns{free: 1}
		var first, second queue
		never := make(chan struct{})
		turns.take(&first, never)

		if !turns.pass(&first, never) {
			t.Fatal("a turn was lost where nobody waits")
		}

		got := false
		go func() {
			turns.take(&second, never)
			got = true
			turns.giveBack()
		}()

		synctest.Wait()
		if got {
			t.Fatal("two have the only turn")
		}
		if !turns.pass(&first, never) || !got {
			t.Error("the turn did not go round")
		}
	})
}

// Who gives up while it waits takes no turn with it.
func TestBatchThatIsGivenUpTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &turns{free: 1}
		var held, left queue
		never := make(chan struct{})
		done := make(chan struct{})
		turns.take(&held, never)

		taken := true
		go func() { taken = turns.take(&left, done) }()
		synctest.Wait()
		close(done)
		synctest.Wait()

		if taken {
			t.Error("a batch that was given up has a turn")
		}

		turns.giveBack()
		if turns.free != 1 || len(turns.next) != 0 || len(left.waiting) != 0 {
			t.Errorf("%d turns are free, %d modules wait", turns.free, len(turns.next))
		}
	})
}
