package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// Item is one entry on its way to becoming rows. It is valid only during the
// call that it is given to.
type Item struct {
	Seq     uint64
	Kind    Kind
	Epoch   segment.Epoch
	Batch   *BatchEntry
	Control *ControlEntry
	Node    uint32
	Bound   func(route string) (Bind, bool)
}

// scanner reads the entries of one segment.
type scanner struct {
	reader *Reader
	idx    *index
	View   view
	file   segment.File
	win    *segment.Window
	batch  BatchEntry
	raws   []rawEntry
}

func (r *Reader) Scanner(s *Indexed) (*scanner, error) {
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
		View:   x.View(),
		file:   f,
		win:    segment.NewWindow(f, size),
	}, nil
}

func (sc *scanner) Close() error { return sc.file.Close() }

// Frame gives fn the entries of the i-th frame; false ends it.
func (sc *scanner) Frame(i int, reverse bool, fn func(*Item) (bool, error)) (bool, error) {
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
			return false, segment.Corrupt(sc.idx.hdr.Number, sc.View.Frames[i].off, "%w", err)
		}
		if more, err := fn(it); err != nil || !more {
			return false, err
		}
	}

	return true, nil
}

// one gives fn the entry with a sequence number, which the i-th frame holds.
func (sc *scanner) one(i int, seq uint64, fn func(*Item)) error {
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
		return segment.Corrupt(sc.idx.hdr.Number, sc.View.Frames[i].off, "%w", err)
	}

	fn(it)
	return nil
}

// load reads the i-th frame and finds the entries in it that have sequence
// numbers.
func (sc *scanner) load(i int) (payload, error) {
	at := sc.View.Frames[i]
	f, err := segment.ReadFrame(sc.win, &sc.idx.hdr, at.off)
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

func (sc *scanner) item(e rawEntry, base int64) (*Item, error) {
	it := &Item{Seq: e.seq, Kind: e.kind, Node: nodeOf(sc.idx.hdr.LogID)}
	c := cursor{b: e.body, strs: sc.View.strs}
	if e.kind != KindBatch {
		it.Control = new(ControlEntry)
		return it, c.control(it.Control, e.kind, base)
	}

	it.Batch = &sc.batch
	it.Epoch = sc.View.epochOf(e.seq)
	it.Bound = func(route string) (Bind, bool) { return sc.reader.binding(sc.idx, bindKey{e.seq, route}) }
	return it, c.batch(it.Batch, base)
}

// Scan gives fn every entry of every segment that may hold what is asked for, in
// order or in reverse, until fn returns false. may is asked of finished segments.
func (r *Reader) Scan(ctx context.Context, reverse bool, may func(*Summary) bool, fn func(*Item) (bool, error)) error {
	segs, err := r.Refresh()
	if err != nil {
		return err
	}
	if reverse {
		slices.Reverse(segs)
	}

	for _, s := range segs {
		if s.Seal != nil && !may(s.Seal) {
			continue
		}
		if more, err := r.scanSegment(ctx, s, reverse, fn); err != nil || !more {
			return err
		}
	}

	return nil
}

func (r *Reader) scanSegment(ctx context.Context, s *Indexed, reverse bool, fn func(*Item) (bool, error)) (bool, error) {
	sc, err := r.Scanner(s)
	if errors.Is(err, ErrPruned) {
		return true, nil
	}
	if err != nil {
		return false, err
	}

	defer sc.Close()
	n := len(sc.View.Frames)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("querying decision log: %w", err)
		}
		if reverse {
			i = n - 1 - i
		}
		if more, err := sc.Frame(i, reverse, fn); err != nil || !more {
			return false, err
		}
	}

	return true, nil
}

// At gives fn the entry with a sequence number.
func (r *Reader) At(seq uint64, fn func(*Item)) error {
	segs, err := r.Refresh()
	if err != nil {
		return err
	}
	return r.AtIn(segs, seq, fn)
}

func (r *Reader) AtIn(segs []*Indexed, seq uint64, fn func(*Item)) error {
	i := len(segs) - 1
	for i >= 0 && segs[i].hdr.FirstSeq > seq {
		i--
	}

	if i < 0 {
		return ErrNotFound
	}
	sc, err := r.Scanner(segs[i])
	if errors.Is(err, ErrPruned) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}

	defer sc.Close()
	n := sc.View.FrameOf(seq)
	if n < 0 || seq >= sc.View.Next {
		return ErrNotFound
	}

	return sc.one(n, seq, fn)
}
