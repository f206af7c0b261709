package state

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"
)

var here = Place{Topic: "cards", Partition: 3}

func newStore() *Store { return New(Limits{Keys: 100, Batches: 10}, 0) }

// event counts one key in a batch of its own.
func event(s *Store, key string, at int64, window int32) int32 {
	b := s.Begin(here, BatchID{})
	defer b.Keep()
	return b.Count([]byte(key), at, window)
}

// A count is never less than what came in the window, and never more than what came
// in it and a sixteenth before.
func TestCountIsExactToASixteenthOfTheWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, window := range []int32{1, 5, 16, 1000, 60_000} {
		s := newStore()
		var times []int64
		at := int64(1_700_000_000_000)
		for range 3000 {
			at += random.Int64N(int64(window)/5 + 2)
			late := at - random.Int64N(int64(window)+1)*random.Int64N(2) // half of them are late
			times = append(times, late)

			least, most := int32(0), int32(0)
			width := (int64(window) + buckets - 1) / buckets
			for _, other := range times {
				if other > late-int64(window) && other <= late {
					least++
				}
				if other > late-int64(window)-width && other < late+width {
					most++
				}
			}

			// What is late finds the parts of its window that still are there.
			got := event(s, "4111", late, window)
			if got < 1 || got > most || late == at && got < least {
				t.Fatalf("window %d: %d, where between %d and %d came", window, got, least, most)
			}
		}
	}
}

