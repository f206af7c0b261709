package segment

import (
	"slices"
	"time"
)

// A frame becomes durable in one of two ways: past the page cache, or through
// it with a flush. On a quiet machine the first saves the gateway a tenth of
// its CPU time at small requests (RATIONALE.md, "Where does the time go?"). On
// one whose cores are contended it waits ten times as long, because a thread of
// the kernel finishes it, which competes with every program there is. So both
// are measured while they serve, and the first is used while it keeps up.

// way is one of the two.
type way int

const (
	wayDirect way = iota
	wayFlush
	ways
)

const (
	// keptTimes is the number of latencies of a way whose median counts, so that
	// a single slow write decides nothing.
	keptTimes = 9
	// tryFlushEvery is the number of direct appends between two flushes that are
	// made for comparison. They cost next to nothing.
	tryFlushEvery = 32
	// tryDirectEvery is the number of flushes between two direct appends that are
	// made for comparison. It is so large because each may take milliseconds, which
	// would otherwise be the 99th percentile of all appends.
	tryDirectEvery = 512
)

// wayChooser chooses the way of the next append from what earlier ones took. It
// belongs to the one goroutine that appends.
type wayChooser struct {
	took  [ways][keptTimes]time.Duration // rings
	count [ways]int                      // appends measured so far
	since int                            // appends since the other way was tried
	use   way
}

// next returns the way of the next append.
func (c *wayChooser) next() way {
	every := tryFlushEvery
	other := wayFlush
	if c.use == wayFlush {
		every = tryDirectEvery
		other = wayDirect
	}

	c.since++
	if c.since < every {
		return c.use
	}

	c.since = 0
	return other
}

// done notes what an append took and judges anew. Direct appends are left where
// they take more than one and a half times as long as flushes, and taken up
// again where they take less than that.
func (c *wayChooser) done(w way, took time.Duration) {
	c.took[w][c.count[w]%keptTimes] = took
	c.count[w]++
	if c.count[wayDirect] < keptTimes || c.count[wayFlush] == 0 {
		return
	}

	before := c.use
	c.use = wayDirect
	if c.median(wayDirect) > c.median(wayFlush)*3/2 {
		c.use = wayFlush
	}
	if c.use != before {
		c.since = 0
	}
}

// median is that of the latencies that are kept of a way.
func (c *wayChooser) median(w way) time.Duration {
	kept := c.took[w]
	n := min(c.count[w], keptTimes)
	slices.Sort(kept[:n])
	return kept[n/2]
}
