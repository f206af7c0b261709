package state

import "math"

// keyHash is what is kept of a key.
type keyHash [16]byte

// entry is what is known of a key: counts by part of the window, or when it came.
type entry struct {
	key    keyHash
	latest int64 // the latest record of it

	used   bool
	newest int64 // the bucket that is counted in last
	counts [buckets + 1]uint32

	seen times

	earlier, later int32 // neighbours in the order of use
}

// times are when a key came last, and before that.
type times struct{ last, before moment }

// moment is an event, known by its number, which is 0 where there is none.
type moment struct {
	event uint64
	at    int64
}

// reach is how a bucket lies to those of an entry.
type reach int

const (
	within reach = iota
	later        // it is the newest now
	anew         // the entry is of no use: the bucket begins it
	late         // it is too old to be kept
)

func (e *entry) reach(bucket, width int64) reach {
	switch {
	case !e.used:
		return anew
	case bucket > e.newest:
		return later
	case e.newest-bucket <= buckets:
		return within
	case e.newest-bucket > ahead/width+buckets:
		return anew
	}
	return late
}

// slot is where a bucket lies in the ring.
func (e *entry) slot(bucket int64) *uint32 {
	n := bucket % (buckets + 1)
	if n < 0 {
		n += buckets + 1
	}
	return &e.counts[n]
}

// count adds one to a bucket. What lies between the newest and a later one is empty.
func (e *entry) count(bucket int64, r reach) {
	switch {
	case r == anew, r == later && bucket-e.newest > buckets:
		e.counts = [buckets + 1]uint32{}
		e.newest = bucket
	case r == later:
		for b := e.newest + 1; b <= bucket; b++ {
			*e.slot(b) = 0
		}
		e.newest = bucket
	}

	e.used = true
	if c := e.slot(bucket); *c < math.MaxUint32 {
		*c++
	}
}

// sum is what two buckets hold and those between them.
func (e *entry) sum(first, last int64) (total uint64) {
	if !e.used {
		return 0
	}
	for b := max(first, e.newest-buckets); b <= min(last, e.newest); b++ {
		total += uint64(*e.slot(b))
	}
	return total
}

// entries are those of a Store, in the order in which they were used.
type entries struct {
	most           int
	all            []entry
	at             map[keyHash]int32
	oldest, newest int32 // in use; none where there are no entries
	forgotten      int64 // the latest record of all entries that were forgotten
}

const none = -1

func newEntries(most int) entries {
	return entries{
		most:      most,
		at:        map[keyHash]int32{},
		oldest:    none,
		newest:    none,
		forgotten: math.MinInt64,
	}
}

// get returns the entry of a key, which is used now. A new one takes the place of
// the one that was not used for longest if there are too many.
func (s *entries) get(key keyHash) *entry {
	n, ok := s.at[key]
	switch {
	case ok:
		s.unlink(n)
	case len(s.all) < s.most:
		n = int32(len(s.all))
		s.all = append(s.all, entry{key: key, latest: math.MinInt64})
	default:
		n = s.oldest
		s.unlink(n)
		s.forgotten = max(s.forgotten, s.all[n].latest)
		delete(s.at, s.all[n].key)
		s.all[n] = entry{key: key, latest: math.MinInt64}
	}

	s.at[key] = n
	s.link(n)
	return &s.all[n]
}

// link makes an entry the one that was used last.
func (s *entries) link(n int32) {
	s.all[n].earlier = s.newest
	s.all[n].later = none
	if s.newest == none {
		s.oldest = n
	} else {
		s.all[s.newest].later = n
	}
	s.newest = n
}

func (s *entries) unlink(n int32) {
	e := &s.all[n]
	if e.earlier == none {
		s.oldest = e.later
	} else {
		s.all[e.earlier].later = e.later
	}
	if e.later == none {
		s.newest = e.earlier
	} else {
		s.all[e.later].earlier = e.earlier
	}
}

// undo takes an event back, as far as its entry is still there.
func (s *entries) undo(c *change) {
	n, ok := s.at[c.key]
	if !ok {
		return
	}

	e := &s.all[n]
	switch {
	case c.event == 0:
		count := e.slot(c.bucket)
		if c.bucket <= e.newest && e.newest-c.bucket <= buckets && *count > 0 {
			*count--
		}
	case e.seen.last.event == c.event:
		e.seen = c.last
	case e.seen.before.event == c.event:
		e.seen.before = c.last.last
	}
}