func TestKeysWindowsAndPlacesAreCountedApart(t *testing.T) {
	s := newStore()
	for range 3 {
		event(s, "4111", 1000, 60_000)
	}
	b := s.Begin(Place{"cards", 4}, BatchID{})
	for name, got := range map[string]int32{
		"AnotherKey":       event(s, "4112", 1000, 60_000),
		"AnotherWindow":    event(s, "4111", 1000, 50_000),
		"AnotherPartition": b.Count([]byte("4111"), 1000, 60_000),
		"AnotherTopic":     s.Begin(Place{"card", 3}, BatchID{}).Count([]byte("s4111"), 1000, 60_000),
	} {
		if got != 1 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := event(s, "4111", 1000, 60_000); got != 4 {
		t.Errorf("the key itself came %d times", got)
	}
}

func TestUndoLeavesWhatOthersCounted(t *testing.T) {
	s := newStore()
	event(s, "4111", 1000, 60_000)
	failed := s.Begin(here, BatchID{Known: true, Producer: 1})
	failed.Count([]byte("4111"), 2000, 60_000)
	mark := failed.Mark()
	failed.Count([]byte("4111"), 3000, 60_000)
	failed.Seen([]byte("4111"), 3000)
	failed.Seen([]byte("4111"), 3000)

	if got := event(s, "4111", 3000, 60_000); got != 4 {
		t.Errorf("before: %d", got)
	}
	other := s.Begin(here, BatchID{})
	other.Seen([]byte("4111"), 3000)
	other.Keep()

	failed.UndoTo(mark)
	if got := event(s, "4111", 3000, 60_000); got != 4 {
		t.Errorf("after the mark: %d", got)
	}
	failed.Undo()
	if got := event(s, "4111", 3000, 60_000); got != 4 {
		t.Errorf("after all: %d", got)
	}

	again := s.Begin(here, BatchID{Known: true, Producer: 1})
	if got := again.Count([]byte("4111"), 3000, 60_000); got != 5 {
		t.Errorf("a batch that was undone is not counted when it is sent again: %d", got)
	}
	if ago, ok := again.Seen([]byte("4111"), 3500); !ok || ago != 500 {
		t.Errorf("the other's sight is lost: %d, %v", ago, ok)
	}
}

func TestUndoOfSightsGivesTheOneBefore(t *testing.T) {
	s := newStore()
	first := s.Begin(here, BatchID{})
	first.Seen([]byte("k"), 1000)
	first.Keep()
	failed := s.Begin(here, BatchID{})
	failed.Seen([]byte("k"), 2000)
	failed.Seen([]byte("k"), 2000)
	failed.Undo()
	if ago, ok := s.Begin(here, BatchID{}).Seen([]byte("k"), 2500); !ok || ago != 1500 {
		t.Errorf("%d ms ago, %v", ago, ok)
	}
}

func TestBatchThatIsSentAgainIsToldTheSameAndCountsNothing(t *testing.T) {
	s := newStore()
	id := BatchID{Known: true, Producer: 7, Epoch: 1, Sequence: 40, CRC: 5}
	event(s, "k", 500, 60_000)
	sight := s.Begin(here, BatchID{})
	sight.Seen([]byte("k"), 500)
	sight.Keep()

	var counts, ago [3]int32
	for n := range counts {
		b := s.Begin(here, id)
		counts[n] = b.Count([]byte("k"), 1000, 60_000)
		ago[n], _ = b.Seen([]byte("k"), 1000)
		b.Keep()
	}
	if counts != [3]int32{2, 2, 2} || ago != [3]int32{500, 500, 500} {
		t.Errorf("the counts are %v, and it was seen %v ms ago", counts, ago)
	}

	for name, other := range map[string]BatchID{
		"CRC": {Known: true, Producer: 7, Epoch: 1, Sequence: 40, CRC: 6}, "Sequence": {Known: true, Producer: 7, Epoch: 1, Sequence: 41, CRC: 5},
		"Epoch": {Known: true, Producer: 7, Epoch: 2, Sequence: 40, CRC: 5}, "Producer": {Known: true, Producer: 8, Epoch: 1, Sequence: 40, CRC: 5},
	} {
		b := s.Begin(here, other)
		if got := b.Count([]byte("k"), 1000, 60_000); got != 3 {
			t.Errorf("another %s: %d", name, got)
		}
		b.Undo()
	}
}

func TestOnlyTheLastBatchesAreKnownAgain(t *testing.T) {
	s := newStore()
	for n := range int32(35) {
		b := s.Begin(here, BatchID{Known: true, Sequence: n})
		b.Keep()
		if len(s.counted) > 10 || len(s.order) > 10 {
			t.Fatalf("%d batches are known", len(s.counted))
		}
	}
	if b := s.Begin(here, BatchID{Known: true, Sequence: 30}); !b.again {
		t.Error("a recent batch is not known again")
	}
	if b := s.Begin(here, BatchID{Known: true, Sequence: 20}); b.again {
		t.Error("an old batch is still known")
	}
}

func TestKeysAreBoundedAndSinceSaysWhatWasForgotten(t *testing.T) {
	s := newStore()
	if got := s.Since(5000); got != 5000 {
		t.Errorf("since %d ms", got)
	}
	for n := range int64(100) {
		event(s, fmt.Sprint(n), 1000+n, 60_000)
	}
	if got := s.Since(5000); got != 5000 {
		t.Errorf("with all keys there: since %d ms", got)
	}
	event(s, "0", 2000, 60_000) // used again
	event(s, "another", 2000, 60_000)
	if len(s.entries.all) != 100 || len(s.entries.at) != 100 {
		t.Errorf("%d entries", len(s.entries.all))
	}
	if got := s.Since(5000); got != 5000-1001 {
		t.Errorf("key 1 was forgotten: since %d ms", got)
	}
	if got := event(s, "0", 2000, 60_000); got != 3 {
		t.Errorf("the key that was used came %d times", got)
	}
	if got := event(s, "1", 2000, 60_000); got != 1 {
		t.Errorf("the key that was forgotten came %d times", got)
	}
}

func TestStoreStaysBelowWhatItSays(t *testing.T) {
	l := DefaultLimits()
	const most = 20 << 20
	perKey := int(unsafe.Sizeof(entry{})) + 2*(len(keyHash{})+4+1)
	perBatch := 3*int(unsafe.Sizeof(countedKey{})) + 8
	if need := l.Keys*perKey + l.Batches*perBatch; need > most {
		t.Errorf("it needs %d bytes", need)
	}
}

func TestNoByteOfAKeyIsKept(t *testing.T) {
	key := []byte("a card number that nobody must keep")
	s := newStore()
	event(s, string(key), 1000, 60_000)
	kept := fmt.Sprintf("%s %s", s.text, s.sum[:])
	for _, e := range s.entries.all {
		kept += string(e.key[:])
	}
	if bytes.Contains([]byte(kept), key[:8]) {
		t.Error("the key is kept")
	}
	if other := newStore(); other.hash(here, key, 1) == s.hash(here, key, 1) {
		t.Error("two stores know the key by the same hash")
	}
}

// A time that is far ahead is not believed for ever.
func TestTimeThatIsFarAheadDoesNotSpoilAKey(t *testing.T) {
	s := newStore()
	const now = 1_700_000_000_000
	event(s, "k", now+365*24*3600*1000, 60_000)
	for want := int32(1); want <= 3; want++ {
		if got := event(s, "k", now, 60_000); got != want {
			t.Errorf("it came %d times, want %d", got, want)
		}
	}

	b := s.Begin(here, BatchID{})
	b.Seen([]byte("k"), now+365*24*3600*1000)
	b.Seen([]byte("k"), now)
	if ago, ok := b.Seen([]byte("k"), now+7); !ok || ago != 7 {
		t.Errorf("seen %d ms ago, %v", ago, ok)
	}
}

func TestBatchesAtOneTimeMissNothing(t *testing.T) {
	s := newStore()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				b := s.Begin(here, BatchID{})
				b.Count([]byte("k"), 1000, 60_000)
				if n%2 == worker%2 {
					b.Keep()
				} else {
					b.Undo()
				}
			}
		})
	}
	wg.Wait()
	if got := event(s, "k", 1000, 60_000); got != 2001 {
		t.Errorf("it came %d times", got)
	}
}

