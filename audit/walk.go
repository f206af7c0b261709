package audit

import (
	"bytes"
	"errors"
	"fmt"
)

// walk reads one segment from its header to its last complete frame, checking
// every checksum, chain value and entry.
type walk struct {
	hdr    header
	win    *window
	off    int64 // where the next frame would be
	chain  chainValue
	sealed bool
	frames int
	last   int64 // where the last complete frame begins; 0 if there is none
	mark   *mark // not nil: lies in this segment, and a frame must end at it
}

// corrupt describes bytes that no crash can leave behind.
func corrupt(number uint32, at int64, format string, args ...any) error {
	return fmt.Errorf("%w: segment %d, byte %d: %w", ErrCorrupt, number, at, fmt.Errorf(format, args...))
}

// readHeader reads and checks a segment's header.
func readHeader(w *window, number uint32) (header, error) {
	b, err := w.at(0, headerSize)
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return h, corrupt(number, 0, "%w", err)
	}
	if h.number != number {
		return h, corrupt(number, 0, "header is that of segment %d", h.number)
	}
	return h, nil
}

func newWalk(w *window, number uint32) (*walk, error) {
	h, err := readHeader(w, number)
	if err != nil {
		return nil, err
	}
	return &walk{hdr: h, win: w, off: headerSize, chain: h.chain()}, nil
}

// run applies every frame to st, whose segment must have begun.
func (k *walk) run(st *state) error {
	for !k.sealed {
		if k.mark != nil && k.mark.end == k.off && k.mark.chain == k.chain {
			k.mark = nil
		}
		f, err := readFrame(k.win, k.hdr.marker, k.off)
		if errors.Is(err, errNoFrame) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", k.hdr.number, err)
		}
		if nextChain(k.chain, f.raw) != f.chain {
			return corrupt(k.hdr.number, k.off, "chain is broken")
		}
		if err := st.apply(&f); err != nil {
			return corrupt(k.hdr.number, k.off, "%w", err)
		}
		k.last, k.off, k.chain, k.sealed = k.off, f.end(), f.chain, f.sealed()
		k.frames++
	}
	return nil
}

// metMark reports ErrCorrupt if frames are gone that were once durable.
func (k *walk) metMark() error {
	if k.mark == nil {
		return nil
	}
	return corrupt(k.hdr.number, k.off, "does not hold what the committed mark says was durable up to byte %d", k.mark.end)
}

// tail looks at what lies behind the last complete frame. It returns the number
// of bytes that a torn frame left. Since each frame is flushed before the next
// is written, a complete frame further on proves that the bad one was whole.
func (k *walk) tail() (torn int64, err error) {
	end, err := k.win.lastNonZero(k.off)
	if err != nil {
		return 0, err
	}
	at, found, err := k.win.anyFrame(k.hdr.marker, k.off)
	if err != nil {
		return 0, err
	}
	if found {
		return 0, corrupt(k.hdr.number, k.off, "bad frame, but a good one follows at byte %d", at)
	}
	return end - k.off, nil
}

// footer reports whether the footer lies behind the seal. A crash may have left
// it in part; it cannot have left more.
func (k *walk) footer() (bool, error) {
	end, err := k.win.lastNonZero(k.off)
	if err != nil {
		return false, err
	}
	if end > k.off+footerSize {
		return false, corrupt(k.hdr.number, k.off, "bytes behind the seal")
	}
	b, err := k.win.at(k.off, footerSize)
	return err == nil && bytes.Equal(b, appendFooter(nil, k.last)), err
}

// link is what one segment hands to the next.
type link struct {
	number  uint32
	nextSeq uint64
	chain   chainValue
	logID   [8]byte
}

// follows checks that a segment is the one that comes after l.
func (l *link) follows(h *header) error {
	switch {
	case h.prev != l.chain:
		return corrupt(h.number, 32, "does not continue the chain of segment %d", l.number)
	case h.firstSeq != l.nextSeq:
		return corrupt(h.number, 24, "begins at sequence number %d, expected %d", h.firstSeq, l.nextSeq)
	case l.number > 0 && h.logID != l.logID:
		return corrupt(h.number, 64, "belongs to another log")
	}
	return nil
}

// numbers lists the segments of a directory in order and refuses gaps.
func numbers(d files) ([]uint32, error) {
	names, err := d.list()
	if err != nil {
		return nil, fmt.Errorf("listing segments: %w", err)
	}
	found := make(map[uint32]bool)
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			found[n] = true
		}
	}
	out := make([]uint32, 0, len(found))
	for n := uint32(1); len(out) < len(found); n++ {
		if !found[n] {
			return nil, fmt.Errorf("%w: segment %d is missing", ErrCorrupt, n)
		}
		out = append(out, n)
	}
	return out, nil
}

// sealOf reads a finished segment's seal without reading the segment.
func sealOf(w *window, h *header) (*summary, chainValue, error) {
	b, err := w.at(w.size-footerSize, footerSize)
	if err != nil {
		return nil, chainValue{}, err
	}
	at, ok := parseFooter(b)
	if !ok {
		return nil, chainValue{}, corrupt(h.number, w.size-footerSize, "not sealed, though a later segment exists")
	}
	f, err := readFrame(w, h.marker, at)
	if err != nil && !errors.Is(err, errNoFrame) {
		return nil, chainValue{}, err
	}
	if err != nil || !f.sealed() || f.end() != w.size-footerSize {
		return nil, chainValue{}, corrupt(h.number, at, "seal is damaged")
	}
	s, err := parseSeal(f.payload)
	if err != nil {
		return nil, chainValue{}, corrupt(h.number, at, "%w", err)
	}
	if s.firstSeq != h.firstSeq {
		return nil, chainValue{}, corrupt(h.number, at, "seal is that of another segment")
	}
	return s, f.chain, nil
}
