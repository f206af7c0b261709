package audit

import (
	"cmp"
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
	reader  *Reader
	seg     *Indexed
	idx     *index // nil for the last segment
	View    view
	file    segment.File
	win     *segment.Window
	batch   BatchEntry
	raws    []rawEntry
	failure error // kept a binding from being looked for
	stale   bool  // the index was found to be wrong in the midst of a block

	bindings
}

// Scanner reads a segment's entries. It is for one goroutine, and has to be closed. A
// segment that an erasure rewrote since it was listed is read as it is now.
func (r *Reader) Scanner(s *Indexed) (*scanner, error) {
	for {
		sc, err := r.scannerOf(s)
		now, changed := r.rewritten(s, sc)
		if changed == nil && now == s {
			return sc, err
		}

		if sc != nil {
			_ = sc.Close() // it was only read
		}
		if changed != nil {
			return nil, changed
		}
		s = now
	}
}

func (r *Reader) scannerOf(s *Indexed) (*scanner, error) {
	sc := &scanner{reader: r, seg: s}
	if s.chart != nil {
		sc.View = s.chart.view()
	} else if err := sc.useIndex(r.indexOf(s)); err != nil {
		return nil, err
	}

	f, _, err := r.openSegment(s.hdr.Number)
	if err != nil {
		return nil, err
	}

	sc.file = f
	sc.win = segment.NewWindow(f, sc.View.End)
	sc.bindings.win = segment.NewWindow(f, sc.View.End)
	return sc, nil
}

func (sc *scanner) useIndex(x *index, err error) error {
	if err != nil {
		return err
	}
	sc.idx = x
	sc.View = x.view()

	if x.sealed.seal.older {
		sc.View.epochs, err = sc.reader.epochsOf(sc.seg)
	}
	return err
}

// renew makes the segment's index anew, which was found to be wrong. That of the
// last segment is no file's: what it says is so.
func (sc *scanner) renew() error {
	if sc.idx == nil {
		return segment.Corrupt(sc.seg.hdr.Number, sc.View.End, "frames are not where they were")
	}
	sc.bindings.forget()
	sc.stale = false
	return sc.useIndex(sc.reader.renewed(sc.seg, sc.idx))
}

// Close gives back the scanner's files.
func (sc *scanner) Close() error { return errors.Join(sc.file.Close(), sc.bindings.close()) }

// walk gives fn the frames of the i-th block in order, until it returns false. It
// returns errIndex where they are not what the index says.
func (sc *scanner) walk(w *segment.Window, i int, fn func(off int64, p *payload) (bool, error)) (bool, error) {
	at := sc.View.Blocks[i].off
	end := sc.View.blockEnd(i)
	for first := true; at < end; first = false {
		f, err := segment.ReadFrame(w, &sc.seg.hdr, at)
		if errors.Is(err, segment.ErrNoFrame) {
			return false, fmt.Errorf("%w: no frame at byte %d", errIndex, at)
		}
		if err != nil {
			return false, fmt.Errorf("reading segment %d: %w", sc.seg.hdr.Number, err)
		}

		p, err := payloadOf(&f)
		if err != nil {
			return false, segment.Corrupt(sc.seg.hdr.Number, at, "%w", err)
		}
		if first && p.firstSeq != sc.View.Blocks[i].seq {
			return false, fmt.Errorf("%w: another entry at byte %d", errIndex, at)
		}
		if more, err := fn(at, &p); err != nil || !more {
			return false, err
		}

		at = f.End()
	}

	if at != end {
		return false, fmt.Errorf("%w: no frame ends at byte %d", errIndex, end)
	}
	return true, nil
}

