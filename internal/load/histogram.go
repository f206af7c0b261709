package load

import (
	"math"
	"math/bits"
	"time"
)

// exactBits says how exact a Histogram is: what it tells is less than one part in
// 1<<exactBits too long.
const exactBits = 9

// Histogram counts durations, in buckets that grow with them: however many it
// counts, it takes as much memory. The zero Histogram is empty.
type Histogram struct {
	counts [(64 - exactBits + 1) << exactBits]uint32
	total  int
}

// Add counts one duration. One below zero counts as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
}

// Merge counts everything that the other has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// Count is how many durations were counted.
func (h *Histogram) Count() int { return h.total }

// Quantile is the least duration that a part q (0 to 1) of what was counted does not
// exceed, or 0 if nothing was.
func (h *Histogram) Quantile(q float64) time.Duration {
	due := max(1, int(math.Ceil(q*float64(h.total))))
	seen := 0
	for i, n := range h.counts {
		if seen += int(n); seen >= due {
			return longest(i)
		}
	}

	return 0
}

// bucket is where a duration is counted: what is below 1<<exactBits for itself, and
// each doubling above it in as many buckets.
func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	double := max(0, bits.Len64(n)-exactBits-1)
	return double<<exactBits + int(n>>double)
}

// longest is the longest duration of a bucket.
func longest(i int) time.Duration {
	double := max(0, i>>exactBits-1)
	low := uint64(i-double<<exactBits) << double
	return time.Duration(low + 1<<double - 1)
}
