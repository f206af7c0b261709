package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/disk"
)

// ErrNotCommitted means that the last checkpoint does not speak for an entry yet.
var ErrNotCommitted = errors.New("no checkpoint speaks for it yet")

// ErrNoTree means that nothing commits to the log.
var ErrNoTree = errors.New("there is no tree over the decision log")

// ErrNoStamp means that no time-stamping authority was asked yet.
var ErrNoStamp = errors.New("no checkpoint has a time stamp")

// ErrNotWitnessed means that no checkpoint was cosigned by every witness yet, or that there
// are none.
var ErrNotWitnessed = errors.New("no checkpoint is cosigned by every witness")

// Prover makes evidence from a log and the tree over it, as they are on disk. It writes
// nothing, and may be used beside the gateway that writes both.
type Prover struct {
	store      store
	reader     *audit.Reader
	signed     string
	checkpoint evidence.Checkpoint
	edge       *evidence.Edge
}

// OpenProver reads the last checkpoint of the tree in dir. Its signature is not
// checked: whoever gets the evidence does that.
func OpenProver(dir string, r *audit.Reader) (*Prover, error) {
	return openProver(disk.OS, dir, r, CheckpointName, ErrNoTree)
}

// OpenProverOn is OpenProver on another disk than disk.OS.
func OpenProverOn(s disk.System, dir string, r *audit.Reader) (*Prover, error) {
	return openProver(s, dir, r, CheckpointName, ErrNoTree)
}

// OpenStampedProver does it with the last checkpoint that has a time stamp, and is older
// than the last, mostly.
func OpenStampedProver(dir string, r *audit.Reader) (*Prover, error) {
	return openProver(disk.OS, dir, r, stampedName, ErrNoStamp)
}

// OpenWitnessedProver does it with the last checkpoint that every witness cosigned: the
// last of all waits for them, for as long as one does not answer.
func OpenWitnessedProver(dir string, r *audit.Reader) (*Prover, error) {
	return openProver(disk.OS, dir, r, witnessedName, ErrNotWitnessed)
}

func openProver(s disk.System, dir string, r *audit.Reader, name string, none error) (*Prover, error) {
	p := &Prover{store: store{dir, s}, reader: r}
	signed, err := p.store.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", none, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading checkpoint: %w", err)
	}

	p.signed = string(signed)
	_, err = note.Open(signed, nil)
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, p.store.path(name), err)
	}
	if p.checkpoint, err = evidence.ParseCheckpoint(unverified.Note.Text); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, p.store.path(name), err)
	}

	// The edge is written before the checkpoint: it reaches as far at least.
	if p.edge, _, err = p.store.edge(); err != nil {
		return nil, err
	}
	if p.edge.Size() < p.checkpoint.Size {
		return nil, fmt.Errorf("%w: its edge is behind its checkpoint", ErrDamaged)
	}
	return p, nil
}

// Checkpoint is the one that evidence is made with.
func (p *Prover) Checkpoint() evidence.Checkpoint { return p.checkpoint }

// Wanted are the entries that tell what became of a record.
type Wanted struct {
	Record     evidence.Record
	Decision   uint64   // sequence numbers
	Admissions []uint64 // of the modules that ran
	Authority  uint64   // what the gateway served under; 0: it is not enclosed
	Route      string   // not empty: the record was routed there
	Names      bool     // tell the names behind the digests
	Approvals  Approvals
}

// Prove makes the evidence. It returns ErrNotCommitted where an entry is behind the
// checkpoint, and audit.ErrNotFound where the log does not hold one.
func (p *Prover) Prove(ctx context.Context, w Wanted) (*evidence.File, error) {
	f := &evidence.File{Format: evidence.Format, Record: w.Record, Checkpoint: p.signed}
	hashes := evidence.NewProver(p.checkpoint.Size, p.checkpoint.Root, &tiles{ctx: ctx, store: p.store, reader: p.reader, edge: p.edge})

	for _, match := range w.matches() {
		found, err := p.find(ctx, match)
		if err != nil {
			return nil, err
		}

		e := evidence.Entry{Index: found.index, Leaf: found.leaf}
		if e.Path, err = hashes.Path(found.index); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if w.Names {
			e.Names = found.told
		}
		f.Entries = append(f.Entries, e)
		if f.Approvals, err = w.Approvals.enclose(f.Approvals, found.leaf); err != nil {
			return nil, err
		}
	}

	return f, nil
}

// match finds one entry: it is not before the entry with a sequence number.
type match struct {
	from uint64
	is   func(*audit.Entry) bool
}

func (w *Wanted) matches() []match {
	bySeq := func(seq uint64) match {
		return match{seq, func(e *audit.Entry) bool { return e.Seq == seq }}
	}

	var all []match
	if w.Authority > 0 {
		all = append(all, bySeq(w.Authority))
	}
	for _, seq := range w.Admissions {
		all = append(all, bySeq(seq))
	}
	all = append(all, bySeq(w.Decision))
	return append(all, match{w.Decision, func(e *audit.Entry) bool {
		b := e.Bind
		return b != nil && b.Seq == w.Decision && b.Route == w.Route && b.Base >= 0
	}})
}

