package segment

import (
	"bytes"
	"errors"
	"fmt"
)

// Walk reads one segment from its header to its last complete frame, checking
// every checksum and chain value.
type Walk struct {
	Header Header
	win    *Window
	Off    int64 // where the next frame would be
	Chain  Chain
	Sealed bool
	Frames int
	Last   int64 // where the last complete frame begins; 0 if there is none
	Mark   *Mark // not nil: lies in this segment, and a frame is yet to end at it
	marked bool  // there was a mark
	Key    *Key  // that Header names; nil: tags are not checked
}

// Corrupt describes bytes that no crash can leave behind.
func Corrupt(number uint32, at int64, format string, args ...any) error {
	return fmt.Errorf("%w: segment %d, byte %d: %w", ErrCorrupt, number, at, fmt.Errorf(format, args...))
}

// ReadHeader reads and checks a segment's header.
func ReadHeader(w *Window, number uint32) (Header, error) {
	b, err := w.at(0, HeaderSize)
	if err != nil {
		return Header{}, err
	}

	h, err := ParseHeader(b)
	if err != nil {
		return h, Corrupt(number, 0, "%w", err)
	}
	if h.Number != number {
		return h, Corrupt(number, 0, "header is that of segment %d", h.Number)
	}

	return h, nil
}

// NewWalk begins with a segment's header, which it checks.
func NewWalk(w *Window, number uint32) (*Walk, error) {
	h, err := ReadHeader(w, number)
	if err != nil {
		return nil, err
	}
	return &Walk{Header: h, win: w, Off: HeaderSize, Chain: h.Chain()}, nil
}

// Expect makes the walk demand that a frame ends at the mark, if there is one and
// it lies in its segment. A mark that could not have been made by the segment's
// writer is ErrCorrupt.
func (k *Walk) Expect(m *Mark) error {
	if m == nil || m.Segment != k.Header.Number {
		return nil
	}
	k.Mark = m
	k.marked = true

	switch {
	case k.Header.Version == Rewritten:
		return Corrupt(k.Header.Number, 0, "was rewritten, though the committed mark lies in it")
	case k.Header.Version == Untagged:
		return nil
	case m.Version == Untagged:
		return Corrupt(k.Header.Number, 0, "%w", errOldMark)
	case k.Key != nil && !m.Under(k.Key):
		return Corrupt(k.Header.Number, 0, "the committed mark was not made under the audit key")
	}

	return nil
}

// Tagged reports whether a tag was checked of what was walked.
func (k *Walk) Tagged() bool {
	return k.Key != nil && k.Header.Version != Untagged && (k.Frames > 0 || k.marked)
}

// Link is what the segment that was walked hands to the next.
func (k *Walk) Link(nextSeq uint64) Link {
	return Link{
		Version: k.Header.Version.Begun(),
		Number:  k.Header.Number,
		NextSeq: nextSeq,
		Chain:   k.Header.LinkChain(k.Chain),
		LogID:   k.Header.LogID,
	}
}

var errOldMark = errors.New("the committed mark is of a version that the log's writer no longer made")

// HasMark checks that a log which was walked to its end has the mark that it
// cannot be without: an opening makes it durable before its first frame. before
// is the link that the last segment follows.
func (k *Walk) HasMark(m *Mark, before *Link) error {
	marked := k.Header.Version == Current && (before.Version == Current || k.Frames > 0)
	switch {
	case !marked:
		return nil
	case m == nil:
		return ErrNoMark
	case m.Version == Untagged:
		return Corrupt(k.Header.Number, 0, "%w", errOldMark)
	}

	return nil
}

// Run gives every frame to apply, whose error says what is wrong with it.
func (k *Walk) Run(apply func(*Frame) error) error {
	for !k.Sealed {
		if k.Mark != nil && k.Mark.End == k.Off && k.Mark.Chain == k.Chain {
			k.Mark = nil
		}
		f, err := ReadFrame(k.win, &k.Header, k.Off)
		if errors.Is(err, ErrNoFrame) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", k.Header.Number, err)
		}
		if nextChain(k.Chain, f.Raw, k.Header.Version.overhead()) != f.Chain {
			return Corrupt(k.Header.Number, k.Off, "chain is broken")
		}
		if !f.Under(&k.Header, k.Key) {
			return Corrupt(k.Header.Number, k.Off, "frame was not written under the audit key")
		}
		if err := apply(&f); err != nil {
			return Corrupt(k.Header.Number, k.Off, "%w", err)
		}

		k.Last, k.Off, k.Chain, k.Sealed = k.Off, f.End(), f.Chain, f.Sealed()
		k.Frames++
	}
	return nil
}

