package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Tail is the last records of a topic, as they are when it is opened. What
// transactions have not committed is not among them.
//
// Reading it asks for metadata, offsets and records, and for nothing else: it is in
// no group, and it writes nothing.
type Tail struct {
	client *ClientFlags
	topic  string
	first  offsetRange // of each partition, from its oldest record on
	window offsetRange // what of it is read
	skip   int         // so many of the oldest are too many
	count  int         // and so many are left
}

// OpenTail finds the last records of a topic, of some of its partitions or of all, as
// many as last in all of them together. A transaction's marks and what compaction took
// away are no records, so that it counts before it reads; counted is told how many.
func (f *ClientFlags) OpenTail(ctx context.Context, topic string, partitions []int32, last int, counted func(records, bytes int)) (*Tail, error) {
	admin, err := f.admin(ctx)
	if err != nil {
		return nil, err
	}

	defer admin.Close()

	t := &Tail{client: f, topic: topic, window: make(offsetRange)}
	if t.first, err = (topicRange{topic: topic, partitions: partitions}).find(ctx, admin); err != nil {
		return nil, err
	}

	for p, s := range t.first {
		t.window[p] = span{next: s.end, end: s.end}
	}

	return t, t.widen(ctx, last, counted)
}

// Partitions are those that are read, empty ones too.
func (t *Tail) Partitions() []int32 { return slices.Sorted(maps.Keys(t.first)) }

// Each reads the records, in the order of each partition. An error of the function
// ends it.
func (t *Tail) Each(ctx context.Context, do func(*kgo.Record) error) error {
	seen := 0
	err := t.read(ctx, t.window, func(r *kgo.Record) error {
		if seen++; seen <= t.skip {
			return nil
		}
		return do(r)
	})
	if err == nil && seen < t.skip+t.count {
		return fmt.Errorf("reading topic %q: the broker sent %d records of %d, and then nothing for %s", t.topic, seen, t.skip+t.count, t.client.timeout)
	}

	return err
}

// widen moves the window towards the beginning until it holds enough records. It looks
// at twice as many offsets each time, since a compacted topic may have few records in
// many; what then is too much is skipped.
func (t *Tail) widen(ctx context.Context, last int, counted func(records, bytes int)) error {
	found := 0
	for more := last; found < last; more *= 2 {
		part := t.extend(more)
		if part.done() {
			break
		}

		err := t.read(ctx, part, func(r *kgo.Record) error {
			found++
			counted(1, len(r.Key)+len(r.Value))
			return nil
		})
		if err != nil {
			return err
		}
	}

	t.skip = max(found-last, 0)
	t.count = found - t.skip

	return nil
}

// extend adds so many offsets in front of the window, an equal share of each partition
// as far as it has them, and returns what was added.
func (t *Tail) extend(offsets int) offsetRange {
	room := func(p int32) int64 { return t.window[p].next - t.first[p].next }
	order := t.Partitions()
	slices.SortStableFunc(order, func(a, b int32) int { return int(min(max(room(a)-room(b), -1), 1)) })

	added := make(offsetRange)
	left := int64(offsets)
	for n, p := range order {
		others := int64(len(order) - n)
		share := min(room(p), (left+others-1)/others)
		left -= share

		next := t.window[p].next - share
		added[p] = span{next: next, end: t.window[p].next}
		t.window[p] = span{next: next, end: t.window[p].end}
	}

	return added
}

// read reads a range. It asks for the marks of transactions too, by which it knows
// that it is at an end where a mark is the last.
func (t *Tail) read(ctx context.Context, rng offsetRange, do func(*kgo.Record) error) error {
	rng = maps.Clone(rng)
	starts := make(map[int32]kgo.Offset, len(rng))
	for p, s := range rng {
		if s.next < s.end {
			starts[p] = kgo.NewOffset().At(s.next)
		}
	}

	if len(starts) == 0 {
		return nil
	}

	client, err := t.client.Connect(ctx, nil, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.topic: starts}))
	if err != nil {
		return err
	}

	defer client.Close()

	for !rng.done() {
		fetches, last := poll(ctx, client, t.client.timeout)
		if err := fetchError(fetches); err != nil {
			return topicError(readingTopic, t.topic, err)
		}

		for r := range fetches.RecordsAll() {
			if r.Offset >= rng[r.Partition].end {
				rng.seen(r) // written since
				continue
			}

			rng.seen(r)
			if r.Attrs.IsControl() {
				continue
			}
			if err := do(r); err != nil {
				return err
			}
		}

		if last {
			break // the end was compacted away, or nobody waits any more
		}
	}

	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading topic %q: %w", t.topic, err)
	}
	return nil
}