// Block gives fn the entries of the i-th block, until it returns false.
func (sc *scanner) Block(i int, reverse bool, fn func(*Item) (bool, error)) (bool, error) {
	if !reverse {
		return sc.walk(sc.win, i, func(off int64, p *payload) (bool, error) { return sc.frame(off, p, false, fn) })
	}

	var frames []int64
	_, err := sc.walk(sc.win, i, func(off int64, _ *payload) (bool, error) {
		frames = append(frames, off)
		return true, nil
	})
	if err != nil {
		return false, err
	}

	for _, off := range slices.Backward(frames) {
		f, err := segment.ReadFrame(sc.win, &sc.seg.hdr, off)
		if err != nil {
			return false, segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
		}

		p, err := payloadOf(&f)
		if err != nil {
			return false, segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
		}
		if more, err := sc.frame(off, &p, true, fn); err != nil || !more {
			return false, err
		}
	}

	return true, nil
}

func (sc *scanner) frame(off int64, p *payload, reverse bool, fn func(*Item) (bool, error)) (bool, error) {
	if err := sc.list(p); err != nil {
		return false, segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
	}
	if reverse {
		slices.Reverse(sc.raws)
	}

	for _, e := range sc.raws {
		it, err := sc.item(e, p.base)
		if err != nil {
			return false, segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
		}

		more, err := fn(it)
		if err = cmp.Or(err, sc.failure); err != nil || !more {
			return false, err
		}
		if sc.stale {
			return false, errIndex
		}
	}

	return true, nil
}

// list finds the entries of a frame that have sequence numbers.
func (sc *scanner) list(p *payload) error {
	sc.raws = sc.raws[:0]
	return p.each(func(e rawEntry) error {
		if e.seq != 0 {
			sc.raws = append(sc.raws, e)
		}
		return nil
	})
}

