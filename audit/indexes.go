package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// indexOf returns a finished segment's index: the one that is at hand, the one in
// its file, or one that is made.
func (r *Reader) indexOf(s *Indexed) (*index, error) {
	s.making.Lock()
	defer s.making.Unlock()
	if x := r.atHand(s); x != nil {
		return x, nil
	}

	x, err := loadIndex(r.files, s.sealed)
	if err != nil {
		return r.remake(s)
	}

	r.hold(s, x)
	return x, nil
}

// renewed makes a segment's index anew, unless that was done since bad was found
// to be wrong.
func (r *Reader) renewed(s *Indexed, bad *index) (*index, error) {
	s.making.Lock()
	defer s.making.Unlock()
	if x := r.atHand(s); x != nil && x != bad {
		return x, nil
	}
	return r.remake(s)
}

// remake makes a segment's index. Callers hold s.making.
func (r *Reader) remake(s *Indexed) (*index, error) {
	raw, err := makeIndex(context.Background(), r.files, s.sealed)
	if err != nil {
		if now, _ := r.rewritten(s, nil); now != s {
			err = errRewritten
		}
		return nil, r.orPruned(s.hdr.Number, err)
	}
	if r.keep {
		_ = writeIndex(r.files, s.hdr.Number, raw) // in memory it serves as well
	}

	x, err := openIndex(s.sealed, bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, segment.Corrupt(s.hdr.Number, s.sealed.at, "frames do not fit their seal")
	}

	x.memory = raw
	r.hold(s, x)
	return x, nil
}

func (r *Reader) atHand(s *Indexed) *index {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	s.used = r.clock
	return s.idx
}

// hold keeps an index, and drops those that were not used for longest.
func (r *Reader) hold(s *Indexed, x *index) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.idx = x
	r.evict(maxIndexes, func(*index) bool { return true })
	r.evict(maxOwnIndexes, func(x *index) bool { return x.memory != nil })
}

// evict leaves at most so many of the indexes that count. Callers hold mu.
func (r *Reader) evict(most int, counts func(*index) bool) {
	for {
		var oldest *Indexed
		n := 0
		for _, s := range r.segs {
			if s.idx == nil || !counts(s.idx) {
				continue
			}
			n++
			if oldest == nil || s.used < oldest.used {
				oldest = s
			}
		}

		if n <= most {
			return
		}
		oldest.idx = nil
	}
}

// epochsOf finds the epochs of a finished segment whose seal does not tell them:
// only one in which a log was opened has more than that of its header.
func (r *Reader) epochsOf(s *Indexed) ([]epochAt, error) {
	if s.Seal.Kinds>>KindOpen&1 == 0 {
		return []epochAt{{s.hdr.FirstSeq, s.hdr.Epoch}}, nil
	}

	s.making.Lock()
	defer s.making.Unlock()
	if s.epochs == nil {
		x, err := chartOf(context.Background(), r.files, s.sealed)
		if err != nil {
			return nil, err
		}
		s.epochs = x.epochs
	}

	return s.epochs, nil
}

// Index keeps an index beside each finished segment, so that no reader has to make
// it: it makes the missing ones, latest first, and then one whenever a segment
// ends. Nothing waits for it. What fails is told and left to readers, which answer
// the same without. It returns when the context ends, which must be before Close.
func (l *Log) Index(ctx context.Context, failed func(error)) {
	seen := make(map[uint32]bool)
	for {
		if err := l.indexFinished(ctx, seen); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-l.ended:
		case <-ctx.Done():
			return
		}
	}
}

// indexFinished goes through the finished segments that it has not seen.
func (l *Log) indexFinished(ctx context.Context, seen map[uint32]bool) error {
	all, _, err := segment.Numbers(l.reader.files)
	if err != nil {
		return err
	}

	var errs []error
	current := l.committed.Load().Segment
	for _, n := range slices.Backward(all) {
		if n >= current || seen[n] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}

		seen[n] = true
		err := l.reader.orPruned(n, indexSegment(ctx, l.reader.files, n))
		if !errors.Is(err, ErrPruned) {
			errs = append(errs, err)
		}
	}

	return errors.Join(errs...)
}

