// Package reconcile finds records that were stored without a decision.
//
// Kafka gives each offset of a partition once. The bindings of decisions name offsets,
// so what they do not name is a gap, and only gaps are read: a broker's own marker, a
// batch whose answer the gateway never saw, nothing at all, or a record that went around
// every gateway.
//
// Ends of partitions are taken before the logs are read: a record below its end was
// decided before it was stored, so that its decision is in one of the logs.
//
// Trust: a log is what its verifier says; this package reads what is in it. Brokers are
// asked what they hold, and may lie by holding something back. A log that is missing
// looks like records that went around it: whoever asks must bring the logs of all
// gateways.
package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// Kind is what a gap turns out to be.
type Kind string

// The kinds.
const (
	Bypass    Kind = "bypass"     // a batch of records without a decision
	Marker    Kind = "marker"     // a transaction's marker, which a broker writes
	Pending   Kind = "pending"    // a decision whose answer no log knows is of this batch
	BeforeEra Kind = "before-era" // stored before a gateway took its first batch for the partition
	Before    Kind = "before"     // from before the first decision, in logs that do not know when that was, or were pruned of what was before
	Overlap   Kind = "overlap"    // two leaders gave the offsets out: what the first of them stored was lost
	Beyond    Kind = "beyond"     // decisions name offsets that the partition has not got: what was stored there is lost
	Nothing   Kind = "nothing"    // nothing is stored there now: compacted away, or never seen
	Known     Kind = "known"      // told apart by an earlier look, and not read again; see Partition
	Gone      Kind = "gone"       // decisions are about a partition that the cluster has not got

	// Acknowledged is the class of a bypass that somebody looked into. It stays a bypass.
	Acknowledged Kind = "acknowledged"
)

// Kinds lists every kind, the worst first.
func Kinds() []Kind {
	return []Kind{Bypass, Beyond, Acknowledged, Before, Gone, Overlap, Pending, Nothing, BeforeEra, Marker, Known}
}

// Finding is one stretch of offsets that no binding names, or that two do, or that the
// partition does not have.
type Finding struct {
	Kind       Kind    `json:"kind"`
	First      int64   `json:"first"`
	Last       int64   `json:"last"`
	Records    int32   `json:"records,omitempty"`
	ProducerID int64   `json:"producer_id,omitempty"`
	Decision   string  `json:"decision_id,omitempty"`   // of what is pending
	Epochs     []int32 `json:"leader_epochs,omitempty"` // of the leaders that gave the same offsets out

	// Acknowledged says who looked into a bypass, and why it is there; nil: nobody.
	Acknowledged *audit.Acknowledgement `json:"acknowledged,omitempty"`
}

// Class is the kind as it is counted.
func (f *Finding) Class() Kind {
	if f.Acknowledged != nil {
		return Acknowledged
	}
	return f.Kind
}

// span is a stretch of offsets: from first on, below end. in is the epoch of the leader
// that gave them out.
type span struct {
	first, end int64
	in         audit.LeaderEpoch
}

// open is a decision on a batch that was forwarded, whose answer is not known.
type open struct {
	id       audit.DecisionID
	producer audit.Producer
	records  int
	evidence audit.Evidence
	mac      audit.MACID
}

// place is a partition of one topic: names are used again, and offsets with them. The id
// is zero where a decision does not tell it.
type place struct {
	audit.Coord
	topic [16]byte
}

// Coverage is what the decisions of some logs say was stored where.
type Coverage struct {
	// Pace is called before each frame that is read, and may make the reader wait. An error
	// of it ends Read. Nil reads at once.
	Pace func(ctx context.Context) error
	// Contents has the batches of some partitions compared, too; see Compare. Nil: none.
	Contents *Contents

	spans map[place][]span
	open  map[place][]open
	eras  map[place]int64 // where the earliest begins

	recent map[place]*recent
	placed map[place][]placed
	pruned map[place]int64 // a log may have known what lies before, and was pruned of it

	acknowledged []audit.Acknowledgement
}

