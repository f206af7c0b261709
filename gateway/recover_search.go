package gateway

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// search is one look at a partition for batches whose answer was lost. A batch
// of a producer with an id has its sequence number, which no other has. Without
// an id, a retry stores the same bytes again, so that only the number of copies
// tells how many attempts were stored, and a copy counts only if no decision
// stands there and none that is under way may.
type search struct {
	*resolver
	key    pipeline.Partition
	ours   map[uint64]bool  // what is looked for, by sequence number in the log
	left   []audit.BatchRef // what is not found yet, in the log's order
	copies []*copies
	looked map[int64]bool // offsets of copies that were seen: the scans overlap
	codec  *recordbatch.Codec
	sent   []byte // the batch at hand as its producer sent it
}

// copies are batches with equal bytes, and where such bytes are. Which of them
// is which cannot be told, and need not be.
type copies struct {
	refs     []audit.BatchRef // in the log's order
	offsets  []int64          // at which no other decision stands
	underWay bool             // a copy may belong to a batch whose answer is still to come
}

// newSearch makes a search for batches of one partition, which it takes from
// left as it finds them.
func newSearch(r *resolver, k pipeline.Partition, refs []audit.BatchRef) *search {
	s := &search{
		resolver: r,
		key:      k,
		left:     refs,
		ours:     map[uint64]bool{},
		looked:   map[int64]bool{},
		codec:    recordbatch.NewCodec(r.cluster.gw.cfg.Batch),
	}
	for _, ref := range refs {
		s.ours[ref.Seq] = true
	}

	return s
}

// scan reads batches from offset to the end of the partition, or until nothing
// is left to find. It returns how far it came.
func (s *search) scan(ctx context.Context, offset int64) (int64, error) {
	leader, err := s.cluster.leaderOf(ctx, s.key)
	if err != nil {
		return offset, err
	}

	for len(s.left) > 0 {
		records, end, err := s.fetch(ctx, s.key, leader, offset)
		if err != nil {
			return offset, err
		}
		if len(records) == 0 {
			return max(offset, end), nil // nothing lies between
		}

		before := offset
		for batch, splitErr := range recordbatch.SplitBatches(records) {
			h, err := recordbatch.ParseHeader(batch)
			if splitErr != nil || err != nil {
				break
			}
			if err := s.match(ctx, h, batch); err != nil {
				return offset, err
			}

			offset = max(offset, h.BaseOffset+int64(h.LastOffsetDelta)+1)
		}

		if offset >= end || offset == before {
			break
		}
	}

	return offset, nil
}

// match looks whether a stored batch is one of those that are looked for: by
// its producer's numbers, or by its bytes where it has none.
func (s *search) match(ctx context.Context, h recordbatch.Header, batch []byte) error {
	if h.ProducerID < 0 {
		sent, err := s.codec.AsProduced(s.sent[:0], batch)
		if err != nil {
			return nil // no reader could read it: it is none of ours
		}
		s.sent = sent
		return s.matchPlain(ctx, h, recordbatch.ContentEvidence(sent))
	}

	for _, ref := range s.left {
		if ref.Records == int(h.NumRecords) && ref.ProducerID == h.ProducerID && ref.ProducerEpoch == h.ProducerEpoch && ref.BaseSequence == h.BaseSequence {
			s.bind(ref, h.BaseOffset, audit.LeaderEpochOf(h.PartitionLeaderEpoch))
			return nil
		}
	}

	return nil
}

// matchPlain takes note of a copy. Once there are as many as attempts, each
// attempt was stored.
func (s *search) matchPlain(ctx context.Context, h recordbatch.Header, content []byte) error {
	equal := s.equal(s.left, h, content)
	if len(equal) == 0 || s.looked[h.BaseOffset] {
		return nil
	}

	s.looked[h.BaseOffset] = true
	c := s.copiesOf(equal)
	// First what is under way: what is no longer is bound, and BoundAt knows it.
	others := slices.DeleteFunc(s.cluster.gw.cfg.Decisions.Unplaced(), func(ref audit.BatchRef) bool {
		return s.ours[ref.Seq] || !s.cluster.owns(ref) || pipeline.Partition{Topic: ref.Topic, Number: ref.Partition} != s.key
	})
	if len(s.equal(others, h, content)) > 0 {
		c.underWay = true
		return nil
	}

	at := audit.Target{Cluster: s.cluster.cfg.Name, Topic: s.key.Topic, Partition: s.key.Number}
	there, err := s.cluster.gw.cfg.Decisions.PlacedAt(ctx, at, h.BaseOffset)
	if err != nil {
		return err
	}
	if len(s.equal(there, h, content)) > 0 {
		return nil
	}

	c.offsets = append(c.offsets, h.BaseOffset)
	if len(c.offsets) == len(c.refs) && !c.underWay {
		s.bindCopies(c)
	}

	return nil
}

// equal returns those of refs that have these bytes, by the MAC that the log
// has of them.
func (s *search) equal(refs []audit.BatchRef, h recordbatch.Header, content []byte) []audit.BatchRef {
	var out []audit.BatchRef
	for _, ref := range refs {
		if ref.ProducerID < 0 && ref.Records == int(h.NumRecords) && s.cluster.gw.cfg.Decisions.Matches(ref, content) {
			out = append(out, ref)
		}
	}
	return out
}

func (s *search) copiesOf(equal []audit.BatchRef) *copies {
	for _, c := range s.copies {
		if c.refs[0].Seq == equal[0].Seq {
			return c
		}
	}

	c := &copies{refs: equal}
	s.copies = append(s.copies, c)
	return c
}

// bindCopies gives the offsets to the last attempts, in order: a client tries
// again because an attempt came to nothing.
func (s *search) bindCopies(c *copies) {
	slices.Sort(c.offsets)
	last := c.refs[len(c.refs)-min(len(c.offsets), len(c.refs)):]
	for i, ref := range last {
		s.bind(ref, c.offsets[i], 0)
	}
}

func (s *search) bind(ref audit.BatchRef, offset int64, in audit.LeaderEpoch) {
	s.cluster.gw.cfg.Decisions.Place(ref.Seq, audit.Placement{BaseOffset: offset, Recovered: true, Leader: in})
	s.remove(ref)
}

func (s *search) remove(ref audit.BatchRef) {
	s.left = slices.DeleteFunc(slices.Clone(s.left), func(other audit.BatchRef) bool { return other.Seq == ref.Seq })
}

// conclude settles what was not found, the whole partition having been seen.
// Equal batches wait for each other: a copy may be that of the youngest.
func (s *search) conclude() {
	for _, c := range s.copies {
		if !slices.ContainsFunc(s.left, func(ref audit.BatchRef) bool { return ref.Seq == c.refs[0].Seq }) {
			continue // bound
		}
		if c.underWay || slices.ContainsFunc(c.refs, func(ref audit.BatchRef) bool { return !s.over(ref) }) {
			for _, ref := range c.refs {
				s.remove(ref) // for the next pass
			}
			continue
		}

		s.bindCopies(c)
	}
	s.settle(s.left, kerr.UnknownServerError.Code)
}
