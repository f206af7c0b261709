package meter

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHistogramCountsEachDurationOnce(t *testing.T) {
	var h Histogram
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, d := range []time.Duration{0, 10 * time.Microsecond, 2 * time.Millisecond, time.Minute} {
				h.Observe(d)
			}
		})
	}
	wg.Wait()

	r := h.Read()
	if r.Count != 32 || r.UpTo[0.000_01] != 16 || r.UpTo[0.003] != 24 || r.UpTo[30] != 24 {
		t.Errorf("read %+v", r)
	}
	if want := 8 * (60.002 + 0.000_01); r.Sum < want-1e-6 || r.Sum > want+1e-6 {
		t.Errorf("the sum is %v, not %v", r.Sum, want)
	}
}

func TestExamplesNameDecisions(t *testing.T) {
	var h Histogram
	now := Now()
	h.ObserveOf(time.Millisecond, 0, now)
	h.ObserveOf(time.Millisecond, 7, now)
	h.ObserveOf(time.Millisecond, 8, now) // within the second: the first stays
	h.ObserveOf(time.Second, 9, Now())

	examples := h.Read().Examples
	if len(examples) != 2 || examples[0].Seq != 7 || examples[1].Seq != 9 {
		t.Errorf("the examples are %+v", examples)
	}
}

func TestMomentsAreTimesOfTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := Now()
		time.Sleep(90 * time.Minute)
		after := Now()

		if d := after.Since(before); d != 90*time.Minute {
			t.Errorf("%v went by", d)
		}
		if at := before.Time(); !at.Equal(time.Now().Add(-90 * time.Minute)) {
			t.Errorf("the moment was at %v by the wall clock; it is %v now", at, time.Now())
		}
	})
}

func TestObservingAllocatesNothing(t *testing.T) {
	var h Histogram
	h.ObserveOf(time.Millisecond, 1, Now())
	if n := testing.AllocsPerRun(1000, func() { h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	now := Now()
	for b.Loop() {
		h.ObserveOf(80*time.Microsecond, 1, now)
	}
}