// leafAt is an entry as a leaf of the tree.
type leafAt struct {
	index int64
	leaf  []byte
	told  []evidence.Opened
}

var errFound = errors.New("found")

// find reads the log from the beginning of the segment that holds an entry.
func (p *Prover) find(ctx context.Context, m match) (found leafAt, err error) {
	segment, err := p.reader.SegmentOf(m.from)
	if err != nil {
		return found, err
	}

	w := walk{store: p.store, next: -1}
	err = p.reader.Cursor(audit.Position{Segment: segment}).Read(ctx, func(f *audit.Frame) error {
		return w.frame(f, func(index int64, n *names, e *audit.Entry) error {
			if index >= p.checkpoint.Size {
				return fmt.Errorf("entry %d: %w", index, ErrNotCommitted)
			}
			if m.is(e) {
				found = tell(index, n, e)
				return errFound
			}
			return nil
		})
	})

	switch {
	case errors.Is(err, errFound):
		return found, nil
	case err == nil:
		err = audit.ErrNotFound
	}
	return found, fmt.Errorf("looking for an entry from %d on: %w", m.from, err)
}

// tell makes a leaf, and keeps the names that it was made with.
func tell(index int64, n *names, e *audit.Entry) leafAt {
	found := leafAt{index: index}
	l := e.Leaf(func(value string) evidence.Name {
		if value != "" {
			found.told = append(found.told, evidence.Open(n.salt(value), value))
		}
		return n.of(value)
	})
	found.leaf = l.Append(nil)
	return found
}

// walk counts leaves along frames.
type walk struct {
	store store
	names *names
	next  int64 // index of the next leaf
}

// frame gives fn the leaves of a frame.
func (w *walk) frame(f *audit.Frame, fn func(int64, *names, *audit.Entry) error) error {
	if w.names == nil || w.names.segment != f.Segment {
		n, err := w.store.names(f.Segment)
		if errors.Is(err, fs.ErrNotExist) { // the tree has not come so far
			return fmt.Errorf("segment %d: %w", f.Segment, ErrNotCommitted)
		}
		if err != nil {
			return err
		}
		w.names = n
		w.next = n.first
	}

	return f.Each(func(e *audit.Entry) error {
		w.next++
		return fn(w.next-1, w.names, e)
	})
}

// skip passes over a frame without reading its entries, if all of its leaves come
// before an index.
func (w *walk) skip(f *audit.Frame, before int64) bool {
	if w.names == nil || w.names.segment != f.Segment || w.next+int64(f.Entries) > before {
		return false
	}
	w.next += int64(f.Entries)
	return true
}

// tiles are those of a tree: from the store, from its edge, and level 0 from the log.
type tiles struct {
	ctx    context.Context //nolint:containedctx // evidence.Tiles has none
	store  store
	reader *audit.Reader
	edge   *evidence.Edge
	fresh  map[int64][]byte // of level 0; nil for those who did not make them
}

// Tile implements evidence.Tiles.
func (t *tiles) Tile(level int, n int64, w int) ([]byte, error) {
	if data, ok := t.edge.Tile(level, n); ok {
		return data, nil
	}
	if level == 0 {
		if data, ok := t.fresh[n]; ok {
			return data, nil
		}
		return t.leaves(n*evidence.TileWidth, w)
	}

	b, err := t.store.read(tileName(level, n))
	if err != nil {
		return nil, fmt.Errorf("reading tile %d of level %d: %w", n, level, err)
	}
	return b, nil
}

// leaves gives the hashes of leaves from an index on.
func (t *tiles) leaves(from int64, count int) ([]byte, error) {
	segment, err := t.segmentOf(from)
	if err != nil {
		return nil, err
	}

	end := from + int64(count)
	out := make([]byte, 0, count*tlog.HashSize)
	w := walk{store: t.store}
	err = t.reader.Cursor(audit.Position{Segment: segment}).Read(t.ctx, func(f *audit.Frame) error {
		if w.skip(f, from) {
			return nil
		}
		return w.frame(f, func(index int64, n *names, e *audit.Entry) error {
			if index >= end {
				return errFound
			}
			if index >= from {
				l := e.Leaf(n.of)
				h := evidence.HashOf(l.Append(nil))
				out = append(out, h[:]...)
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, err
	}
	return out, nil
}

// segmentOf finds the segment that holds a leaf.
func (t *tiles) segmentOf(index int64) (uint32, error) {
	all, err := t.reader.Segments()
	if err != nil {
		return 0, err
	}

	for i := len(all) - 1; i >= 0; i-- {
		n, err := t.store.names(all[i])
		if errors.Is(err, fs.ErrNotExist) {
			continue // the tree has not come so far
		}
		if err != nil {
			return 0, err
		}
		if n.first <= index {
			return all[i], nil
		}
	}

	return 0, fmt.Errorf("leaf %d: %w", index, audit.ErrPruned)
}
