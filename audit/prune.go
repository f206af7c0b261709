package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// Cut says which finished segments Prune removes: the oldest, while all that a
// segment holds is before a time, or while its number is below another. One of
// both is set.
type Cut struct {
	Before  time.Time
	Segment uint32
}

// Pruning says how to prune.
type Pruning struct {
	Cut    Cut
	Keys   [][32]byte // the audit keys of the log; that of its last segment is among them
	DryRun bool       // look, and change nothing
	Now    time.Time

	givenUp func() error // nil: it is not; asked until the anchor is durable
}

// Pruned is what Prune removed, or would have.
type Pruned struct {
	Segments  []uint32  `json:"segments"`
	Entries   uint64    `json:"entries"`
	Batches   uint64    `json:"batches"`
	Decisions uint64    `json:"decisions"`
	Earliest  time.Time `json:"earliest,omitzero"`
	Latest    time.Time `json:"latest,omitzero"`
	Bytes     int64     `json:"bytes"`
	First     uint32    `json:"first_segment"` // that is left
	Head      string    `json:"head"`          // SEQ:CHAIN that the rest goes on from
	Held      *Held     `json:"held,omitempty"`
	DryRun    bool      `json:"dry_run"`
}

// Prune removes the oldest finished segments of the log in dir, and leaves an
// anchor: what the rest goes on from, under the audit key. It reads what it is
// about to remove as VerifyWith does, and removes nothing that is damaged: that
// would be the end of the evidence of it. A gateway may be writing meanwhile.
//
// Crash points: until the anchor is durable nothing is removed; from then on what
// lies before it is no part of the log, so that it does not matter how much of it
// is left. The next Prune removes it. It can be given up until then.
func Prune(ctx context.Context, dir string, p Pruning) (Pruned, error) {
	p.givenUp = ctx.Err
	done, err := PruneFiles(segment.Disk{Dir: dir}, p)
	if err != nil {
		err = fmt.Errorf("pruning decision log %s: %w", dir, err)
	}
	return done, err
}

// PruneFiles is Prune on any files.
func PruneFiles(d segment.Files, p Pruning) (Pruned, error) {
	pr, err := newPruner(d, p)
	if err != nil {
		return Pruned{}, err
	}

	anchor, err := pr.plan()
	if err != nil || p.DryRun {
		return pr.done, err
	}
	return pr.done, pr.carryOut(anchor)
}

// pruner reads what is to go as a verifier does.
type pruner struct {
	*verifier
	Pruning
	all   []uint32
	old   *segment.Anchor
	key   *segment.Key // of the last segment
	holds Holds
	done  Pruned
}

func newPruner(d segment.Files, p Pruning) (*pruner, error) {
	v, err := newVerifier(d, Known{Keys: p.Keys})
	if err != nil {
		return nil, err
	}
	if err := v.readMark(); err != nil {
		return nil, err
	}

	if p.givenUp != nil {
		v.givenUp = p.givenUp
	}

	pr := &pruner{verifier: v, Pruning: p}
	pr.done.DryRun = p.DryRun
	if pr.all, pr.old, err = segment.Numbers(d); err != nil {
		return nil, err
	}
	if pr.holds, err = ReadHolds(d, p.Keys); err != nil {
		return nil, err
	}

	switch {
	case len(pr.all) == 0:
		return nil, fmt.Errorf("the directory holds no segment of a log: %w", fs.ErrNotExist)
	case v.mark == nil:
		return nil, ErrNoMark
	}

	if pr.all, err = v.mark.UpTo(pr.all); err != nil {
		return nil, err
	}
	if len(pr.all) == 0 {
		return nil, fmt.Errorf("a gateway is making the log: %w", fs.ErrNotExist)
	}

	return pr, pr.findKey()
}

// findKey finds the key that the log is written under now: the anchor has to be
// under that one.
func (pr *pruner) findKey() error {
	h, _, _, err := pr.look(pr.all[len(pr.all)-1], false)
	if err != nil {
		return err
	}
	if pr.key = pr.keys.Find(h.KeyID); pr.key == nil {
		return fmt.Errorf("%w: it is under the audit key %x, which was not given", ErrForeign, h.KeyID)
	}

	return nil
}

// look reads a segment's header, and its seal if it is finished.
func (pr *pruner) look(n uint32, finished bool) (h segment.Header, s *Summary, size int64, err error) {
	f, err := pr.files.Open(segment.Name(n), false)
	if err != nil {
		return h, nil, 0, fmt.Errorf("opening segment %d: %w", n, err)
	}

	defer f.Close()
	if size, err = f.Size(); err != nil {
		return h, nil, 0, fmt.Errorf("sizing segment %d: %w", n, err)
	}

	w := segment.NewWindow(f, size)
	if h, err = segment.ReadHeader(w, n); err != nil || !finished {
		return h, nil, size, err
	}

	end, err := sealOf(w, &h, pr.keys.Find(h.KeyID))
	if err != nil {
		return h, nil, size, err
	}

	return h, end.seal, size, nil
}

// plan reads what is to go and returns the anchor that takes its place, or nil
// where nothing is.
func (pr *pruner) plan() (*segment.Anchor, error) {
	link, err := pr.begin(pr.old)
	if err != nil {
		return nil, err
	}

	var gone segment.Gone
	if pr.old != nil {
		gone = pr.old.Gone
	}

	before := link.NextSeq
	finished := pr.all[:len(pr.all)-1]
	for i, n := range finished {
		_, seal, size, err := pr.look(n, true)
		if err != nil {
			return nil, err
		}
		if !pr.Cut.takes(n, seal) {
			break
		}

		if by := pr.holds.keeping(seal); len(by) > 0 {
			if err := pr.keep(finished[i:], by); err != nil {
				return nil, err
			}
			break
		}
		if link, err = pr.segment(n, link, false); err != nil {
			return nil, err
		}

		pr.note(n, seal, size)
	}

	pr.done.First = link.Number + 1
	pr.done.Entries = link.NextSeq - before
	pr.done.Head = Head{link.NextSeq, link.Chain}.String()

	if len(pr.done.Segments) == 0 {
		return nil, nil
	}
	return pr.anchor(link, gone)
}

