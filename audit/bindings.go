package audit

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sort"

	"github.com/guardlock/guardlock/audit/segment"
)

// keptBlocks is how many blocks' bindings a scanner keeps.
const keptBlocks = 4

// bindings finds those of a segment, for its scanner.
type bindings struct {
	win  *segment.Window // of its own: an entry that is being read lies in the scanner's
	kept []keptBindings  // latest last
	// upTo and from are the greatest batch of bindings in blocks up to each, and the
	// least in those from each on; nil until needed.
	upTo, from []uint64
	last       *scanner // of the log's last segment; nil until needed
}

// keptBindings are the bindings of one block, by batch and then in their order.
type keptBindings struct {
	block int
	binds []Bind
}

// forget drops what was found through an index that is wrong.
func (b *bindings) forget() {
	b.kept = nil
	b.upTo = nil
	b.from = nil
}

func (b *bindings) close() error {
	if b.last == nil {
		return nil
	}
	return b.last.Close()
}

// bound finds the binding of a batch of this segment, wherever it lies. What keeps
// it from looking ends the scan.
func (sc *scanner) bound(k bindKey) (Bind, bool) {
	b, ok, err := sc.boundHere(k)
	if errors.Is(err, errIndex) {
		if err = sc.renew(); err == nil {
			b, ok, err = sc.boundHere(k)
			sc.stale = true
		}
	}

	if err == nil && !ok {
		b, ok, err = sc.boundLater(k)
	}

	if err != nil {
		sc.failure = err
	}
	return b, ok
}

// boundLater finds a binding that lies behind its segment: a seal has it, or it is
// in the last one.
func (sc *scanner) boundLater(k bindKey) (Bind, bool, error) {
	r := sc.reader
	r.mu.Lock()
	b, ok := r.late[k]
	var last *Indexed

	if n := len(r.segs); n > 0 {
		last = r.segs[n-1]
	}
	r.mu.Unlock()

	if ok || last == nil || last.hdr.Number == sc.seg.hdr.Number || last.chart == nil {
		return b, ok, nil
	}
	if sc.last == nil {
		var err error
		if sc.last, err = r.Scanner(last); err != nil {
			return Bind{}, false, err
		}
	}

	return sc.last.boundHere(k)
}

// boundHere finds the last binding of a batch or route in this segment.
func (sc *scanner) boundHere(k bindKey) (Bind, bool, error) {
	if sc.upTo == nil {
		sc.spread()
	}

	first := sort.Search(len(sc.upTo), func(i int) bool { return sc.upTo[i] >= k.seq })
	behind := sort.Search(len(sc.from), func(i int) bool { return sc.from[i] > k.seq })
	for i := behind - 1; i >= first; i-- {
		if blk := &sc.View.Blocks[i]; blk.firstBind > k.seq || blk.lastBind < k.seq {
			continue
		}
		binds, err := sc.bindingsOf(i)
		if err != nil {
			return Bind{}, false, err
		}

		at := sort.Search(len(binds), func(j int) bool { return binds[j].Seq > k.seq })
		for at--; at >= 0 && binds[at].Seq == k.seq; at-- {
			if binds[at].Route == k.route {
				return binds[at], true, nil
			}
		}
	}

	return Bind{}, false, nil
}

// spread computes upTo and from.
func (sc *scanner) spread() {
	blocks := sc.View.Blocks
	sc.upTo = make([]uint64, len(blocks))
	sc.from = make([]uint64, len(blocks))

	greatest := uint64(0)
	for i := range blocks {
		greatest = max(greatest, blocks[i].lastBind)
		sc.upTo[i] = greatest
	}

	least := uint64(math.MaxUint64)
	for i := len(blocks) - 1; i >= 0; i-- {
		least = min(least, blocks[i].firstBind)
		sc.from[i] = least
	}
}

// bindingsOf reads the bindings of a block, by batch and then in their order. The
// result is valid until a few other blocks were read.
func (sc *scanner) bindingsOf(i int) ([]Bind, error) {
	for _, k := range sc.kept {
		if k.block == i {
			return k.binds, nil
		}
	}

	var memory []Bind
	if len(sc.kept) == keptBlocks {
		memory = sc.kept[0].binds[:0]
		sc.kept = append(sc.kept[:0], sc.kept[1:]...)
	}

	binds, err := sc.readBindings(sc.bindings.win, i, memory)
	if err != nil {
		return nil, err
	}

	slices.SortStableFunc(binds, func(a, b Bind) int { return cmp.Compare(a.Seq, b.Seq) })
	sc.kept = append(sc.kept, keptBindings{i, binds})
	return binds, nil
}

// readBindings appends the bindings of a block in their order.
func (sc *scanner) readBindings(w *segment.Window, i int, binds []Bind) ([]Bind, error) {
	_, err := sc.walk(w, i, func(off int64, p *payload) (bool, error) {
		err := p.each(func(r rawEntry) error {
			if r.kind != kindBind {
				return nil
			}
			c := r.read(sc.View.strs)
			binds = append(binds, Bind{})
			return c.bind(&binds[len(binds)-1], p.base)
		})
		if err != nil {
			err = segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
		}

		return true, err
	})
	return binds, err
}

// covering lists this segment's bindings that cover a coordinate, in their order.
func (sc *scanner) covering(at Coord, offset int64) ([]Bind, error) {
	blocks, err := sc.blocksCovering(at, offset)
	if err != nil {
		return nil, err
	}

	var found []Bind
	for _, i := range blocks {
		binds, err := sc.readBindings(sc.windowOf(i), i, nil)
		if err != nil {
			return nil, err
		}
		for _, b := range binds {
			if b.contains(offset) && b.is(at) {
				found = append(found, b)
			}
		}
	}

	return found, nil
}

func (sc *scanner) blocksCovering(at Coord, offset int64) ([]int, error) {
	if sc.idx == nil {
		return sc.seg.chart.covering(at, offset), nil
	}
	f, closeIndex, err := sc.idx.open(sc.reader.files)
	if err != nil {
		return nil, err
	}

	blocks, err := sc.idx.covering(f, at, offset)
	return blocks, errors.Join(err, closeIndex())
}