// Partitions are those that decisions are about, in order.
func (c *Coverage) Partitions() []audit.Coord {
	seen := make(map[audit.Coord]bool)
	for at := range c.spans {
		seen[at.Coord] = true
	}
	for at := range c.open {
		seen[at.Coord] = true
	}
	for at := range c.eras {
		seen[at.Coord] = true
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b audit.Coord) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// about is what the decisions say about one partition of the topic that is there now.
type about struct {
	spans []span // by their first offset
	open  []open
	anew  bool  // there are decisions about an earlier topic of that name
	era   int64 // where the record begins; -1 where no log says it
	kept  int64 // before this a log may have been pruned of the decision

	acknowledged []audit.Acknowledgement
}

// about leaves out what is about a topic that was deleted. A decision that does not tell
// the id counts.
func (c *Coverage) about(p *Partition) (a about) {
	a.era = -1
	for at, spans := range c.spans {
		switch {
		case at.Coord != p.At:
		case p.deleted(at):
			a.anew = true
		default:
			a.spans = append(a.spans, spans...)
		}
	}

	for at, first := range c.eras {
		switch {
		case at.Coord != p.At:
		case p.deleted(at):
			a.anew = true
		case a.era < 0 || first < a.era:
			a.era = first
		}
	}

	for at, first := range c.pruned {
		if at.Coord == p.At && !p.deleted(at) {
			a.kept = max(a.kept, first)
		}
	}

	for at, open := range c.open {
		if at.Coord == p.At && !p.deleted(at) {
			a.open = append(a.open, open...)
		}
	}
	for _, one := range c.acknowledged {
		if one.TopicID == p.Topic && p.At == (audit.Coord{Cluster: one.Cluster, Topic: one.Topic, Partition: one.Partition}) {
			a.acknowledged = append(a.acknowledged, one)
		}
	}
	slices.SortFunc(a.spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return a
}

// gaps are the stretches of [start, end) that no binding names.
func (a *about) gaps(start, end int64) (gaps []span) {
	next := start
	for _, s := range a.spans {
		if s.first > next {
			gaps = append(gaps, span{first: next, end: min(s.first, end)})
		}
		next = max(next, s.end)
		if next >= end {
			return gaps
		}
	}
	if next < end {
		gaps = append(gaps, span{first: next, end: end})
	}
	return gaps
}

// without is what a batch is that no decision names and that ends before an offset: what
// lies before the era is no bypass, nor, where no log says when that began, what lies
// before everything that was decided, or that a log may have been pruned of. In a topic
// that was made anew nothing lies before the era: the gateway was there already.
func (a *about) without(end int64) Kind {
	undecided := len(a.spans) == 0 || end <= a.spans[0].first
	anew := a.anew || !undecided
	switch {
	case !anew && a.era >= 0 && end <= a.era:
		return BeforeEra
	case !anew && a.era < 0, end <= a.kept:
		return Before
	}
	return Bypass
}

// Partition is one partition as its brokers have it.
type Partition struct {
	At    audit.Coord
	Topic [16]byte // its id; zero where the brokers tell none
	Start int64    // the first offset that is kept
	End   int64    // behind the last
	// Known is where that ends of which the caller knows that no gap of it is a bypass. Zero:
	// each gap is read.
	Known int64
	// Batch gives the batch that holds an offset, or the first behind it; nil where
	// there is none.
	Batch func(ctx context.Context, offset int64) ([]byte, error)
	// Reach gives the end once it is at offset, or the one it stays at. It is called
	// after the logs were read, since they may be newer than End. Nil keeps to End.
	Reach func(ctx context.Context, offset int64) (end int64, err error)
}

// deleted reports whether decisions are about an earlier topic of the partition's name.
func (p *Partition) deleted(at place) bool {
	return p.Topic != ([16]byte{}) && at.topic != ([16]byte{}) && at.topic != p.Topic
}

// Judge tells what the gaps of a partition are. keys are audit keys, by which a batch
// without a producer id is known; without them it is a bypass.
func (c *Coverage) Judge(ctx context.Context, p *Partition, keys [][32]byte) (all []Finding, err error) {
	err = c.Examine(ctx, p, keys, func(f Finding) { all = append(all, f) })
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(a.First, b.First) })
	return all, err
}