// indexSegment makes a finished segment's index, unless there is one that fits.
func indexSegment(ctx context.Context, d segment.Files, n uint32) error {
	s, err := readSealed(d, n)
	if err != nil {
		return fmt.Errorf("indexing segment %d: %w", n, err)
	}
	if _, err := loadIndex(d, s); err == nil {
		return nil
	}

	raw, err := makeIndex(ctx, d, s)
	if err != nil {
		return fmt.Errorf("indexing segment %d: %w", n, err)
	}
	return writeIndex(d, n, raw)
}

// readSealed reads what a finished segment's header and seal say.
func readSealed(d segment.Files, n uint32) (*sealed, error) {
	f, err := d.Open(segment.Name(n), false)
	if err != nil {
		return nil, err
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}

	w := segment.NewWindow(f, size)
	h, err := segment.ReadHeader(w, n)
	if err != nil {
		return nil, err
	}

	return sealOf(w, &h, nil)
}

// loadIndex reads a segment's index from its file, all but its pages.
func loadIndex(d segment.Files, s *sealed) (*index, error) {
	f, err := d.Open(indexName(s.hdr.Number), false)
	if err != nil {
		return nil, fmt.Errorf("opening index: %w", err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("sizing index: %w", err)
	}

	return openIndex(s, f, size)
}

// open gives the bytes of the index.
func (x *index) open(d segment.Files) (io.ReaderAt, func() error, error) {
	if x.memory != nil {
		return bytes.NewReader(x.memory), func() error { return nil }, nil
	}
	f, err := d.Open(indexName(x.sealed.hdr.Number), false)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errIndex, err)
	}

	return f, f.Close, nil
}

// makeIndex returns a finished segment's index.
func makeIndex(ctx context.Context, d segment.Files, s *sealed) ([]byte, error) {
	x, err := chartOf(ctx, d, s)
	if err != nil {
		return nil, err
	}
	return x.encode(s), nil
}

// chartOf reads a finished segment. It does not check the chain, but that the
// frames go from the header to the seal.
func chartOf(ctx context.Context, d segment.Files, s *sealed) (*chart, error) {
	f, err := d.Open(segment.Name(s.hdr.Number), false)
	if err != nil {
		return nil, fmt.Errorf("opening segment %d: %w", s.hdr.Number, err)
	}

	defer f.Close()
	x := newChart(s.hdr)
	if err := x.grow(ctx, segment.NewWindow(f, s.size)); err != nil {
		return nil, err
	}
	if x.end != s.at || x.next != s.seal.NextSeq {
		return nil, segment.Corrupt(s.hdr.Number, x.end, "frames end at sequence number %d, the seal says %d", x.next, s.seal.NextSeq)
	}

	return x, nil
}

// writeIndex leaves an index beside its segment. Nothing is flushed: what a crash
// leaves of an index does not fit its checksums, and it is made again.
func writeIndex(d segment.Files, number uint32, raw []byte) error {
	temp := fmt.Sprintf("%s.%s.tmp", indexName(number), rand.Text())
	f, err := d.Create(temp)
	if err != nil {
		return fmt.Errorf("writing index of segment %d: %w", number, err)
	}

	_, err = f.WriteAt(raw, 0)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.Rename(temp, indexName(number))
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("writing index of segment %d: %w", number, err), d.Remove(temp))
	}

	return err
}

// errRewritten means that an erasure rewrote a segment while it was read.
var errRewritten = errors.New("the segment was rewritten for an erasure meanwhile; ask again")

// rewritten is a segment as it is now, if an erasure rewrote it since it was listed: s
// itself where none did. sc, if not nil, has it open.
func (r *Reader) rewritten(s *Indexed, sc *scanner) (*Indexed, error) {
	var h segment.Header
	var err error
	if sc != nil {
		h, err = segment.ReadHeader(segment.NewWindow(sc.file, segment.HeaderSize), s.hdr.Number)
	} else {
		h, err = readHeader(r.files, s.hdr.Number)
	}
	if err != nil || h == s.hdr {
		return s, nil // what is wrong with it shows where it is read
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.segs, func(have *Indexed) bool { return have.hdr.Number == h.Number })
	if i >= 0 && r.segs[i].hdr == h {
		return r.segs[i], nil
	}

	now, err := r.load(h.Number, false)
	if err == nil && i >= 0 {
		r.segs[i] = now
	}
	return now, err
}
