package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
)

// WantedRange is a stretch of offsets whose story is to be told.
type WantedRange struct {
	Range     evidence.Range
	Names     bool // tell the names behind the digests
	Approvals Approvals
	// Ask has the brokers explain gaps that the log does not; nil: nobody is asked. Those
	// that they cannot explain are left out of the answer.
	Ask func(context.Context, []evidence.Span) ([]evidence.Gap, error)
}

// ErrIncomplete means that a range has offsets which have no decision and no explanation,
// or two decisions.
var ErrIncomplete = errors.New("not every offset has one decision in this log")

// ProveRange makes a certificate. Offsets that have no decision in what the checkpoint
// speaks for, or two, are ErrIncomplete. It reads the log twice: an answer of the broker
// lies behind its decision.
func (p *Prover) ProveRange(ctx context.Context, w WantedRange) (*evidence.Certificate, error) {
	g := gathering{wanted: w, leaves: make(map[int64]leafAt), decisions: make(map[uint64]bool), answered: make(map[answer]bool)}
	if err := p.each(ctx, g.placement); err != nil {
		return nil, err
	}
	slices.SortFunc(g.spans, byFirst)
	if err := p.each(ctx, g.decision); err != nil {
		return nil, err
	}
	if err := g.explain(ctx); err != nil {
		return nil, err
	}
	if len(g.decisions) > 0 {
		return nil, fmt.Errorf("%d decisions of the range: %w", len(g.decisions), audit.ErrPruned)
	}
	return p.certificate(ctx, &g)
}

func byFirst(a, b evidence.Span) int { return cmp.Compare(a.First, b.First) }

// explain finds out why offsets have no decision: by the log itself where they were there
// before it, else by the brokers.
func (g *gathering) explain(ctx context.Context) error {
	r := &g.wanted.Range
	gaps := r.Gaps(g.spans)
	if e, at := g.begins(); len(gaps) > 0 && len(g.spans) > 0 && gaps[0].First < min(e.Offset, g.spans[0].First) {
		before := evidence.Gap{First: gaps[0].First, Last: min(gaps[0].Last, e.Offset-1), Kind: evidence.GapBeforeEra}
		g.gaps = append(g.gaps, before)
		g.leaves[at.index] = at
		gaps[0].First = before.Last + 1
		if gaps[0].First > gaps[0].Last {
			gaps = gaps[1:]
		}
	}

	if len(gaps) > 0 && g.wanted.Ask != nil {
		told, err := g.wanted.Ask(ctx, gaps)
		if err != nil {
			return fmt.Errorf("asking what explains offsets without a decision: %w", err)
		}
		g.gaps = append(g.gaps, told...)
	}
	all := slices.Clone(g.spans)
	for _, gap := range g.gaps {
		all = append(all, evidence.Span{First: gap.First, Last: gap.Last})
	}

	slices.SortFunc(all, byFirst)
	if err := r.Exactly(all); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return nil
}

// begins is the earliest era of the topic that the decisions are about. Its offset is 0
// where the log does not say, or says it of two topics.
func (g *gathering) begins() (first evidence.Era, at leafAt) {
	for i, e := range g.eras {
		switch {
		case g.topic != ([16]byte{}) && e.TopicID != ([16]byte{}) && e.TopicID != g.topic:
		case at.leaf == nil || e.TopicID == first.TopicID && e.Offset < first.Offset:
			first = e
			at = g.begun[i]
		case e.TopicID != first.TopicID:
			return evidence.Era{}, leafAt{}
		}
	}
	return first, at
}

// certificate puts together what was gathered.
func (p *Prover) certificate(ctx context.Context, g *gathering) (*evidence.Certificate, error) {
	all := make([]leafAt, 0, len(g.leaves))
	for _, l := range g.leaves {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b leafAt) int { return cmp.Compare(a.index, b.index) })

	c := &evidence.Certificate{Format: evidence.RangeFormat, Range: g.wanted.Range, Gaps: g.gaps, Checkpoint: p.signed}
	indexes := make([]int64, 0, len(all))
	leaves := make([][]byte, 0, len(all))
	told := make(map[string]bool)
	for _, l := range all {
		indexes = append(indexes, l.index)
		leaves = append(leaves, l.leaf)
		for _, n := range l.told {
			key := n.Salt + n.Value + string(n.Bytes)
			if g.wanted.Names && !told[key] {
				told[key] = true
				c.Names = append(c.Names, n)
			}
		}
	}

	for _, l := range all {
		if !g.admits[l.index] {
			continue
		}
		more, err := g.wanted.Approvals.enclose(c.Approvals, l.leaf)
		if err != nil {
			return nil, err
		}
		c.Approvals = more
	}

	fresh, err := p.around(ctx, indexes)
	if err != nil {
		return nil, err
	}
	hashes := evidence.NewProver(p.checkpoint.Size, p.checkpoint.Root, &tiles{ctx: ctx, store: p.store, reader: p.reader, edge: p.edge, fresh: fresh})
	proof, err := hashes.Multi(indexes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return c, c.Pack(indexes, leaves, proof)
}