// MetMark reports ErrCorrupt if frames are gone that were once durable.
func (k *Walk) MetMark() error {
	if k.Mark == nil {
		return nil
	}
	return Corrupt(k.Header.Number, k.Off, "does not hold what the committed mark says was durable up to byte %d", k.Mark.End)
}

// Tail looks at what lies behind the last complete frame. It returns the number
// of bytes that a torn frame left. Since each frame is flushed before the next
// is written, a complete frame further on proves that the bad one was whole.
func (k *Walk) Tail() (torn int64, err error) {
	end, err := k.win.lastNonZero(k.Off)
	if err != nil {
		return 0, err
	}

	at, found, err := k.win.AnyFrame(&k.Header, k.Off)
	if err != nil {
		return 0, err
	}
	if found {
		return 0, Corrupt(k.Header.Number, k.Off, "bad frame, but a good one follows at byte %d", at)
	}

	return end - k.Off, nil
}

// Footer reports whether the footer lies behind the seal. A crash may have left
// it in part; it cannot have left more.
func (k *Walk) Footer() (bool, error) {
	end, err := k.win.lastNonZero(k.Off)
	if err != nil {
		return false, err
	}
	if end > k.Off+FooterSize {
		return false, Corrupt(k.Header.Number, k.Off, "bytes behind the seal")
	}

	b, err := k.win.at(k.Off, FooterSize)
	return err == nil && bytes.Equal(b, AppendFooter(nil, k.Last)), err
}

// Link is what one segment hands to the next.
type Link struct {
	Version Version
	Number  uint32
	NextSeq uint64
	Chain   Chain
	LogID   [8]byte
}

// Follows checks that a segment is the one that comes after l.
func (l *Link) Follows(h *Header) error {
	switch {
	case h.prev != l.Chain:
		return Corrupt(h.Number, 32, "does not continue the chain of segment %d", l.Number)
	case h.FirstSeq != l.NextSeq:
		return Corrupt(h.Number, 24, "begins at sequence number %d, expected %d", h.FirstSeq, l.NextSeq)
	case l.Number > 0 && h.LogID != l.LogID:
		return Corrupt(h.Number, 64, "belongs to another log")
	case h.Version.Begun() < l.Version:
		return Corrupt(h.Number, 0, "is of an older version than segment %d before it", l.Number)
	}
	return nil
}

// Numbers lists the segments of a log in order, from the first that is there by
// its anchor, and refuses gaps. What lies before the anchor was about to be
// removed, and is no part of the log. The anchor is read after the names: it was
// durable before the first of them went.
func Numbers(d Files) ([]uint32, *Anchor, error) {
	names, err := d.List()
	if err != nil {
		return nil, nil, fmt.Errorf("listing segments: %w", err)
	}

	anchor, err := ReadAnchor(d)
	if err != nil {
		return nil, nil, err
	}

	first := anchor.Link().Number + 1
	found := make(map[uint32]bool)
	for _, name := range names {
		if n, ok := ParseSegmentName(name); ok && n >= first {
			found[n] = true
		}
	}

	if anchor != nil && !found[first] { // that segment, at least, is there
		return nil, nil, fmt.Errorf("%w: segment %d is missing", ErrCorrupt, first)
	}

	out := make([]uint32, 0, len(found))
	for n := first; len(out) < len(found); n++ {
		if !found[n] {
			return nil, nil, fmt.Errorf("%w: segment %d is missing", ErrCorrupt, n)
		}
		out = append(out, n)
	}

	return out, anchor, nil
}

// UpTo returns the segments up to the one that the mark lies in. A mark of nothing
// is that of a log which is being made.
func (m *Mark) UpTo(all []uint32) ([]uint32, error) {
	switch {
	case m.Segment == 0:
		return nil, nil
	case len(all) == 0 || m.Segment > all[len(all)-1]:
		return nil, fmt.Errorf("%w: segment %d is missing: the committed mark names it", ErrCorrupt, m.Segment)
	case m.Segment < all[0]:
		return nil, fmt.Errorf("%w: the committed mark lies in segment %d, before the anchor", ErrCorrupt, m.Segment)
	}
	return all[:m.Segment-all[0]+1], nil
}

// SealFrame finds a finished segment's seal without reading the segment.
func SealFrame(w *Window, h *Header) (Frame, error) {
	b, err := w.at(w.size-FooterSize, FooterSize)
	if err != nil {
		return Frame{}, err
	}

	at, ok := parseFooter(b)
	if !ok {
		return Frame{}, Corrupt(h.Number, w.size-FooterSize, "not sealed, though a later segment exists")
	}

	f, err := ReadFrame(w, h, at)
	if err != nil && !errors.Is(err, ErrNoFrame) {
		return Frame{}, err
	}
	if err != nil || !f.Sealed() || f.End() != w.size-FooterSize {
		return Frame{}, Corrupt(h.Number, at, "seal is damaged")
	}

	return f, nil
}
