// Package state counts how often keys come, within a window of time, and when they
// came last, in bounded memory.
//
// It keeps no byte of a key: a key is known by 128 bits of an HMAC under a secret that
// is drawn when the Store is made and is nowhere else. Keys of two partitions are two
// keys. All of it is gone when the Store is, which is at the latest when the process
// ends; Since says from when on the counts are complete.
//
// Time is that of the records. What a batch counts is seen by others at once and taken
// back when the batch is not stored, so that no two batches at the same time miss each
// other. A batch that is sent again is not counted again, as long as it is one of the
// last that were counted and says who sent it (BatchID).
//
// Trust: keys, windows and times come from guests and producers. The worst that they
// reach is that old entries are forgotten, which Since tells.
package state

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"sync"
)

const (
	// MaxKey bounds a key, in bytes.
	MaxKey = 1024

	// buckets is how many parts a window has. Counts are exact to one part: they
	// hold what came in the window and up to a part of it before.
	buckets = 16

	// ahead is by how many milliseconds an entry may be later than a record before
	// it was the entry that was wrong: the record then begins it anew.
	ahead = 60 * 60 * 1000
)

// Limits bound a Store.
type Limits struct {
	Keys    int // the least recently used are forgotten beyond
	Batches int // of so many it is known that they were counted
}

// DefaultLimits keep a Store below some 20 MiB.
func DefaultLimits() Limits { return Limits{Keys: 1 << 16, Batches: 1 << 14} }

// BatchID is what a batch that is sent again has in common with the first. The zero
// value is of a batch that does not say who sent it.
type BatchID struct {
	Known    bool
	Producer int64
	Epoch    int16
	Sequence int32
	CRC      uint32 // of the batch: a producer may use a sequence number anew
}

// Place is a partition.
type Place struct {
	Topic     string
	Partition int32
}

// Store is what one module counts. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	limits  Limits
	mac     hash.Hash
	sum     [sha256.Size]byte
	text    []byte
	events  uint64 // that were seen
	begin   int64  // when it began, in milliseconds
	entries entries
	counted map[countedKey]struct{}
	order   []countedKey // of counted, as a ring once it is full
	oldest  int
}

// countedKey is a batch that was counted, or is being counted.
type countedKey struct {
	at Place
	id BatchID
}

// New makes an empty Store that begins at a time, in milliseconds.
func New(limits Limits, begin int64) *Store {
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	return &Store{
		limits:  limits,
		mac:     hmac.New(sha256.New, secret[:]),
		begin:   begin,
		entries: newEntries(limits.Keys),
		counted: map[countedKey]struct{}{},
	}
}

// Batch is what one batch of records does to a Store. It is for one goroutine, which
// ends it with Keep or Undo.
type Batch struct {
	store   *Store
	id      countedKey
	again   bool // it was counted before: nothing is counted now
	changes []change
}

// change is one event, with what is needed to take it back.
type change struct {
	key    keyHash
	bucket int64  // counted there
	event  uint64 // or, if it is not 0, seen, in place of the last ones
	last   times
}

// Begin begins a batch of a partition.
func (s *Store) Begin(at Place, id BatchID) *Batch {
	b := &Batch{store: s, id: countedKey{at, id}}
	if !id.Known {
		return b
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if _, b.again = s.counted[b.id]; !b.again {
		s.note(b.id)
	}

	return b
}

// note remembers a batch, in place of the oldest if there are too many.
func (s *Store) note(id countedKey) {
	s.counted[id] = struct{}{}
	if len(s.order) < s.limits.Batches {
		s.order = append(s.order, id)
		return
	}

	delete(s.counted, s.order[s.oldest])
	s.order[s.oldest] = id
	s.oldest = (s.oldest + 1) % len(s.order)
}

// Keep ends a batch that is stored.
func (b *Batch) Keep() { b.changes = nil }

// Undo ends a batch that is not stored: nothing of it was counted.
func (b *Batch) Undo() {
	b.UndoTo(0)
	if b.again || !b.id.id.Known {
		return
	}

	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	delete(b.store.counted, b.id)
}

// Mark is a point of the batch to which UndoTo can go back. A nil Batch has one, too.
func (b *Batch) Mark() int {
	if b == nil {
		return 0
	}
	return len(b.changes)
}

// UndoTo takes back what was counted behind a mark.
func (b *Batch) UndoTo(mark int) {
	if b == nil || len(b.changes) <= mark {
		return
	}

	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for n := len(b.changes) - 1; n >= mark; n-- {
		b.store.entries.undo(&b.changes[n])
	}
	b.changes = b.changes[:mark]
}

// Count counts a key at a time, and returns how often it came in the window that
// ends then, this time among them.
func (b *Batch) Count(key []byte, at int64, window int32) int32 {
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()

	at = sane(at)
	window = max(window, 1)
	width := (int64(window) + buckets - 1) / buckets
	bucket := floor(at, width)
	first := floor(at-int64(window)+1, width)
	hash := s.hash(b.id.at, key, window)
	e := s.entries.get(hash)
	if reach := e.reach(bucket, width); reach != late && !b.again {
		e.count(bucket, reach)
		e.latest = max(e.latest, at)
		b.changes = append(b.changes, change{key: hash, bucket: bucket})
	}

	// One that comes too late to be kept, or that was forgotten, counts for itself.
	return int32(min(max(e.sum(first, bucket), 1), math.MaxInt32))
}

// Seen notes that a key came at a time, and returns how many milliseconds after the
// last one that is; false if there is none.
func (b *Batch) Seen(key []byte, at int64) (int32, bool) {
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()

	at = sane(at)
	hash := s.hash(b.id.at, key, 0)
	e := s.entries.get(hash)
	last := e.seen.last
	if b.again && last.event != 0 && last.at >= at {
		last = e.seen.before // the last one is this one
	}

	if !b.again && (e.seen.last.event == 0 || at >= e.seen.last.at || e.seen.last.at-at > ahead) {
		s.events++
		b.changes = append(b.changes, change{key: hash, event: s.events, last: e.seen})
		e.seen = times{last: moment{s.events, at}, before: e.seen.last}
		e.latest = at
	}

	if last.event == 0 {
		return 0, false
	}
	return int32(min(max(at-last.at, 0), math.MaxInt32)), true
}

// Since returns for how many milliseconds before a time the counts are complete: no
// key that came since then was forgotten.
func (s *Store) Since(at int64) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()

	at = sane(at)
	begin := max(s.begin, s.entries.forgotten)
	if at <= begin {
		return 0
	}
	return int32(min(uint64(at)-uint64(begin), math.MaxInt32))
}

// hash is by what a key is known, for a window (0: when it was seen).
func (s *Store) hash(at Place, key []byte, window int32) keyHash {
	s.mac.Reset()
	var head [12]byte
	binary.LittleEndian.PutUint32(head[0:], uint32(window))
	binary.LittleEndian.PutUint32(head[4:], uint32(at.Partition))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(at.Topic)))
	s.text = append(append(s.text[:0], head[:]...), at.Topic...)
	s.mac.Write(s.text)
	s.mac.Write(key)

	return keyHash(s.mac.Sum(s.sum[:0])[:len(keyHash{})])
}

// sane is a time that can be calculated with: a producer can write any.
func sane(at int64) int64 {
	const most = 1 << 53
	return min(max(at, -most), most)
}

func floor(at, width int64) int64 {
	q := at / width
	if at%width < 0 {
		q--
	}
	return q
}
