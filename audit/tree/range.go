package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
)

// WantedRange is a stretch of offsets whose story is to be told.
type WantedRange struct {
	Range evidence.Range
	Names bool // tell the names behind the digests
	// Manifest is enclosed, with each log that is given; nil: there is none.
	Manifest *evidence.Manifest
	// Ask has the brokers explain gaps that the logs do not; nil: nobody is asked. Those
	// that they cannot explain are left out of the answer.
	Ask func(context.Context, []evidence.Span) ([]evidence.Gap, error)
}

// RangeLog is the log of one of the gateways that a range went through, and the approvals
// beside it.
type RangeLog struct {
	*Prover
	Approvals Approvals
}

// ErrIncomplete means that a range has offsets which have no decision and no explanation,
// or two decisions.
var ErrIncomplete = errors.New("not every offset has one decision")

// ProveRange makes a certificate by the logs of all gateways that the range went through.
// Offsets that have no decision in what the checkpoints speak for, or two, are
// ErrIncomplete. It reads each log twice: an answer of the broker lies behind its
// decision. A log that says nothing of the range is in the certificate with its checkpoint
// where there is a manifest, and else not.
func ProveRange(ctx context.Context, w WantedRange, logs []RangeLog) (*evidence.Certificate, error) {
	u := union{wanted: w}
	for _, l := range logs {
		g := &gathering{log: l, wanted: &u.wanted.Range, leaves: make(map[int64]leafAt), decisions: make(map[uint64]bool), answered: make(map[answer]bool)}
		if err := g.gather(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", l.checkpoint.Origin, err)
		}
		if err := u.take(g); err != nil {
			return nil, err
		}
	}

	slices.SortFunc(u.spans, byFirst)
	slices.SortFunc(u.logs, func(a, b *gathering) int { return cmp.Compare(a.log.checkpoint.Origin, b.log.checkpoint.Origin) })
	if err := u.explain(ctx); err != nil {
		return nil, err
	}
	return u.certificate(ctx)
}

func byFirst(a, b evidence.Span) int { return cmp.Compare(a.First, b.First) }

// union is what all logs say of the range.
type union struct {
	wanted WantedRange
	logs   []*gathering // by their origins
	spans  []evidence.Span
	gaps   []evidence.Gap
	topic  [16]byte // that all logs are about; zero as long as none tells it
}

// take adds a log. All logs must be about one topic.
func (u *union) take(g *gathering) error {
	if g.topic != ([16]byte{}) && u.topic != ([16]byte{}) && g.topic != u.topic {
		return fmt.Errorf("%w: the logs are about two topics of the name %s, which was deleted and made again", ErrIncomplete, u.wanted.Range.Topic)
	}
	if g.topic != ([16]byte{}) {
		u.topic = g.topic
	}
	u.logs = append(u.logs, g)
	u.spans = append(u.spans, g.spans...)
	return nil
}

// explain finds out why offsets have no decision: by the logs themselves where they were
// there before all of them, else by the brokers.
func (u *union) explain(ctx context.Context) error {
	r := &u.wanted.Range
	gaps := r.Gaps(u.spans)
	if begins := u.begins(); len(gaps) > 0 && len(u.spans) > 0 && gaps[0].First < min(begins, u.spans[0].First) {
		before := evidence.Gap{First: gaps[0].First, Last: min(gaps[0].Last, begins-1), Kind: evidence.GapBeforeEra}
		u.gaps = append(u.gaps, before)
		for _, g := range u.logs {
			if _, at, _ := g.begins(u.topic); at.leaf != nil {
				g.leaves[at.index] = at
			}
		}
		gaps[0].First = before.Last + 1
		if gaps[0].First > gaps[0].Last {
			gaps = gaps[1:]
		}
	}

	if len(gaps) > 0 && u.wanted.Ask != nil {
		told, err := u.wanted.Ask(ctx, gaps)
		if err != nil {
			return fmt.Errorf("asking what explains offsets without a decision: %w", err)
		}
		u.gaps = append(u.gaps, told...)
	}
	all := slices.Clone(u.spans)
	for _, gap := range u.gaps {
		all = append(all, evidence.Span{First: gap.First, Last: gap.Last})
	}

	slices.SortFunc(all, byFirst)
	if err := r.Exactly(all); err != nil {
		return fmt.Errorf("%w in %s: %w%s", ErrIncomplete, u.origins(), err, u.overlap())
	}
	return nil
}

func (u *union) origins() string {
	all := make([]string, 0, len(u.logs))
	for _, g := range u.logs {
		all = append(all, g.log.checkpoint.Origin)
	}
	return strings.Join(all, ", ")
}

// overlap names two logs that have the same offsets of the range, the first of such.
func (u *union) overlap() string {
	type stretch struct {
		evidence.Span
		origin string
	}
	var all []stretch
	for _, g := range u.logs {
		for _, s := range g.spans {
			all = append(all, stretch{s, g.log.checkpoint.Origin})
		}
	}
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Or(byFirst(a.Span, b.Span), cmp.Compare(a.origin, b.origin)) })

	var before stretch
	for i, s := range all {
		if i > 0 && s.First <= before.Last && s.origin != before.origin {
			first := max(s.First, u.wanted.Range.First)
			last := min(s.Last, before.Last, u.wanted.Range.Last)
			return fmt.Sprintf("; %d to %d are in %s and in %s", first, last, before.origin, s.origin)
		}
		if i == 0 || s.Last > before.Last {
			before = s
		}
	}
	return ""
}

