package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// Position is a place between two frames of a log. The zero Position is its
// beginning, and one with a segment alone is the beginning of that.
type Position struct {
	Segment uint32
	Offset  int64
	Next    uint64        // sequence number behind it
	Chain   segment.Chain // value there, which speaks for all before
}

// Frame is one group commit as a cursor gives it. It is valid only during the call
// that it is given to.
type Frame struct {
	Segment uint32
	Entries int // how many Each will give
	epoch   segment.Epoch
	strs    []string
	payload payload
	memory  *frameMemory
}

// frameMemory is what a cursor gives all frames in, and their entries, one after the
// other: a log of small frames would otherwise cost its reader most in garbage.
type frameMemory struct {
	frame Frame
	entry Entry
	batch BatchEntry
	bind  Bind
}

// Entry is one entry of the log: one of Batch, Control and Bind.
type Entry struct {
	Seq     uint64 // 0 for a binding
	Epoch   segment.Epoch
	Batch   *BatchEntry
	Control *ControlEntry
	Bind    *Bind
}

// MAC is that of a batch; see MACID.Made.
func (e *Entry) MAC() MACID { return MACID{e.Epoch, e.Batch.nonce, e.Batch.mac} }

// Records is how many records are stored from the binding's base offset on.
func (b *Bind) Records() int { return b.count }

// Each gives fn the entries of the frame in their order. Seals are none. An entry is
// valid only during the call that it is given to.
func (f *Frame) Each(fn func(*Entry) error) error {
	e := &f.memory.entry // one for all, as what it holds
	epoch := f.epoch
	return f.payload.each(func(r rawEntry) error {
		*e = Entry{Seq: r.seq, Epoch: epoch}
		c := r.read(f.strs)
		var err error

		switch r.kind {
		case kindSeal:
			return nil
		case KindBatch:
			e.Batch = &f.memory.batch
			err = c.batch(e.Batch, f.payload.base)
		case kindBind:
			e.Bind = &f.memory.bind
			err = c.bind(e.Bind, f.payload.base)
		default:
			e.Control = new(ControlEntry)
			err = c.control(e.Control, r.kind, f.payload.base)
		}

		if err != nil {
			return err
		}
		if e.Control != nil {
			epoch = e.Control.epochAfter(epoch)
		}
		return fn(e)
	})
}

// epochAfter is the epoch that MACs behind the entry are made in.
func (c *ControlEntry) epochAfter(before segment.Epoch) segment.Epoch {
	if o, ok := c.opening(); ok {
		return o.Epoch
	}
	return before
}

// Cursor reads a log frame by frame, in order, whatever their entries are. It is for
// one goroutine.
type Cursor struct {
	reader *Reader
	at     Position
	open   *openSegment // nil: nothing was read of the segment
}

// openSegment is a segment that a cursor reads.
type openSegment struct {
	hdr   segment.Header
	dict  *dict
	epoch segment.Epoch
	next  uint64
	end   int64         // of what is known of it
	chain segment.Chain // of the frame that ends there

	memory frameMemory

	sealed bool // it ends there
}

// Segments lists the numbers of the log's segments, oldest first.
func (r *Reader) Segments() ([]uint32, error) {
	all, _, err := segment.Numbers(r.files)
	return all, err
}

// Node is the first part of the ids of the log's decisions, which each log has drawn for
// itself; 0 for a log without segments.
func (r *Reader) Node() (uint32, error) {
	segs, err := r.Refresh()
	if err != nil || len(segs) == 0 {
		return 0, err
	}
	return nodeOf(segs[0].hdr.LogID), nil
}

// Identity is what a log has drawn for itself at its beginning, which all its segments
// name, and the gateway that writes it. It is zero for a log without segments. Nothing
// vouches for it without the audit key.
func (r *Reader) Identity() (id [8]byte, node string, err error) {
	segs, err := r.Refresh()
	if err != nil || len(segs) == 0 {
		return id, "", err
	}
	last := segs[len(segs)-1].hdr
	return last.LogID, last.Node, nil
}

// SegmentOf finds the segment that holds the entry with a sequence number, or would:
// ErrNotFound for one before the log's beginning.
func (r *Reader) SegmentOf(seq uint64) (uint32, error) {
	h, err := r.headerOf(seq)
	return h.Number, err
}

