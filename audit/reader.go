package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"

	"github.com/guardlock/guardlock/audit/segment"
)

// A reader keeps the indexes of so many finished segments: the blocks of those
// that lie in files, and the whole of those that it had to make.
const (
	maxIndexes    = 64
	maxOwnIndexes = 4
)

// Reader answers queries from a log's files. It needs no key, writes nothing of
// the log, and may be used beside a gateway that is writing: then it sees what is
// durable. Its methods are safe for concurrent use.
type Reader struct {
	files segment.Files
	keep  bool // leaves the indexes that it has to make beside their segments, where it may
	// position gives the durable end of the log; nil if nobody is writing, so
	// that every complete frame counts.
	position func() (*segment.Mark, error)

	// guarded by mu
	mu    sync.Mutex
	segs  []*Indexed
	late  map[bindKey]Bind // from seals: bindings of batches in earlier segments
	clock uint64
}

// Indexed is one segment as a reader knows it. A new value takes its place when
// it is sealed.
type Indexed struct {
	hdr    segment.Header
	Seal   *Summary // nil for the last
	sealed *sealed  // nil for the last
	chart  *chart   // of the last; nil for finished ones
	idx    *index   // guarded by Reader.mu; nil until needed
	used   uint64   // guarded by Reader.mu
	making sync.Mutex
	epochs []epochAt // guarded by making; of a finished segment whose seal does not tell them
}

// Entries are the sequence numbers of the segment: from first on, below next. The last
// segment still grows, and says no end.
func (s *Indexed) Entries() (first, next uint64) {
	if s.Seal == nil {
		return s.hdr.FirstSeq, math.MaxUint64
	}
	return s.Seal.Entries()
}

// NewReader reads a log from d. position gives its durable end; nil if nobody is
// writing, so that every complete frame counts.
func NewReader(d segment.Files, position func() (*segment.Mark, error)) *Reader {
	return &Reader{files: d, position: position, late: make(map[bindKey]Bind)}
}

// OpenReader opens the log in dir for reading.
func OpenReader(dir string) (*Reader, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("opening decision log: %w", err)
	}
	d := segment.Disk{Dir: dir}
	r := NewReader(d, func() (*segment.Mark, error) { return CommittedMark(d) })
	r.keep = true
	return r, nil
}

// CommittedMark returns the mark while a gateway writes, else nil: a mark may
// be older than the frames.
func CommittedMark(d segment.Files) (*segment.Mark, error) {
	busy, err := d.Locked()
	if err != nil || !busy {
		return nil, err
	}

	for range 100 { // a mark read while it is written does not add up
		m, ok, err := segment.ReadMark(d)
		if err != nil || ok {
			return &m, err
		}
	}

	return &segment.Mark{}, nil // a gateway is making the log
}

// Marked reports whether the committed mark is there, without which entries that were
// cut off at the end are not missed. A log that nothing was written to needs none.
func (r *Reader) Marked() (bool, error) {
	all, _, err := segment.Numbers(r.files)
	if err != nil || len(all) == 0 {
		return true, err
	}

	writing, err := r.files.Locked()
	if err != nil || writing {
		return true, err // its gateway has it, or would not write
	}
	_, marked, err := segment.ReadMark(r.files)
	return marked, err
}

// Close forgets what the reader knows.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.segs = nil
	r.late = make(map[bindKey]Bind)
	return nil
}

// Refresh brings the list of segments and the last one's index up to date. The
// result is oldest first, and the caller's.
func (r *Reader) Refresh() ([]*Indexed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.position()
	if err != nil {
		return nil, err
	}
	if err := r.list(m); err != nil {
		return nil, err
	}

	if n := len(r.segs); n > 0 {
		if err := r.growLast(r.segs[n-1], m); err != nil {
			return nil, err
		}
	}

	return append([]*Indexed(nil), r.segs...), nil
}

// list learns of segments that are new, of seals, and of an anchor.
func (r *Reader) list(m *segment.Mark) error {
	// A mark behind what was seen is that of a gateway which is still opening.
	n := len(r.segs)
	if m != nil && n > 0 && m.Segment <= r.segs[n-1].hdr.Number {
		return nil
	}

	all, anchor, err := segment.Numbers(r.files)
	if err != nil {
		return err
	}

	if m != nil {
		if all, err = m.UpTo(all); err != nil {
			return err
		}
	}

	r.forget(anchor)
	for i, n := range all {
		last := i == len(all)-1
		if i < len(r.segs) && (r.segs[i].Seal != nil || last) {
			continue
		}

		s, err := r.load(n, last)
		if err != nil {
			return err
		}
		r.segs = append(r.segs[:i], s)
	}

	return nil
}