func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7}, int64(1000), int32(60_000))
	f.Add([]byte{0, 0, 0}, int64(math.MaxInt64), int32(1))
	f.Add([]byte{0, 1, 0}, int64(math.MinInt64), int32(math.MaxInt32))
	f.Fuzz(func(t *testing.T, steps []byte, at int64, window int32) {
		s := New(Limits{Keys: 4, Batches: 2}, 0)
		b := s.Begin(here, BatchID{})
		for _, step := range steps {
			key := []byte{step % 8}
			at += int64(int8(step)) * int64(window)
			switch step % 7 {
			case 0, 1, 2:
				if got := b.Count(key, at, window); got < 1 {
					t.Fatalf("counted %d", got)
				}
			case 3:
				if ago, _ := b.Seen(key, at); ago < 0 {
					t.Fatalf("seen %d ms ago", ago)
				}
			case 4:
				b.Undo()
				b = s.Begin(here, BatchID{Known: true, Sequence: int32(step % 3)})
			case 5:
				b.Keep()
				b = s.Begin(here, BatchID{Known: true, Sequence: int32(step % 3)})
			case 6:
				if since := s.Since(at); since < 0 {
					t.Fatalf("since %d", since)
				}
			}
			if len(s.entries.all) > 4 || len(s.entries.at) > 4 || len(s.counted) > 2 {
				t.Fatalf("%d entries, %d keys, %d batches", len(s.entries.all), len(s.entries.at), len(s.counted))
			}
		}
	})
}

func BenchmarkCount(b *testing.B) {
	s := New(DefaultLimits(), 0)
	batch := s.Begin(here, BatchID{})
	key := []byte("4111111111111111")
	for at := int64(0); b.Loop(); at++ {
		key[3] = byte(at)
		batch.Count(key, at, 60_000)
		batch.changes = batch.changes[:0]
	}
}
