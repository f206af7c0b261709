// Package meter counts and measures on the way of a batch: histograms of
// durations that cost a few atomic additions and no allocation, and that whoever
// watches the gateway reads as they are. It knows no metrics library.
//
// Trust: nothing comes in but numbers.
package meter

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper ends of the buckets of every Histogram, in seconds. From
// one to the next they grow by about three, from what a look-up takes to what a
// producer waits for at most.
var Bounds = [...]float64{0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30}

// exampleEvery is how long an example stands before another may take its place:
// keeping one allocates.
const exampleEvery = time.Second

// Moment is a point in time by the monotonic clock, in nanoseconds since the process
// began: no step of the wall clock moves it, and asking for it takes half of what
// time.Now takes, which reads both clocks.
type Moment int64

var processBegan = time.Now()

// Now is the present moment. It is never 0.
func Now() Moment { return Moment(time.Since(processBegan)) + 1 }

// Off leaves out what is only measured and counted: Mark looks at no clock, and nothing
// is observed. No gateway sets it; a benchmark does before it begins, to tell what
// measuring costs.
var Off bool

// Mark is Now for what is only measured.
func Mark() Moment {
	if Off {
		return 1
	}
	return Now()
}

// Since is how long ago another moment was.
func (m Moment) Since(before Moment) time.Duration { return time.Duration(m - before) }

// Time is the moment by the wall clock as it stands now.
func (m Moment) Time() time.Time { return time.Now().Add(m.Since(Now())) }

// Example is one measured duration, by the number of the decision that it is of.
type Example struct {
	Seconds float64
	Seq     uint64
	At      time.Time

	kept Moment
}

// Histogram counts durations by their size. The zero Histogram is empty. It is
// safe for concurrent use.
type Histogram struct {
	buckets  [len(Bounds) + 1]atomic.Uint64
	sum      atomic.Int64 // nanoseconds
	examples [len(Bounds) + 1]atomic.Pointer[Example]
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	if Off {
		return
	}
	h.buckets[bucketOf(d)].Add(1)
	h.sum.Add(int64(d))
}

// ObserveOf is Observe for a decision, whose duration has ended now. It is kept as
// the example of its bucket at most once a second. The number 0 is none.
func (h *Histogram) ObserveOf(d time.Duration, seq uint64, now Moment) {
	h.Observe(d)
	if seq == 0 || Off {
		return
	}

	at := &h.examples[bucketOf(d)]
	if old := at.Load(); old == nil || now.Since(old.kept) >= exampleEvery {
		at.Store(&Example{d.Seconds(), seq, now.Time(), now})
	}
}

func bucketOf(d time.Duration) int {
	seconds := d.Seconds()
	for i, bound := range Bounds {
		if seconds <= bound {
			return i
		}
	}
	return len(Bounds)
}

// Reading is what a Histogram held when it was read.
type Reading struct {
	Count    uint64
	Sum      float64            // seconds
	UpTo     map[float64]uint64 // durations of at most so many seconds
	Examples []Example
}

// Read copies what the histogram holds. Durations that come meanwhile may be
// in it or not.
func (h *Histogram) Read() Reading {
	r := Reading{UpTo: make(map[float64]uint64, len(Bounds))}
	for i := range h.buckets {
		r.Count += h.buckets[i].Load()
		if i < len(Bounds) {
			r.UpTo[Bounds[i]] = r.Count
		}
		if e := h.examples[i].Load(); e != nil {
			r.Examples = append(r.Examples, *e)
		}
	}

	r.Sum = time.Duration(h.sum.Load()).Seconds()
	return r
}
