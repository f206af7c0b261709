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
	const doing = "reading topic"
	admin, err := c.client.admin(ctx)
	if err != nil {
		return nil, err
	}

	defer admin.Close()
	details, err := admin.ListTopicsWithInternal(ctx, c.topic)
	if err != nil {
		return nil, topicError(doing, c.topic, err)
	}
	if err := details[c.topic].Err; err != nil {
		return nil, topicError(doing, c.topic, err)
	}

	for _, p := range c.partitions {
		if _, ok := details[c.topic].Partitions[p]; !ok {
			return nil, exit.NotFoundf("reading topic %q: no partition %d, it has %d", c.topic, p, len(details[c.topic].Partitions))
		}
	}

	starts, ends, err := c.bounds(ctx, admin)
	if err != nil {
		return nil, topicError(doing, c.topic, err)
	}

	rng := make(offsetRange)
	for _, p := range details[c.topic].Partitions.Numbers() {
		if len(c.partitions) > 0 && !slices.Contains(c.partitions, p) {
			continue
		}
		start, _ := starts.Lookup(c.topic, p)
		end, _ := ends.Lookup(c.topic, p)
		rng[p] = span{next: c.first(start.Offset, end.Offset), end: end.Offset}
	}

	return rng, c.resume(ctx, admin, rng)
}

func (c *consumeCommand) bounds(ctx context.Context, admin *kadm.Client) (starts, ends kadm.ListedOffsets, err error) {
	if starts, err = admin.ListStartOffsets(ctx, c.topic); err != nil {
		return nil, nil, err
	}
	if c.uncommitted {
		ends, err = admin.ListEndOffsets(ctx, c.topic)
	} else {
		ends, err = admin.ListCommittedOffsets(ctx, c.topic)
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