// forget drops the segments that were pruned.
func (r *Reader) forget(anchor *segment.Anchor) {
	first := anchor.Link().Number + 1
	for len(r.segs) > 0 && r.segs[0].hdr.Number < first {
		r.segs = r.segs[1:]
	}
}

// orPruned is the error of opening a segment that was listed: ErrPruned where
// somebody pruned it since.
func (r *Reader) orPruned(number uint32, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	anchor, anchorErr := segment.ReadAnchor(r.files)
	if anchorErr == nil && number <= anchor.Link().Number {
		return fmt.Errorf("segment %d: %w", number, ErrPruned)
	}

	return errors.Join(err, anchorErr)
}

// load reads a segment's header, and its seal unless it is the last.
func (r *Reader) load(number uint32, last bool) (*Indexed, error) {
	f, size, err := r.openSegment(number)
	if err != nil {
		return nil, err
	}

	defer f.Close()
	s := &Indexed{}
	if s.hdr, err = segment.ReadHeader(segment.NewWindow(f, min(size, segment.HeaderSize)), number); err != nil || last {
		return s, err
	}
	if s.sealed, err = sealOf(segment.NewWindow(f, size), &s.hdr, nil); err != nil {
		return nil, err
	}

	s.Seal = s.sealed.seal

	for _, b := range s.Seal.late {
		r.late[bindKey{b.Seq, b.Route}] = b
	}
	return s, nil
}

func (r *Reader) openSegment(number uint32) (segment.File, int64, error) {
	f, err := r.files.Open(segment.Name(number), false)
	if err != nil {
		return nil, 0, fmt.Errorf("opening segment %d: %w", number, r.orPruned(number, err))
	}

	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("sizing segment %d: %w", number, err)
	}

	return f, size, nil
}

func (r *Reader) growLast(s *Indexed, m *segment.Mark) error {
	fresh := s.chart == nil
	if fresh {
		s.chart = newChart(s.hdr)
	}
	if m != nil && (m.End <= s.chart.end || m.Segment != s.hdr.Number) {
		return nil
	}

	f, size, err := r.openSegment(s.hdr.Number)
	if err != nil {
		return err
	}

	defer f.Close()
	if m != nil {
		size = min(size, m.End)
	}

	w := segment.NewWindow(f, size)
	if err := s.chart.grow(context.Background(), w); err != nil {
		return err
	}

	if m == nil && fresh { // no answer rather than one from half a segment
		at, found, err := w.AnyFrame(&s.hdr, s.chart.end)
		if err != nil {
			return err
		}
		if found && !s.chart.sealedAt(w, at) {
			return segment.Corrupt(s.hdr.Number, s.chart.end, "bad frame, but a good one follows at byte %d", at)
		}
	}

	if m != nil && s.chart.end != m.End {
		return segment.Corrupt(s.hdr.Number, s.chart.end, "ends before byte %d, which the committed mark says is durable", m.End)
	}
	return nil
}

// NextSeq is the sequence number behind what Refresh found.
func (r *Reader) NextSeq(segs []*Indexed) uint64 {
	if len(segs) == 0 {
		return 1
	}
	v := segs[len(segs)-1].chart.view()
	return v.Next
}

// Refused lists the batches that are stored nowhere by what their bindings say, in
// any order.
func (r *Reader) Refused(segs []*Indexed) (all []uint64) {
	for _, s := range segs {
		if s.Seal != nil {
			all = append(all, s.Seal.refused...)
		} else {
			all = append(all, s.chart.refusals()...)
		}
	}
	return all
}

// refOf returns the facts of one batch.
func (r *Reader) refOf(seq uint64) (*BatchRef, error) {
	var ref *BatchRef
	err := r.At(seq, func(it *Item) {
		if it.Kind == KindBatch {
			ref = it.Batch.ref(seq, it.Epoch)
		}
	})
	if err == nil && ref == nil {
		err = ErrNotFound
	}

	return ref, err
}
