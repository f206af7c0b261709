package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// Contents has Coverage.Read keep what stored batches are compared with their decisions
// by: about 80 bytes for each.
type Contents struct {
	Keys [][32]byte             // audit keys that decisions were made under
	Of   func(audit.Coord) bool // the partitions that are to be compared
}

// Rewrites says what the brokers of a topic do to its batches.
type Rewrites struct {
	Compacts   bool // it takes records out of them (cleanup.policy)
	Compresses bool // it compresses them anew (compression.type)
}

// Compared is what comparing the batches of a partition came to. It counts batches.
type Compared struct {
	Same      int64        `json:"same"`
	Rewritten int64        `json:"rewritten"` // compacted, or compressed anew: their content can no longer be compared
	Removed   int64        `json:"removed"`   // not kept any longer
	Unmarked  int64        `json:"unmarked"`  // the log has no MAC of them; copies that records were routed to have none
	Unkeyed   int64        `json:"unkeyed"`   // decided under an audit key that was not given
	Different int64        `json:"different"`
	Examples  []Difference `json:"differences"` // the first of those
}

// Difference is a batch that is not what a gateway forwarded.
type Difference struct {
	First    int64  `json:"first"`
	Last     int64  `json:"last"` // by the decision
	Decision string `json:"decision_id"`
	Missing  bool   `json:"missing"` // no batch begins there
}

// maxExamples bounds what is remembered of batches that are not what they should be.
const maxExamples = 100

// placed is a batch that a decision says is stored, and what its content was.
type placed struct {
	first, records int64
	decision       audit.DecisionID
	evidence       audit.Evidence
	key            int // of Contents.Keys; below zero: none of them
	mac            audit.MACID
}

// keysOf finds the audit key of each epoch of a log.
type keysOf struct {
	log   *audit.Reader
	keys  [][32]byte
	known map[segment.Epoch]int
}

// unkeyed is the index of a key that was not given.
const unkeyed = -1

func (k *keysOf) index(e *audit.Entry) (int, error) {
	if i, ok := k.known[e.Epoch]; ok {
		return i, nil
	}

	found := unkeyed
	for i, key := range k.keys {
		under, err := k.log.IsUnder(e.Seq, key)
		if err != nil {
			return unkeyed, err
		}
		if under {
			found = i
			break
		}
	}
	k.known[e.Epoch] = found
	return found, nil
}

// keep takes note of a batch that was stored. w is nil where its decision is not kept any
// more, and for copies of records that were routed.
func (c *Coverage) keep(at place, b *audit.Bind, w *waitingBatch) {
	if c.Contents == nil || !c.Contents.Of(at.Coord) {
		return
	}
	p := placed{first: b.Base, records: int64(b.Records()), key: unkeyed}
	if w != nil {
		p.decision = w.id
		p.evidence = w.evidence
		p.mac = w.mac
		p.key = w.key
	}
	c.placed[at] = append(c.placed[at], p)
}

// Compare compares the batches of a partition with the decisions about them, and reads
// all of it. Where several decisions name an offset, as of batches that were sent again,
// one of them has to be about the batch that is there.
func (c *Coverage) Compare(ctx context.Context, p *Partition, by Rewrites) (r Compared, err error) {
	all := c.placedIn(p)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].first == all[0].first {
			n++
		}
		if err := c.compare(ctx, p, all[:n], by, &r); err != nil {
			return r, fmt.Errorf("comparing %s/%d at offset %d: %w", p.At.Topic, p.At.Partition, all[0].first, err)
		}
		all = all[n:]
	}
	return r, nil
}

// placedIn are the batches of the topic that is there now, by their first offset.
func (c *Coverage) placedIn(p *Partition) (all []placed) {
	for at, some := range c.placed {
		if at.Coord == p.At && !p.deleted(at) {
			all = append(all, some...)
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.first, b.first) })
	return all
}

// compare compares one batch with those decisions that name its first offset.
func (c *Coverage) compare(ctx context.Context, p *Partition, named []placed, by Rewrites, r *Compared) error {
	one := named[0]
	switch {
	case one.first >= p.End:
		return nil // Judge tells that it is beyond
	case one.first+one.records <= p.Start:
		r.Removed++
		return nil
	case !slices.ContainsFunc(named, func(n placed) bool { return n.mac.Made() }):
		r.Unmarked++
		return nil
	}

	raw, err := p.Batch(ctx, max(one.first, p.Start))
	if err != nil {
		return err
	}
	h, there, err := beginsAt(raw, one.first)
	if err != nil {
		return err
	}

	switch {
	case !there && by.Compacts:
		r.Rewritten++
	case !there:
		r.differ(&one, true)
	case slices.ContainsFunc(named, func(n placed) bool { return c.same(&n, raw) }):
		r.Same++
	case slices.ContainsFunc(named, func(n placed) bool { return n.mac.Made() && n.key == unkeyed }):
		r.Unkeyed++
	case by.Compresses, by.Compacts && compacted(&h):
		r.Rewritten++
	default:
		r.differ(&one, false)
	}
	return nil
}

func beginsAt(raw []byte, offset int64) (h recordbatch.Header, there bool, err error) {
	if raw == nil {
		return h, false, nil
	}
	h, err = recordbatch.ParseHeader(raw)
	return h, err == nil && h.BaseOffset == offset, err
}

// deleteHorizonBit is set in the attributes of a batch whose header the cleaner of a
// compacted topic changed, since it has tombstones to be removed later (KIP-534).
const deleteHorizonBit = 1 << 6

// compacted reports whether the cleaner had a batch in its hands, as its header shows.
func compacted(h *recordbatch.Header) bool {
	return h.NumRecords <= h.LastOffsetDelta || h.Attributes&deleteHorizonBit != 0
}

func (r *Compared) differ(p *placed, missing bool) {
	r.Different++
	if len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, Difference{p.first, p.first + p.records - 1, p.decision.String(), missing})
	}
}

// same reports whether a stored batch is what a decision is about.
func (c *Coverage) same(p *placed, raw []byte) bool {
	if p.key == unkeyed || !p.mac.Made() {
		return false
	}
	produced, err := recordbatch.NewCodec(recordbatch.Limits{}).AsProduced(nil, raw)
	if err != nil {
		return false // it cannot be read, so nobody forwarded it
	}
	return Unchanged(produced, p.evidence, func(part []byte) bool { return p.mac.Check(c.Contents.Keys[p.key], part) })
}

// Unchanged reports whether a batch, as its producer sent it, is what a MAC was made of.
// check compares the part of it that is evidence with the MAC.
func Unchanged(produced []byte, evidence audit.Evidence, check func(part []byte) bool) bool {
	part := partOf(produced, evidence)
	return part != nil && check(part) && recordbatch.Intact(produced)
}

// partOf is the part of a batch that its MAC covers.
func partOf(produced []byte, evidence audit.Evidence) []byte {
	if evidence == audit.EvidenceContent {
		return recordbatch.ContentEvidence(produced)
	}
	return recordbatch.HeaderEvidence(produced)
}
