package kafka

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/exit"
)

// span is what is left to read of one partition: the offsets [next, end).
type span struct{ next, end int64 }

// offsetRange is what is left to read of a topic, by partition.
type offsetRange map[int32]span

func (o offsetRange) done() bool {
	for _, s := range o {
		if s.next < s.end {
			return false
		}
	}
	return true
}

func (o offsetRange) seen(r *kgo.Record) {
	s := o[r.Partition]
	s.next = r.Offset + 1
	o[r.Partition] = s
}

// findRange asks where the partitions begin and end now, so that "what is
// there" is a fixed amount even while producers write.
func (c *consumeCommand) findRange(ctx context.Context) (offsetRange, error) {
	admin, err := c.client.admin(ctx)
	if err != nil {
		return nil, err
	}

	defer admin.Close()

	rng, err := topicRange{topic: c.topic, partitions: c.partitions, uncommitted: c.uncommitted}.find(ctx, admin)
	if err != nil {
		return nil, err
	}

	for p, s := range rng {
		rng[p] = span{next: c.first(s.next, s.end), end: s.end}
	}

	return rng, c.resume(ctx, admin, rng)
}

// topicRange is a question: what a topic holds.
type topicRange struct {
	topic       string
	partitions  []int32 // none: all
	uncommitted bool
}

const readingTopic = "reading topic"

// find asks for the first and the last offset of each partition.
func (t topicRange) find(ctx context.Context, admin *kadm.Client) (offsetRange, error) {
	details, err := admin.ListTopicsWithInternal(ctx, t.topic)
	if err != nil {
		return nil, topicError(readingTopic, t.topic, err)
	}
	if err := details[t.topic].Err; err != nil {
		return nil, topicError(readingTopic, t.topic, err)
	}

	for _, p := range t.partitions {
		if _, ok := details[t.topic].Partitions[p]; !ok {
			return nil, exit.NotFoundf("reading topic %q: no partition %d, it has %d", t.topic, p, len(details[t.topic].Partitions))
		}
	}

	starts, ends, err := t.bounds(ctx, admin)
	if err != nil {
		return nil, topicError(readingTopic, t.topic, err)
	}

	rng := make(offsetRange)
	for _, p := range details[t.topic].Partitions.Numbers() {
		if len(t.partitions) > 0 && !slices.Contains(t.partitions, p) {
			continue
		}
		start, _ := starts.Lookup(t.topic, p)
		end, _ := ends.Lookup(t.topic, p)
		rng[p] = span{next: start.Offset, end: end.Offset}
	}

	return rng, nil
}

func (t topicRange) bounds(ctx context.Context, admin *kadm.Client) (starts, ends kadm.ListedOffsets, err error) {
	if starts, err = admin.ListStartOffsets(ctx, t.topic); err != nil {
		return nil, nil, err
	}
	if t.uncommitted {
		ends, err = admin.ListEndOffsets(ctx, t.topic)
	} else {
		ends, err = admin.ListCommittedOffsets(ctx, t.topic)
	}

	return starts, ends, err
}

// first is the offset to start at in a partition that holds the offsets [start,
// end).
func (c *consumeCommand) first(start, end int64) int64 {
	switch {
	case c.offsetSet && c.offset < 0:
		return max(start, end+c.offset)
	case c.offsetSet:
		return max(start, c.offset)
	case c.follow && !c.beginning && c.group == "":
		return end
	}
	return start
}

// resume moves the start of each partition to where the group has committed, if
// it is in one.
func (c *consumeCommand) resume(ctx context.Context, admin *kadm.Client, rng offsetRange) error {
	if c.group == "" {
		return nil
	}
	committed, err := admin.FetchOffsetsForTopics(ctx, c.group, c.topic)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil // it has not read anything yet
	}
	if err != nil {
		return topicError("reading the group's offsets of topic", c.topic, err)
	}

	for p, s := range rng {
		if at, ok := committed.Lookup(c.topic, p); ok && at.Err == nil && at.At > s.next {
			rng[p] = span{next: at.At, end: s.end}
		}
	}

	return nil
}
