package audit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"sync"

	"github.com/guardlock/guardlock/audit/segment"
)

// blockBytes is how much of a segment a block is at least. Whoever looks for one
// entry reads a block.
const blockBytes = 64 << 10

// block is what is known of neighbouring frames of a segment.
type block struct {
	off       int64 // of the first frame
	seq       uint64
	minTime   int64 // µs, of its entries; min > max where it holds none
	maxTime   int64
	firstBind uint64 // least and greatest batch that bindings in it are of; first > last where it holds none
	lastBind  uint64
}

// place is what a binding covers.
type place struct {
	base  int64
	count uint32
	coord uint32 // number of a coordinate
}

type bindKey struct {
	seq   uint64
	route string
}

type epochAt struct {
	seq   uint64 // first that it holds for
	epoch segment.Epoch
}

// chart notes, frame by frame, where things lie in a segment. That of a log's last
// segment grows; that of a finished one becomes an index.
type chart struct {
	hdr segment.Header

	// guarded by mu
	mu     sync.Mutex
	end    int64
	next   uint64 // sequence number behind the last frame
	dict   *dict
	blocks []block
	epochs []epochAt

	places   [][]place // by block
	coords   []Coord
	coordIDs map[Coord]uint32
	byRefs   map[coordRefs]uint32
	refused  []uint64 // batches that are stored nowhere, of earlier segments too
}

// coordRefs is a coordinate by the dictionary. The same one may be there in place,
// too.
type coordRefs struct{ cluster, topic, partition uint32 }

func newChart(h segment.Header) *chart {
	return &chart{
		hdr:      h,
		end:      segment.HeaderSize,
		next:     h.FirstSeq,
		dict:     &dict{},
		coordIDs: make(map[Coord]uint32),
		byRefs:   make(map[coordRefs]uint32),
		epochs:   []epochAt{{h.FirstSeq, h.Epoch}},
	}
}

// grow reads the frames between what is known and the end of the window.
func (x *chart) grow(ctx context.Context, w *segment.Window) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading segment %d: %w", x.hdr.Number, err)
		}
		f, err := segment.ReadFrame(w, &x.hdr, x.end)
		if errors.Is(err, segment.ErrNoFrame) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", x.hdr.Number, err)
		}
		if f.Sealed() {
			return nil
		}
		if err := x.add(&f); err != nil {
			return segment.Corrupt(x.hdr.Number, x.end, "%w", err)
		}
	}
}

// sealedAt reports whether the frames end where a seal begins.
func (x *chart) sealedAt(w *segment.Window, at int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, err := segment.ReadFrame(w, &x.hdr, at)
	return err == nil && f.Sealed() && at == x.end
}

func (x *chart) add(f *segment.Frame) error {
	p, err := payloadOf(f)
	if err != nil {
		return err
	}
	if err := p.define(x.dict); err != nil {
		return err
	}
	if p.firstSeq != x.next {
		return fmt.Errorf("frame begins at sequence number %d, expected %d: %w", p.firstSeq, x.next, errEntry)
	}

	if n := len(x.blocks); n == 0 || x.end-x.blocks[n-1].off >= blockBytes {
		x.blocks = append(x.blocks, block{
			off:       x.end,
			seq:       x.next,
			minTime:   math.MaxInt64,
			maxTime:   math.MinInt64,
			firstBind: math.MaxUint64,
		})
		x.places = append(x.places, x.roomForPlaces())
	}

	if err := p.each(func(r rawEntry) error { return x.note(r, p.base) }); err != nil {
		return err
	}

	x.end = f.End()
	return nil
}

// roomForPlaces is as much as the block before took.
func (x *chart) roomForPlaces() []place {
	if len(x.places) == 0 {
		return nil
	}
	before := len(x.places[len(x.places)-1])
	return make([]place, 0, before+before/8)
}

// note reads no more of an entry than where it is to be found by.
func (x *chart) note(r rawEntry, base int64) error {
	if r.seq != 0 {
		x.next = r.seq + 1
	}
	c := r.read(x.dict.strs)
	if r.kind == kindBind {
		return x.noteBind(&c, base)
	}

	whole := c
	c.redactions()
	switch r.kind {
	case KindBatch:
		if r.brief {
			c.uvarint() // template
		} else {
			c.byte() // flags
		}
	case KindOpen:
		var e ControlEntry
		if err := whole.control(&e, r.kind, base); err != nil {
			return err
		}
		if o, ok := e.opening(); ok {
			x.epochs = append(x.epochs, epochAt{r.seq, o.Epoch})
		}
	}

	x.noteTime(base + c.varint())
	return nil
}

func (x *chart) noteTime(t int64) {
	b := &x.blocks[len(x.blocks)-1]
	b.minTime = min(b.minTime, t)
	b.maxTime = max(b.maxTime, t)
}

func (x *chart) noteBind(c *cursor, base int64) error {
	whole := *c
	w, ok := c.whereabouts(base)
	if !ok {
		var b Bind
		if err := whole.bind(&b, base); err != nil {
			return err
		}
		w = b.whereabouts()
		w.place.coord = x.coordID(b.Coord)
	} else if w.covers() {
		w.place.coord = x.knownCoord(w.refs)
	}

	last := len(x.blocks) - 1
	blk := &x.blocks[last]
	blk.firstBind = min(blk.firstBind, w.seq)
	blk.lastBind = max(blk.lastBind, w.seq)

	if w.refused {
		x.refused = append(x.refused, w.seq)
	}
	if w.covers() {
		x.places[last] = append(x.places[last], w.place)
	}

	return nil
}