// begins is the offset of the earliest era of all logs. It is 0 where a log that has
// decisions of the range does not say since when it knows the partition, so that what was
// there before is not known; and where the eras are of two topics.
func (u *union) begins() int64 {
	first := int64(math.MaxInt64)
	for _, g := range u.logs {
		e, at, clear := g.begins(u.topic)
		if clear && at.leaf == nil && len(g.spans) == 0 {
			continue // it says nothing of the range
		}
		if at.leaf == nil {
			return 0
		}

		if u.topic == ([16]byte{}) {
			u.topic = e.TopicID
		}
		first = min(first, e.Offset)
	}
	return first
}

// begins is the earliest era of a topic; of one that is not known, that of the only topic.
// Its leaf is nil where the log has none. It is not clear where the log has eras of two
// topics.
func (g *gathering) begins(topic [16]byte) (first evidence.Era, at leafAt, clear bool) {
	for i, e := range g.eras {
		switch {
		case topic != ([16]byte{}) && e.TopicID != ([16]byte{}) && e.TopicID != topic:
		case at.leaf == nil || e.TopicID == first.TopicID && e.Offset < first.Offset:
			first = e
			at = g.begun[i]
		case e.TopicID != first.TopicID:
			return evidence.Era{}, leafAt{}, false
		}
	}
	return first, at, true
}

// certificate puts together what was gathered.
func (u *union) certificate(ctx context.Context) (*evidence.Certificate, error) {
	c := &evidence.Certificate{Format: evidence.RangeFormat, Range: u.wanted.Range, Gaps: u.gaps, Manifest: u.wanted.Manifest}
	if c.Manifest != nil {
		c.Format = evidence.ListedRangeFormat
	}
	for _, g := range u.logs {
		if len(g.leaves) == 0 {
			if c.Manifest != nil {
				c.Logs = append(c.Logs, evidence.Bare(g.log.signed))
			}
			continue
		}
		section, err := g.section(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.log.checkpoint.Origin, err)
		}
		c.Logs = append(c.Logs, section)

		if u.wanted.Names {
			c.Names = append(c.Names, g.names()...)
		}
		if c.Approvals, err = g.approvals(c.Approvals); err != nil {
			return nil, fmt.Errorf("%s: %w", g.log.checkpoint.Origin, err)
		}
	}
	return c, nil
}

// sorted are the leaves in the order of the tree.
func (g *gathering) sorted() []leafAt {
	return slices.SortedFunc(maps.Values(g.leaves), func(a, b leafAt) int { return cmp.Compare(a.index, b.index) })
}

// names are those behind digests in the leaves, each once.
func (g *gathering) names() (all []evidence.Opened) {
	told := make(map[string]bool)
	for _, l := range g.sorted() {
		for _, n := range l.told {
			key := n.Salt + n.Value + string(n.Bytes)
			if !told[key] {
				told[key] = true
				all = append(all, n)
			}
		}
	}
	return all
}

// approvals adds those that the admissions among the leaves name.
func (g *gathering) approvals(all [][]byte) (more [][]byte, err error) {
	for _, l := range g.sorted() {
		if !g.admits[l.index] {
			continue
		}
		if all, err = g.log.Approvals.enclose(all, l.leaf); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// section proves the leaves of one log.
func (g *gathering) section(ctx context.Context) (evidence.Section, error) {
	p := g.log.Prover
	s := evidence.Section{Checkpoint: p.signed}
	var indexes []int64
	var leaves [][]byte
	for _, l := range g.sorted() {
		indexes = append(indexes, l.index)
		leaves = append(leaves, l.leaf)
	}

	fresh, err := p.around(ctx, indexes)
	if err != nil {
		return s, err
	}
	hashes := evidence.NewProver(p.checkpoint.Size, p.checkpoint.Root, &tiles{ctx: ctx, store: p.store, reader: p.reader, edge: p.edge, fresh: fresh})
	proof, err := hashes.Multi(indexes)
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s, s.Pack(indexes, leaves, proof)
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

// gathering is what a range needs of one log, as it is found.
type gathering struct {
	log        RangeLog
	wanted     *evidence.Range
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

	serves    *audit.ControlEntry // the authority in force, as far as the log was read
	authority leafAt
}

// gather reads the log.
func (g *gathering) gather(ctx context.Context) error {
	if err := g.log.each(ctx, g.placement); err != nil {
		return err
	}
	if err := g.log.each(ctx, g.decision); err != nil {
		return err
	}
	if len(g.decisions) > 0 {
		return fmt.Errorf("%d decisions of the range: %w", len(g.decisions), audit.ErrPruned)
	}
	return nil
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
	r := g.wanted
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

// decision takes the decisions that were answered, and the admissions and authorities
// that they were made under.
func (g *gathering) decision(index int64, n *names, e *audit.Entry) error {
	if e.Control != nil && e.Control.Era != nil {
		return g.era(tell(index, n, e))
	}
	if e.Control != nil && e.Control.Kind == audit.KindAuthority {
		if !sameAuthority(g.serves, e.Control) {
			g.serves = e.Control
			g.authority = tell(index, n, e)
		}
		return nil
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
	if g.serves != nil {
		g.leaves[g.authority.index] = g.authority
	}
	l, err := evidence.Parse(found.leaf)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, err)
	}
	if d := l.Decision; d.Where.Topic == g.wanted.Topic && d.TopicID != ([16]byte{}) {
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

// sameAuthority reports whether an authority says what the one before says, as it does
// where a segment begins and where a gateway starts again. Then it is left out.
func sameAuthority(before, c *audit.ControlEntry) bool {
	if before == nil || before.Loaded == nil || c.Loaded == nil {
		return false
	}
	return before.Outcome == c.Outcome && slices.Equal(before.Loaded.Files, c.Loaded.Files)
}

// era takes where the record of the partition begins.
func (g *gathering) era(found leafAt) error {
	l, err := evidence.Parse(found.leaf)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, found.index, err)
	}
	r := g.wanted
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
