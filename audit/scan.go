package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// item is one entry on its way to becoming rows. It is valid only during the
// call that it is given to.
type item struct {
	seq     uint64
	kind    Kind
	epoch   segment.Epoch
	batch   *BatchEntry
	control *ControlEntry
	node    uint32
	bound   func(route string) (bind, bool)
}

// scanner reads the entries of one segment.
type scanner struct {
	reader *Reader
	idx    *index
	view   view
	file   segment.File
	win    *segment.Window
	batch  BatchEntry
	raws   []rawEntry
}

func (r *Reader) scanner(s *indexed) (*scanner, error) {
	x, err := r.indexOf(s)
	if err != nil {
		return nil, err
	}

	f, size, err := r.openSegment(s.hdr.Number)
	if err != nil {
		return nil, err
	}

	return &scanner{
		reader: r,
		idx:    x,
		view:   x.view(),
		file:   f,
		win:    segment.NewWindow(f, size),
	}, nil
}

func (sc *scanner) close() error { return sc.file.Close() }

// frame gives fn the entries of the i-th frame; false ends it.
func (sc *scanner) frame(i int, reverse bool, fn func(*item) (bool, error)) (bool, error) {
	p, err := sc.load(i)
	if err != nil {
		return false, err
	}
	if reverse {
		slices.Reverse(sc.raws)
	}

	for _, e := range sc.raws {
		it, err := sc.item(e, p.base)
		if err != nil {
			return false, segment.Corrupt(sc.idx.hdr.Number, sc.view.frames[i].off, "%w", err)
		}
		if more, err := fn(it); err != nil || !more {
			return false, err
		}
	}

	return true, nil
}

// one gives fn the entry with a sequence number, which the i-th frame holds.
func (sc *scanner) one(i int, seq uint64, fn func(*item)) error {
	p, err := sc.load(i)
	if err != nil {
		return err
	}

	n := seq - p.firstSeq
	if seq < p.firstSeq || n >= uint64(len(sc.raws)) {
		return ErrNotFound
	}

	it, err := sc.item(sc.raws[n], p.base)
	if err != nil {
		return segment.Corrupt(sc.idx.hdr.Number, sc.view.frames[i].off, "%w", err)
	}

	fn(it)
	return nil
}

// load reads the i-th frame and finds the entries in it that have sequence
// numbers.
func (sc *scanner) load(i int) (payload, error) {
	at := sc.view.frames[i]
	f, err := segment.ReadFrame(sc.win, sc.idx.hdr.Marker, at.off)
	if err != nil {
		return payload{}, segment.Corrupt(sc.idx.hdr.Number, at.off, "%w", err)
	}

	sc.raws = sc.raws[:0]
	p, err := parsePayload(f.Payload)
	if err == nil {
		err = p.each(func(e rawEntry) error {
			if e.seq != 0 {
				sc.raws = append(sc.raws, e)
			}
			return nil
		})
	}

	if err != nil {
		return payload{}, segment.Corrupt(sc.idx.hdr.Number, at.off, "%w", err)
	}
	return p, nil
}

func (sc *scanner) item(e rawEntry, base int64) (*item, error) {
	it := &item{seq: e.seq, kind: e.kind, node: nodeOf(sc.idx.hdr.LogID)}
	c := cursor{b: e.body, strs: sc.view.strs}
	if e.kind != KindBatch {
		it.control = new(ControlEntry)
		return it, c.control(it.control, e.kind, base)
	}

	it.batch, it.epoch = &sc.batch, sc.view.epochOf(e.seq)
	it.bound = func(route string) (bind, bool) { return sc.reader.binding(sc.idx, bindKey{e.seq, route}) }
	return it, c.batch(it.batch, base)
}

// scan gives fn every entry of every segment that may match, in order.
func (r *Reader) scan(ctx context.Context, m *matcher, fn func(*item) (bool, error)) error {
	segs, err := r.refresh()
	if err != nil {
		return err
	}
	if m.f.Reverse {
		slices.Reverse(segs)
	}

	for _, s := range segs {
		if s.seal != nil && !m.segment(s.seal) {
			continue
		}
		if more, err := r.scanSegment(ctx, s, m, fn); err != nil || !more {
			return err
		}
	}

	return nil
}

func (r *Reader) scanSegment(ctx context.Context, s *indexed, m *matcher, fn func(*item) (bool, error)) (bool, error) {
	sc, err := r.scanner(s)
	if err != nil {
		return false, err
	}

	defer sc.close()
	n := len(sc.view.frames)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("querying audit log: %w", err)
		}
		if m.f.Reverse {
			i = n - 1 - i
		}
		if more, err := sc.frame(i, m.f.Reverse, fn); err != nil || !more {
			return false, err
		}
	}

	return true, nil
}

// at gives fn the entry with a sequence number.
func (r *Reader) at(seq uint64, fn func(*item)) error {
	segs, err := r.refresh()
	if err != nil {
		return err
	}
	return r.atIn(segs, seq, fn)
}

func (r *Reader) atIn(segs []*indexed, seq uint64, fn func(*item)) error {
	i := len(segs) - 1
	for i >= 0 && segs[i].hdr.FirstSeq > seq {
		i--
	}

	if i < 0 {
		return ErrNotFound
	}
	sc, err := r.scanner(segs[i])
	if err != nil {
		return err
	}

	defer sc.close()
	n := sc.view.frameOf(seq)
	if n < 0 || seq >= sc.view.next {
		return ErrNotFound
	}

	return sc.one(n, seq, fn)
}