// Examine is Judge for who does not want to hold all findings: a partition may have
// millions of markers. What was told before an error stands.
func (c *Coverage) Examine(ctx context.Context, p *Partition, keys [][32]byte, tell func(Finding)) error {
	a := c.about(p)
	for _, f := range a.overlaps(p.Start, p.End) {
		tell(f)
	}

	beyond, err := a.beyond(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range beyond {
		tell(f)
	}

	for _, gap := range a.gaps(p.Start, p.End) {
		if gap.first < p.Known {
			known := min(gap.end, p.Known)
			tell(Finding{Kind: Known, First: gap.first, Last: known - 1})
			gap.first = known
		}
		if err := a.gap(ctx, p, gap, keys, tell); err != nil {
			return err
		}
	}
	return nil
}

// Gone is what decisions name of a partition that the cluster has not got.
func (c *Coverage) Gone(at audit.Coord) Finding {
	f := Finding{Kind: Gone, Last: -1}
	for i, s := range c.about(&Partition{At: at}).spans {
		if i == 0 {
			f.First = s.first
		}
		f.Last = max(f.Last, s.end-1)
	}
	return f
}

// overlaps are the offsets of [start, end) that leaders of two known epochs gave out. Of
// one epoch, or of one that is not known, they may as well be of a batch that was sent
// again.
func (a *about) overlaps(start, end int64) (all []Finding) {
	var last span // that ends last of those before
	for _, s := range a.spans {
		first, behind := max(s.first, start), min(s.end, last.end, end)
		if first < behind && s.in != 0 && last.in != 0 && s.in != last.in {
			epochs := []int32{min(s.in, last.in).Number(), max(s.in, last.in).Number()}
			all = append(all, Finding{Kind: Overlap, First: first, Last: behind - 1, Epochs: epochs})
		}
		if s.end > last.end {
			last = s
		}
	}
	return all
}

// beyond are the offsets behind the end that decisions name. A producer is answered only
// for what a leader stored, so these were there: a new leader never had them, or the
// topic was made anew where decisions do not tell which one they are about.
func (a *about) beyond(ctx context.Context, p *Partition) ([]Finding, error) {
	behind := int64(0)
	for _, s := range a.spans {
		behind = max(behind, s.end)
	}
	end := p.End
	if behind > end && p.Reach != nil {
		var err error
		if end, err = p.Reach(ctx, behind); err != nil {
			return nil, fmt.Errorf("asking for the end of %s/%d again: %w", p.At.Topic, p.At.Partition, err)
		}
	}
	if behind <= end {
		return nil, nil
	}

	first := behind
	for _, s := range a.spans {
		if s.end > end {
			first = min(first, max(s.first, end))
		}
	}
	return []Finding{{Kind: Beyond, First: first, Last: behind - 1}}, nil
}

// gap reads one gap, batch by batch.
func (a *about) gap(ctx context.Context, p *Partition, gap span, keys [][32]byte, tell func(Finding)) error {
	for at := gap.first; at < gap.end; {
		raw, err := p.Batch(ctx, at)
		if err != nil {
			return fmt.Errorf("reading %s/%d at offset %d: %w", p.At.Topic, p.At.Partition, at, err)
		}
		if raw == nil {
			tell(Finding{Kind: Nothing, First: at, Last: gap.end - 1})
			return nil
		}

		h, err := recordbatch.ParseHeader(raw)
		if err != nil {
			return fmt.Errorf("reading %s/%d at offset %d: %w", p.At.Topic, p.At.Partition, at, err)
		}
		last := h.BaseOffset + int64(h.LastOffsetDelta)
		if h.BaseOffset > at || last < at {
			end := min(max(h.BaseOffset, at+1), gap.end)
			tell(Finding{Kind: Nothing, First: at, Last: end - 1})
			at = end
			continue
		}

		tell(a.batch(raw, &h, keys))
		at = last + 1
	}
	return nil
}

// batch tells what a batch is that no binding names.
func (a *about) batch(raw []byte, h *recordbatch.Header, keys [][32]byte) Finding {
	f := Finding{
		First:      h.BaseOffset,
		Last:       h.BaseOffset + int64(h.LastOffsetDelta),
		Records:    h.NumRecords,
		ProducerID: h.ProducerID,
	}

	if h.IsControl() {
		f.Kind = Marker
		return f
	}
	for i := range a.open {
		if a.open[i].is(raw, h, keys) {
			f.Kind = Pending
			f.Decision = a.open[i].id.String()
			return f
		}
	}
	f.Kind = a.without(f.Last + 1)
	if f.Kind == Bypass {
		f.Acknowledged = a.acknowledges(f.First, f.Last)
	}
	return f
}

// acknowledges finds who acknowledged all offsets of a batch; nil where nobody did.
func (a *about) acknowledges(first, last int64) *audit.Acknowledgement {
	for i := range a.acknowledged {
		if one := &a.acknowledged[i]; one.First <= first && last <= one.Last {
			return one
		}
	}
	return nil
}

// is reports whether a stored batch is the decided one: by the producer's own numbers,
// or by the MAC.
func (o *open) is(raw []byte, h *recordbatch.Header, keys [][32]byte) bool {
	if h.ProducerID >= 0 {
		return o.producer == audit.Producer{ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence}
	}
	if o.producer.ProducerID >= 0 {
		return false
	}

	produced, err := recordbatch.NewCodec(recordbatch.Limits{}).AsProduced(nil, raw)
	if err != nil {
		return false
	}
	part := partOf(produced, o.evidence)
	return part != nil && slices.ContainsFunc(keys, func(key [32]byte) bool { return o.mac.Check(key, part) })
}