// keep notes that holds keep the first of some segments, and with it those behind it
// that would have gone: a log has no gaps.
func (pr *pruner) keep(segments []uint32, by []Hold) error {
	held := &Held{First: segments[0], Holds: by}
	for _, n := range segments {
		_, seal, size, err := pr.look(n, true)
		if err != nil {
			return err
		}
		if !pr.Cut.takes(n, seal) {
			break
		}

		held.Last = n
		held.Bytes += size
	}

	pr.done.Held = held
	return nil
}

// takes reports whether a finished segment is to go.
func (c Cut) takes(n uint32, s *Summary) bool {
	if c.Segment > 0 {
		return n < c.Segment
	}
	return s.MinTime > s.MaxTime || time.UnixMicro(s.MaxTime).Before(c.Before)
}

// note adds a segment that is to go.
func (pr *pruner) note(n uint32, s *Summary, size int64) {
	pr.done.Segments = append(pr.done.Segments, n)
	pr.done.Batches += s.batches
	pr.done.Decisions += s.decisions
	pr.done.Bytes += size

	if s.MinTime > s.MaxTime {
		return
	}

	earliest := time.UnixMicro(s.MinTime).UTC()
	latest := time.UnixMicro(s.MaxTime).UTC()
	if pr.done.Earliest.IsZero() || earliest.Before(pr.done.Earliest) {
		pr.done.Earliest = earliest
	}
	if latest.After(pr.done.Latest) {
		pr.done.Latest = latest
	}
}

// anchor makes what takes the place of all before link. The tags of what goes must
// have been checked: nobody can do that later.
func (pr *pruner) anchor(link segment.Link, gone segment.Gone) (*segment.Anchor, error) {
	for _, s := range pr.report.Segments {
		if s.Tags == TagsUnchecked {
			return nil, fmt.Errorf("%w: segment %d is under the audit key %s, which was not given", ErrForeign, s.Number, s.KeyID)
		}
	}

	if a := pr.report.Anchor; a != nil && a.Tags == TagsUnchecked {
		return nil, fmt.Errorf("%w: its anchor is under the audit key %s, which was not given", ErrForeign, a.KeyID)
	}

	h, _, _, err := pr.look(pr.done.First, false)
	if err != nil {
		return nil, err
	}
	if err := link.Follows(&h); err != nil {
		return nil, err
	}

	gone.Batches += pr.done.Batches
	gone.Decisions += pr.done.Decisions
	if earliest := pr.done.Earliest; !earliest.IsZero() { // segments of bindings alone have no entry
		if gone.Earliest == 0 || earliest.UnixMicro() < gone.Earliest {
			gone.Earliest = earliest.UnixMicro()
		}
		gone.Latest = max(gone.Latest, pr.done.Latest.UnixMicro())
	}

	return &segment.Anchor{
		First:   pr.done.First,
		Version: link.Version,
		NextSeq: link.NextSeq,
		Chain:   link.Chain,
		LogID:   link.LogID,
		Pruned:  pr.Now.UnixMicro(),
		Gone:    gone,
		Open:    slices.Sorted(maps.Keys(pr.state.open)),
	}, nil
}

// carryOut makes the anchor durable, and then removes what lies before it.
func (pr *pruner) carryOut(anchor *segment.Anchor) error {
	if anchor != nil {
		if err := pr.putAnchor(anchor); err != nil {
			return err
		}
	}

	names, err := pr.files.List()
	if err != nil {
		return fmt.Errorf("listing segments: %w", err)
	}

	slices.Sort(names) // the oldest first
	for _, name := range names {
		if n, ok := partOf(name); !ok || n >= pr.done.First {
			continue
		}
		if err := pr.files.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what was pruned: %w", err)
		}
	}

	return pr.files.SyncDir()
}

// putAnchor makes the anchor durable while nobody can add a hold. One that was added
// since the plan was made is not passed over.
func (pr *pruner) putAnchor(anchor *segment.Anchor) (err error) {
	draft, err := segment.OpenDraft(pr.files, HoldsName)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, draft.Close()) }()
	now, err := ReadHolds(pr.files, pr.Keys)
	if err != nil {
		return err
	}
	if !slices.Equal(now, pr.holds) {
		return ErrHoldsChanged
	}

	if err := pr.flushMark(); err != nil {
		return err
	}
	return anchor.Put(pr.files, pr.key)
}

// partOf returns the number of the segment that a file is, or is the index of.
func partOf(name string) (number uint32, ok bool) {
	stem, isIndex := strings.CutSuffix(name, ".idx")
	if isIndex {
		name = stem + ".wal"
	}
	return segment.ParseSegmentName(name)
}

// flushMark sees to it that no crash brings back a mark from before what is about to change.
func (v *verifier) flushMark() error {
	f, err := v.files.Open(segment.MarkName, true)
	if err != nil {
		return fmt.Errorf("opening committed mark: %w", err)
	}
	if err := errors.Join(f.Datasync(), f.Close()); err != nil {
		return fmt.Errorf("flushing committed mark: %w", err)
	}

	return nil
}
