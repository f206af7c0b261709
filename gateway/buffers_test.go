package gateway

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryBudgetIsNeverExceeded(t *testing.T) {
	const budget = 1 << 20
	b := newBuffers(budget)
	var mu sync.Mutex
	held := 0
	most := 0
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 200 {
				buf, err := b.get(t.Context(), 1+(i*7919+n*104729)%(300<<10), nil, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}

				mu.Lock()
				held += len(buf)
				most = max(most, held)
				held -= len(buf)
				mu.Unlock()
				b.put(buf, nil)
			}
		})
	}

	wg.Wait()
	if b.free != budget {
		t.Errorf("%d bytes of the budget are free at the end, want all %d", b.free, budget)
	}
	if most > budget {
		t.Errorf("%d bytes were held of %d", most, budget)
	}
}

func TestWaitingForMemoryEndsWithPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffers(1 << 16)
		held, err := b.get(t.Context(), 1, nil, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.get(t.Context(), 1, nil, time.Second); !errors.Is(err, errBudget) {
			t.Errorf("got %v, want errBudget", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.get(ctx, 1, nil, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}

		b.put(held, nil)
		if _, err := b.get(t.Context(), 1, nil, time.Second); err != nil {
			t.Errorf("after the memory was given back: %v", err)
		}
	})
}

func TestLargeFrameIsNotStarvedBySmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffers(4 << 16)
		var small [][]byte
		for range 4 {
			buf, err := b.get(t.Context(), 1, nil, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			small = append(small, buf)
		}

		got := make(chan error, 1)
		go func() {
			_, err := b.get(t.Context(), 4<<16, nil, time.Hour)
			got <- err
		}()

		synctest.Wait()
		if b.tryGet(1, nil) != nil {
			t.Error("a small frame passed the waiting large one")
		}

		for _, buf := range small {
			if b.tryGet(1, nil) != nil {
				t.Error("a small frame passed the waiting large one")
			}
			b.put(buf, nil)
		}

		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestBuffersAreLargerThanNeededOnlyWhileMemoryIsAmple(t *testing.T) {
	b := newBuffers(4 << 20)
	var held [][]byte
	for range 2 {
		held = append(held, b.tryWindow(maxWindow, nil))
	}

	if len(held[0]) != maxWindow || len(held[1]) != maxWindow {
		t.Fatalf("got %d and %d bytes while half of the memory was free", len(held[0]), len(held[1]))
	}
	small := b.tryWindow(maxWindow, nil)
	if len(small) != 1<<minBufferBits {
		t.Errorf("got %d bytes where less than half is free", len(small))
	}

	for _, buf := range append(held, small) {
		b.put(buf, nil)
	}
	if b.free != 4<<20 {
		t.Errorf("%d bytes are free at the end", b.free)
	}
}