// whereabouts is what a chart keeps of a binding.
type whereabouts struct {
	seq     uint64
	refs    coordRefs
	place   place
	refused bool // it is that of a batch which is stored nowhere
}

func (w *whereabouts) covers() bool { return w.place.base >= 0 && w.place.count > 0 }

func (b *Bind) whereabouts() whereabouts {
	return whereabouts{
		seq:     b.Seq,
		place:   place{base: b.Base, count: uint32(b.count)},
		refused: b.Route == "" && b.ErrorCode != 0,
	}
}

// whereabouts reads a binding whose strings are in the dictionary, which is most of
// them; ok is false for any other, and for a malformed one.
func (c *cursor) whereabouts(base int64) (w whereabouts, ok bool) {
	if c.brief {
		return c.briefWhereabouts(base)
	}

	w.seq = c.uvarint()
	w.refs, ok = c.coordRefs()
	route := c.uvarint()
	if !ok || !c.known(route) {
		return w, false
	}

	w.place.base = int64(c.uvarint()) - 1
	w.place.count = uint32(c.number())
	c.uvarint() // append time
	flags := c.uvarint()
	w.refused = route == refEmpty && flags>>1 != 0

	return w, c.ok() && w.place.base >= -1 && flags <= 1<<17
}

// coordRefs reads a coordinate whose strings are in the dictionary; ok is false for
// another.
func (c *cursor) coordRefs() (refs coordRefs, ok bool) {
	cluster := c.uvarint()
	topic := c.uvarint()
	partition := c.uvarint()
	if !c.known(cluster) || !c.known(topic) || partition > math.MaxInt32 {
		return refs, false
	}
	return coordRefs{uint32(cluster), uint32(topic), uint32(partition)}, true
}

// known reports whether a reference is to nothing, or to a string of the dictionary.
func (c *cursor) known(ref uint64) bool {
	return ref == refEmpty || ref >= refFirst && ref-refFirst < uint64(len(c.strs))
}

// knownCoord numbers a coordinate of the dictionary.
func (x *chart) knownCoord(refs coordRefs) uint32 {
	id, ok := x.byRefs[refs]
	if !ok {
		at := Coord{Partition: int32(refs.partition)}
		at.Cluster = x.dict.named(refs.cluster)
		at.Topic = x.dict.named(refs.topic)
		id = x.coordID(at)
		x.byRefs[refs] = id
	}

	return id
}

func (d *dict) named(ref uint32) string {
	if ref == refEmpty {
		return ""
	}
	return d.strs[ref-refFirst]
}

func (x *chart) coordID(c Coord) uint32 {
	id, ok := x.coordIDs[c]
	if !ok {
		id = uint32(len(x.coords))
		x.coordIDs[c] = id
		x.coords = append(x.coords, c)
	}
	return id
}

// covering lists the blocks in which bindings may cover a coordinate, in order.
func (x *chart) covering(at Coord, offset int64) (found []int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	asked := make([]bool, len(x.coords))
	any := false
	for i, c := range x.coords {
		asked[i] = c.is(at)
		any = any || asked[i]
	}

	if !any {
		return nil
	}

	for i, places := range x.places {
		for _, p := range places {
			if offset >= p.base && offset-p.base < int64(p.count) && asked[p.coord] {
				found = append(found, i)
				break
			}
		}
	}

	return found
}

// refusals lists the batches that are stored nowhere, of earlier segments too.
func (x *chart) refusals() []uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.refused[:len(x.refused):len(x.refused)]
}

// view is what a scanner knows of its segment; it does not change.
type view struct {
	hdr    *segment.Header
	strs   []string
	epochs []epochAt
	Blocks []block
	End    int64 // of the last frame, without the seal
	Next   uint64
}

func (x *chart) view() view {
	x.mu.Lock()
	defer x.mu.Unlock()
	return view{
		hdr:    &x.hdr,
		strs:   x.dict.strs,
		epochs: x.epochs,
		Blocks: append([]block(nil), x.blocks...),
		End:    x.end,
		Next:   x.next,
	}
}

// BlockOf returns the index of the block that holds seq, -1 if it is below the
// first.
func (v *view) BlockOf(seq uint64) int {
	return sort.Search(len(v.Blocks), func(i int) bool { return v.Blocks[i].seq > seq }) - 1
}

// blockEnd is where the block after the i-th begins.
func (v *view) blockEnd(i int) int64 {
	if i+1 < len(v.Blocks) {
		return v.Blocks[i+1].off
	}
	return v.End
}

// times are the least and the greatest of the entries.
func (v *view) times() (least, greatest int64) {
	least = math.MaxInt64
	greatest = math.MinInt64
	for i := range v.Blocks {
		least = min(least, v.Blocks[i].minTime)
		greatest = max(greatest, v.Blocks[i].maxTime)
	}
	return least, greatest
}

func (v *view) epochOf(seq uint64) (e segment.Epoch) {
	for _, at := range v.epochs {
		if at.seq <= seq {
			e = at.epoch
		}
	}
	return e
}