// IsUnder reports whether an entry was written under an audit key. Another key begins a
// segment. It returns ErrNotFound as SegmentOf does.
func (r *Reader) IsUnder(seq uint64, key [32]byte) (bool, error) {
	h, err := r.headerOf(seq)
	return err == nil && h.KeyID == keyID(key), err
}

// headerOf is the header of the segment that an entry is in, or would be.
func (r *Reader) headerOf(seq uint64) (segment.Header, error) {
	segs, err := r.Refresh()
	if err != nil {
		return segment.Header{}, err
	}
	for i := len(segs) - 1; i >= 0; i-- {
		if segs[i].hdr.FirstSeq <= seq {
			return segs[i].hdr, nil
		}
	}
	return segment.Header{}, ErrNotFound
}

// Cursor begins at a position that a cursor of the same log was at.
func (r *Reader) Cursor(at Position) *Cursor { return &Cursor{reader: r, at: at} }

// Position is where the cursor is: behind the last frame that fn took.
func (c *Cursor) Position() Position { return c.at }

// Read gives fn all frames from the cursor's position to the durable end of the log,
// until fn returns an error, which is returned and leaves the cursor before that
// frame. Where the position was pruned the error is ErrPruned, ErrNoPosition where the log
// never came so far, and ErrCorrupt where a segment ends before its end: what comes behind
// it is not given, since nobody would see the gap.
func (c *Cursor) Read(ctx context.Context, fn func(*Frame) error) error {
	all, m, err := c.there()
	if err != nil {
		return err
	}

	for i, n := range all {
		if n < c.at.Segment {
			continue
		}
		u := until{last: i == len(all)-1}
		if m != nil && n == m.Segment {
			u.mark = m.End
		}
		if err := c.segment(ctx, n, u, fn); err != nil {
			return err
		}
	}

	return nil
}

// there lists the segments that are durable, and the mark in the last one, if a gateway
// writes.
func (c *Cursor) there() ([]uint32, *segment.Mark, error) {
	m, err := c.reader.position()
	if err != nil {
		return nil, nil, err
	}
	all, _, err := segment.Numbers(c.reader.files)
	if err != nil {
		return nil, nil, err
	}

	if m != nil {
		if all, err = m.UpTo(all); err != nil {
			return nil, nil, err
		}
	}
	if c.at.Segment != 0 && (len(all) == 0 || all[len(all)-1] < c.at.Segment) {
		return nil, nil, fmt.Errorf("%w: segment %d", ErrNoPosition, c.at.Segment)
	}
	return all, m, nil
}

// Check returns ErrNoPosition where the log does not go through the cursor's position.
// A position in a segment that was pruned is not checked.
func (c *Cursor) Check(ctx context.Context) error {
	all, _, err := c.there()
	if err != nil || !slices.Contains(all, c.at.Segment) {
		return err
	}
	f, size, err := c.reader.openSegment(c.at.Segment)
	if err != nil {
		return err
	}

	defer f.Close()
	return c.enter(ctx, segment.NewWindow(f, size), c.at.Segment)
}

// until is where a segment ends for now.
type until struct {
	last bool  // no later one exists
	mark int64 // the committed mark is there; 0 if it is not in this segment, or nobody writes
}

// segment reads one segment from where the cursor is in it.
func (c *Cursor) segment(ctx context.Context, n uint32, u until, fn func(*Frame) error) error {
	f, size, err := c.reader.openSegment(n)
	if err != nil {
		return err
	}

	defer f.Close()
	if u.mark != 0 {
		size = min(size, u.mark)
	}

	w := segment.NewWindow(f, size)
	if err := c.enter(ctx, w, n); err != nil {
		return err
	}
	if err := c.frames(ctx, w, size, fn); err != nil {
		return err
	}
	return c.open.ended(w, u)
}

// ended reports ErrCorrupt where the frames end before the segment does.
func (s *openSegment) ended(w *segment.Window, u until) error {
	switch {
	case s.sealed:
		return nil
	case !u.last:
		return segment.Corrupt(s.hdr.Number, s.end, "no good frame, though a later segment exists")
	case u.mark > s.end:
		return segment.Corrupt(s.hdr.Number, s.end, "ends before byte %d, which the committed mark says is durable", u.mark)
	case u.mark != 0:
		return nil
	}

	// Nobody writes, or began to since: then the next frame is good now.
	at, found, err := w.AnyFrame(&s.hdr, s.end)
	if err != nil {
		return err
	}
	if found && at > s.end {
		return segment.Corrupt(s.hdr.Number, s.end, "bad frame, but a good one follows at byte %d", at)
	}
	return nil
}

