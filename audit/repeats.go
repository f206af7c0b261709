package audit

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// stepRepeats is the step of an entry that says what an earlier one said, whose number
// is the step's detail.
const stepRepeats = "repeats"

func repeats(seq uint64) []Step {
	return []Step{{Name: stepRepeats, Verdict: "entry", Detail: strconv.FormatUint(seq, 10)}}
}

// Repeats is the number of the entry that this one repeats where a segment begins; ok is
// false where it repeats none.
func (c *ControlEntry) Repeats() (seq uint64, ok bool) {
	if len(c.Steps) == 0 || c.Steps[0].Name != stepRepeats {
		return 0, false
	}
	seq, err := strconv.ParseUint(c.Steps[0].Detail, 10, 64)
	return seq, err == nil
}

// repeated are entries as a segment repeats them, with the time at which it does, in an
// order that depends on nothing but their keys.
func repeated[K comparable](all map[K]*ControlEntry, compare func(a, b K) int, now time.Time) []*ControlEntry {
	entries := make([]*ControlEntry, 0, len(all))
	for _, key := range slices.SortedFunc(maps.Keys(all), compare) {
		again := *all[key]
		again.Time = now
		entries = append(entries, &again)
	}
	return entries
}

// sizeOfRepeated is at least the bytes that the entries take.
func sizeOfRepeated[K comparable](all map[K]*ControlEntry) (n int) {
	for _, c := range all {
		n += c.sizeBound()
	}
	return n
}