// around makes the tiles of level 0 that hold some leaves, in one pass over the log. One
// whose beginning was pruned is left out.
func (p *Prover) around(ctx context.Context, indexes []int64) (map[int64][]byte, error) {
	tiles := make(map[int64][]byte)
	for _, index := range indexes {
		tiles[index/evidence.TileWidth] = nil
	}

	err := p.each(ctx, func(index int64, n *names, e *audit.Entry) error {
		at := index / evidence.TileWidth
		if have, wanted := tiles[at]; wanted && int64(len(have)/tlog.HashSize) == index%evidence.TileWidth {
			l := e.Leaf(n.of)
			h := evidence.HashOf(l.Append(nil))
			tiles[at] = append(have, h[:]...)
		}
		return nil
	})
	maps.DeleteFunc(tiles, func(_ int64, tile []byte) bool { return tile == nil })
	return tiles, err
}

// each gives fn the entries that the checkpoint speaks for, as far as the log still has
// them.
func (p *Prover) each(ctx context.Context, fn func(int64, *names, *audit.Entry) error) error {
	w := walk{store: p.store, next: -1}
	err := p.reader.Cursor(audit.Position{}).Read(ctx, func(f *audit.Frame) error {
		return w.frame(f, func(index int64, n *names, e *audit.Entry) error {
			if index >= p.checkpoint.Size {
				return ErrNotCommitted
			}
			return fn(index, n, e)
		})
	})
	if err != nil && !errors.Is(err, ErrNotCommitted) {
		return fmt.Errorf("gathering entries: %w", err)
	}
	return nil
}

// gathering is what a range needs, as it is found.
type gathering struct {
	wanted     WantedRange
	leaves     map[int64]leafAt
	spans      []evidence.Span
	answered   map[answer]bool
	decisions  map[uint64]bool // by their sequence numbers: those still to be found
	admissions evidence.Admissions
	candidates map[int64]leafAt // admissions, as long as none needs them
	admits     map[int64]bool

	topic [16]byte       // that decisions are about; zero as long as none tells it
	eras  []evidence.Era // of the partition, in the log's order
	begun []leafAt       // their leaves
	gaps  []evidence.Gap
}

// answer is of the batch itself, or of the records that were routed to a topic.
type answer struct {
	decision uint64
	route    string
}

// placement takes the broker's answers that are about the range. The first to a batch
// counts, as it does for evidence of one record.
func (g *gathering) placement(index int64, n *names, e *audit.Entry) error {
	b := e.Bind
	r := &g.wanted.Range
	if b == nil || b.Base < 0 || b.Records() == 0 || b.Coord != (audit.Coord{Cluster: r.Cluster, Topic: r.Topic, Partition: int32(r.Partition)}) {
		return nil
	}
	last := b.Base + int64(b.Records()) - 1
	a := answer{b.Seq, b.Route}
	if b.Base > r.Last || last < r.First || g.answered[a] {
		return nil
	}

	g.answered[a] = true
	g.decisions[b.Seq] = true
	g.spans = append(g.spans, evidence.Span{First: b.Base, Last: last})
	g.leaves[index] = tell(index, n, e)
	return nil
}

// decision takes the decisions that were answered, and the admissions that they need.
func (g *gathering) decision(index int64, n *names, e *audit.Entry) error {
	if e.Control != nil && e.Control.Era != nil {
		return g.era(tell(index, n, e))
	}
	if c := e.Control; c != nil && (c.Kind == audit.KindAdmission || c.Kind == audit.KindStanding) {
		return g.candidate(tell(index, n, e))
	}
	if e.Batch == nil || !g.decisions[e.Seq] {
		return nil
	}

	delete(g.decisions, e.Seq)
	found := tell(index, n, e)
	g.leaves[index] = found
	l, err := evidence.Parse(found.leaf)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, err)
	}
	if d := l.Decision; d.Where.Topic == g.wanted.Range.Topic && d.TopicID != ([16]byte{}) {
		g.topic = d.TopicID
	}
	admitted, err := g.admissions.Of(index, l.Decision)
	if err != nil {
		return fmt.Errorf("%w: %w", audit.ErrPruned, err)
	}
	for i := range admitted {
		at := admitted[i].Index
		g.leaves[at] = g.candidates[at]
		g.admits[at] = true
	}
	return nil
}

// era takes where the record of the partition begins.
func (g *gathering) era(found leafAt) error {
	l, err := evidence.Parse(found.leaf)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, found.index, err)
	}
	r := &g.wanted.Range
	if e, ok := evidence.EraOf(l.Control); ok && e.Where == (evidence.Coord{Cluster: r.Cluster, Topic: r.Topic, Partition: r.Partition}) {
		g.eras = append(g.eras, e)
		g.begun = append(g.begun, found)
	}
	return nil
}

func (g *gathering) candidate(found leafAt) error {
	l, err := evidence.Parse(found.leaf)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, found.index, err)
	}
	if g.candidates == nil {
		g.candidates = make(map[int64]leafAt)
		g.admits = make(map[int64]bool)
	}
	g.candidates[found.index] = found
	g.admissions.Add(found.index, l.Control)
	return nil
}