// enter makes ready what the frames behind the position need of those before it: the
// segment's strings, and its epoch.
func (c *Cursor) enter(ctx context.Context, w *segment.Window, n uint32) error {
	h, err := segment.ReadHeader(w, n)
	if err != nil {
		return err
	}
	if c.open != nil && c.open.hdr == h {
		return nil
	}

	if n == c.at.Segment {
		c.at.Offset = max(c.at.Offset, segment.HeaderSize)
	} else {
		if c.at.Segment != 0 && h.FirstSeq != c.at.Next {
			return fmt.Errorf("entries %d to %d: %w", c.at.Next, h.FirstSeq-1, ErrPruned)
		}
		c.at = Position{Segment: n, Offset: segment.HeaderSize, Next: h.FirstSeq}
	}
	c.open = newOpenSegment(h)
	if h.Version == segment.Rewritten && c.at.Chain == h.Erasure.Was { // it was at the end
		c.at.Offset = 0
		return c.frames(ctx, w, w.Size(), func(*Frame) error { return nil })
	}

	to := c.at.Offset
	if err := c.frames(ctx, w, to, func(*Frame) error { return nil }); err != nil {
		return err
	}
	if c.open.end != to || c.at.Chain != (segment.Chain{}) && c.open.chain != c.at.Chain {
		if h.Version == segment.Rewritten {
			return fmt.Errorf("%w: byte %d of segment %d, which was rewritten for an erasure since", ErrNoPosition, to, n)
		}
		return fmt.Errorf("%w: byte %d of segment %d", ErrNoPosition, to, n)
	}
	return nil
}

// frames reads up to a byte of the segment.
func (c *Cursor) frames(ctx context.Context, w *segment.Window, to int64, fn func(*Frame) error) error {
	s := c.open
	for s.end < to && !s.sealed {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading segment %d: %w", s.hdr.Number, err)
		}
		f, err := segment.ReadFrame(w, &s.hdr, s.end)
		if errors.Is(err, segment.ErrNoFrame) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", s.hdr.Number, err)
		}
		if err := s.frame(&f, fn); err != nil {
			c.open = nil // it holds strings of a frame that was not taken
			return err
		}

		s.end = f.End()
		s.chain = f.Chain
		if s.end > c.at.Offset {
			c.at = Position{s.hdr.Number, s.end, s.next, s.chain}
		}
		if s.sealed = f.Sealed(); s.sealed {
			return nil
		}
	}

	return nil
}

func newOpenSegment(h segment.Header) *openSegment {
	return &openSegment{hdr: h, dict: &dict{}, epoch: h.Epoch, next: h.FirstSeq, end: segment.HeaderSize}
}

func (s *openSegment) frame(f *segment.Frame, fn func(*Frame) error) error {
	p, err := payloadOf(f)
	if err == nil {
		err = p.define(s.dict)
	}
	if err == nil && p.firstSeq != s.next {
		err = fmt.Errorf("frame begins at sequence number %d, expected %d: %w", p.firstSeq, s.next, errEntry)
	}
	if err != nil {
		return segment.Corrupt(s.hdr.Number, f.Off, "%w", err)
	}

	given := &s.memory.frame
	*given = Frame{Segment: s.hdr.Number, epoch: s.epoch, strs: s.dict.strs, payload: p, memory: &s.memory}
	next := s.next
	epoch := s.epoch
	err = p.each(func(r rawEntry) error {
		if r.kind != kindSeal {
			given.Entries++
		}
		if r.seq != 0 {
			next = r.seq + 1
		}
		if r.kind != KindOpen {
			return nil
		}

		var e ControlEntry
		c := r.read(s.dict.strs)
		if err := c.control(&e, r.kind, p.base); err != nil {
			return err
		}
		epoch = e.epochAfter(epoch)
		return nil
	})
	if err != nil {
		return segment.Corrupt(s.hdr.Number, f.Off, "%w", err)
	}

	if err := fn(given); err != nil {
		return err
	}
	s.next = next
	s.epoch = epoch
	return nil
}