// one gives fn the entry with a sequence number, which the i-th block holds.
func (sc *scanner) one(i int, seq uint64, fn func(*Item)) error {
	found := false
	_, err := sc.walk(sc.windowOf(i), i, func(off int64, p *payload) (bool, error) {
		if err := sc.list(p); err != nil {
			return false, segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
		}
		if seq < p.firstSeq || seq-p.firstSeq >= uint64(len(sc.raws)) {
			return true, nil
		}

		it, err := sc.item(sc.raws[seq-p.firstSeq], p.base)
		if err != nil {
			return false, segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
		}

		found = true
		fn(it)
		return false, sc.failure
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: entry %d is not where it says", errIndex, seq)
	}

	return err
}

// windowOf reads no more than the i-th block.
func (sc *scanner) windowOf(i int) *segment.Window {
	return segment.NewWindow(sc.file, sc.View.blockEnd(i))
}

func (sc *scanner) item(e rawEntry, base int64) (*Item, error) {
	it := &Item{Seq: e.seq, Kind: e.kind, Node: nodeOf(sc.seg.hdr.LogID)}
	c := e.read(sc.View.strs)
	if e.kind != KindBatch {
		it.Control = new(ControlEntry)
		return it, c.control(it.Control, e.kind, base)
	}

	it.Batch = &sc.batch
	it.Epoch = sc.View.epochOf(e.seq)
	it.Bound = func(route string) (Bind, bool) { return sc.bound(bindKey{e.seq, route}) }
	return it, c.batch(it.Batch, base)
}

// Search says which entries a scan is to give.
type Search struct {
	Reverse bool
	From    int64 // µs; what is before, or at To or later, may be passed over
	To      int64
	// Segment is asked of finished segments: whether they may hold what is looked for.
	Segment func(*Summary) bool
	// Rest goes on behind a segment that is damaged. The error comes at the end, and names
	// each.
	Rest bool
}

// Scan gives fn every entry of every segment that may hold what is looked for, in
// order or in reverse, until fn returns false.
func (r *Reader) Scan(ctx context.Context, q Search, fn func(*Item) (bool, error)) error {
	segs, err := r.Refresh()
	if err != nil {
		return err
	}
	return r.ScanIn(ctx, segs, q, fn)
}

// ScanIn is Scan in a list that Refresh gave.
func (r *Reader) ScanIn(ctx context.Context, segs []*Indexed, q Search, fn func(*Item) (bool, error)) error {
	if q.Reverse {
		segs = slices.Clone(segs)
		slices.Reverse(segs)
	}

	var damaged []error
	for _, s := range segs {
		if s.Seal != nil && !q.Segment(s.Seal) {
			continue
		}

		more, err := r.scanSegment(ctx, s, &q, fn)
		if err != nil && q.Rest && errors.Is(err, ErrCorrupt) {
			damaged = append(damaged, err)
			continue
		}
		if err != nil || !more {
			return errors.Join(append(damaged, err)...)
		}
	}

	return errors.Join(damaged...)
}

// scanSegment begins again with a new index when it finds one to be wrong, or an erasure
// rewrote the segment meanwhile, and gives nothing twice.
func (r *Reader) scanSegment(ctx context.Context, s *Indexed, q *Search, fn func(*Item) (bool, error)) (bool, error) {
	given := uint64(0) // entry that was given last
	once := func(it *Item) (bool, error) {
		if given != 0 && (q.Reverse && it.Seq >= given || !q.Reverse && it.Seq <= given) {
			return true, nil
		}
		given = it.Seq
		return fn(it)
	}

	for {
		more, err := r.scanOnce(ctx, s, q, once)
		if !errors.Is(err, errRewritten) {
			return more, err
		}
	}
}

func (r *Reader) scanOnce(ctx context.Context, s *Indexed, q *Search, once func(*Item) (bool, error)) (bool, error) {
	sc, err := r.Scanner(s)
	if errors.Is(err, ErrPruned) {
		return true, nil
	}
	if err != nil {
		return false, err
	}

	defer sc.Close()
	more, err := sc.blocks(ctx, q, once)
	if errors.Is(err, errIndex) {
		if err := sc.renew(); err != nil {
			return false, err
		}
		more, err = sc.blocks(ctx, q, once)
	}

	return more, err
}

func (sc *scanner) blocks(ctx context.Context, q *Search, fn func(*Item) (bool, error)) (bool, error) {
	n := len(sc.View.Blocks)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("querying decision log: %w", err)
		}
		if q.Reverse {
			i = n - 1 - i
		}
		if b := &sc.View.Blocks[i]; b.maxTime < q.From || b.minTime >= q.To {
			continue
		}
		if more, err := sc.Block(i, q.Reverse, fn); err != nil || !more {
			return false, err
		}
	}

	return true, nil
}

// Each gives fn the entries from a sequence number on, until it returns false.
// Some before it, in the same block, come too, and some may come twice.
func (sc *scanner) Each(ctx context.Context, from uint64, fn func(*Item) (bool, error)) (bool, error) {
	more, err := sc.each(ctx, from, fn)
	if errors.Is(err, errIndex) {
		if err := sc.renew(); err != nil {
			return false, err
		}
		more, err = sc.each(ctx, from, fn)
	}

	return more, err
}

func (sc *scanner) each(ctx context.Context, from uint64, fn func(*Item) (bool, error)) (bool, error) {
	if from >= sc.View.Next {
		return true, nil
	}
	for i := max(sc.View.BlockOf(from), 0); i < len(sc.View.Blocks); i++ {
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("reading decision log: %w", err)
		}
		if more, err := sc.Block(i, false, fn); err != nil || !more {
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

// AtIn is At in a list that Refresh gave.
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
	err = sc.find(seq, fn)
	if errors.Is(err, errIndex) {
		if err := sc.renew(); err != nil {
			return err
		}
		err = sc.find(seq, fn)
	}

	return err
}

func (sc *scanner) find(seq uint64, fn func(*Item)) error {
	n := sc.View.BlockOf(seq)
	if n < 0 || seq >= sc.View.Next {
		return ErrNotFound
	}
	return sc.one(n, seq, fn)
}
