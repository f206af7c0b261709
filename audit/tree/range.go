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
}

// ErrIncomplete means that a range has offsets which have no decision, or two.
var ErrIncomplete = errors.New("not every offset has one decision in this log")

// ProveRange makes a certificate. Offsets that have no decision in what the checkpoint
// speaks for, or two, are ErrIncomplete. It reads the log twice: an answer of the broker
// lies behind its decision.
func (p *Prover) ProveRange(ctx context.Context, w WantedRange) (*evidence.Certificate, error) {
	g := gathering{wanted: w, leaves: make(map[int64]leafAt), decisions: make(map[uint64]bool), answered: make(map[answer]bool)}
	if err := p.each(ctx, g.placement); err != nil {
		return nil, err
	}
	slices.SortFunc(g.spans, func(a, b evidence.Span) int { return cmp.Compare(a.First, b.First) })
	if err := w.Range.Exactly(g.spans); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if err := p.each(ctx, g.decision); err != nil {
		return nil, err
	}
	if len(g.decisions) > 0 {
		return nil, fmt.Errorf("%d decisions of the range: %w", len(g.decisions), audit.ErrPruned)
	}
	return p.certificate(ctx, &g)
}

// certificate puts together what was gathered.
func (p *Prover) certificate(ctx context.Context, g *gathering) (*evidence.Certificate, error) {
	all := make([]leafAt, 0, len(g.leaves))
	for _, l := range g.leaves {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b leafAt) int { return cmp.Compare(a.index, b.index) })

	c := &evidence.Certificate{Format: evidence.RangeFormat, Range: g.wanted.Range, Checkpoint: p.signed}
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
