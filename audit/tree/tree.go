// Package tree commits to a decision log: it grows a Merkle tree (RFC 6962) over the
// log's entries, and signs a checkpoint of it now and then.
//
// # Order
//
// The tree follows the log: an entry is durable there before it gets a leaf here, and
// a produce waits for nothing of this package. A checkpoint is made in this order,
// each step durable before the next:
//
//  1. the names' secret of each segment that leaves are of, and each tile that is full;
//  2. the edge, with how far of the log it reaches;
//  3. the signed checkpoint;
//  4. what witnesses say of it, and, once all of them have, a copy for readers;
//  5. its copies;
//  6. a time stamp of it, now and then, in a file of its own.
//
// What a crash leaves of step 1 or 2 no checkpoint speaks for: it is made again from
// the log.
//
// # Files
//
// The directory holds `checkpoint` (C2SP tlog-checkpoint), `witnessed` (the last that
// every witness cosigned, while `checkpoint` waits for them), `stamped` (the last that has
// a time stamp), `edge`, `names-00000001` for each segment of the log, and `tile/LEVEL/N`
// for each full tile from level 1 on (C2SP tlog-tiles). Tiles of level 0 follow from the log and the names.
// docs/evidence.md gives the bytes.
//
// # Trust
//
// A log that was put back to what it was, or written anew, does not contain its last
// checkpoint any more, and Open refuses it. Whoever can put back the checkpoint as
// well is found by a copy of it in another place. The key that signs is in the hands
// of the gateway: what is said from a takeover on can be invented.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/witness"
	"github.com/guardlock/guardlock/internal/disk"
)

// DirName is that of the tree in a log's directory.
const DirName = "tree"

// The errors that callers branch on.
var (
	// ErrDamaged means that files of the tree are not what was written.
	ErrDamaged = errors.New("the tree over the decision log is damaged")
	// ErrUnwitnessed means that a witness could not be asked, and the rest is well.
	ErrUnwitnessed = errors.New("not every witness cosigned the checkpoint")
	// ErrUnstamped means that the time-stamping authority could not be asked, and the
	// rest is well.
	ErrUnstamped = errors.New("the checkpoint got no time stamp")
	// ErrRolledBack means that the log is not the one that the last checkpoint speaks
	// for: it was put back, cut or written anew.
	ErrRolledBack = errors.New("the decision log does not contain its last checkpoint")
)

// Options configure Open.
type Options struct {
	// Dir holds the tree.
	Dir string
	// Signer signs checkpoints; its name is the log's origin.
	Signer note.Signer
	// Verifier is the signer's other half.
	Verifier note.Verifier
	// Copies are files elsewhere that each checkpoint is written to, too.
	Copies []string
	// Witnesses are asked to cosign each checkpoint.
	Witnesses []*witness.Client
	// Stamps has a checkpoint stamped now and then. Optional.
	Stamps *Stamping
	// Disk is where the tree and the copies lie; nil is disk.OS.
	Disk disk.System
}

// Stamping is when an authority is asked for a time stamp. It is for one goroutine.
type Stamping struct {
	// Authority stamps the text of a note, and returns a line for its end.
	Authority interface {
		Stamp(ctx context.Context, text string) (line []byte, err error)
	}
	// Every is the time between two stamps.
	Every time.Duration

	next time.Time // not before
}

// stampAgain is how long an authority that failed is left alone, so that the next
// checkpoints do not wait for it.
const stampAgain = time.Minute

// Tree is the tree over one log, for its one writer. It is for one goroutine.
type Tree struct {
	opt    Options
	store  store
	reader *audit.Reader
	cursor *audit.Cursor
	edge   *evidence.Edge
	names  *names // of the segment that the edge is in; nil before the first
	last   evidence.Checkpoint
	signed []byte // last; nil before the first
	shown  shown

	memory  audit.LeafMemory // of a leaf
	scratch []byte           // its bytes
	fresh   map[int64][]byte // tiles of level 0 that were filled since the witnesses were asked
}

// shown is to whom the last checkpoint was shown.
type shown struct {
	witnesses bool // all of them
	copies    bool
	stamped   bool
}

// maxFresh bounds the tiles that are kept for the witnesses. What is not kept is made
// again from the log.
const maxFresh = 1024

// Open goes on with the tree in a directory, and holds it and the log against its last
// checkpoint and the copies of that. It returns ErrRolledBack where one of these speaks
// for another log or a longer one. Where the tree is behind a copy it is extended first.
func Open(ctx context.Context, r *audit.Reader, o Options) (*Tree, error) {
	t, err := goOn(ctx, r, o)
	if err != nil {
		return nil, err
	}

	own := []string{t.store.path(CheckpointName), t.store.path(witnessedName), t.store.path(stampedName)}
	for _, path := range append(own, o.Copies...) {
		if err := t.contains(ctx, path); err != nil {
			return nil, err
		}
	}

	return t, nil // copies may be behind: they are written with the next checkpoint
}

// CatchUp gives each entry of a log a leaf in the tree beside it, and signs nothing: the
// gateway does at its next start. It is for who has the log to himself.
func CatchUp(ctx context.Context, r *audit.Reader, dir string) error {
	t, err := goOn(ctx, r, Options{Dir: dir})
	if err != nil {
		return err
	}
	if err := t.Extend(ctx); err != nil {
		return err
	}
	return t.store.putEdge(t.edge, t.cursor.Position())
}

// goOn is the tree in a directory, as far as its edge reaches.
func goOn(ctx context.Context, r *audit.Reader, o Options) (*Tree, error) {
	if o.Disk == nil {
		o.Disk = disk.OS
	}
	if err := disk.MakeDirs(o.Disk, filepath.Dir(o.Dir), o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the tree's directory: %w", err)
	}

	t := &Tree{opt: o, store: store{o.Dir, o.Disk}, reader: r, fresh: make(map[int64][]byte)}
	edge, at, err := t.store.edge()
	if err != nil {
		return nil, err
	}
	t.edge = edge
	t.cursor = r.Cursor(at)
	if at.Segment != 0 {
		t.names, err = t.store.names(at.Segment)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil:
			return nil, err
		}
	}

	if err := t.cursor.Check(ctx); errors.Is(err, audit.ErrNoPosition) {
		return nil, fmt.Errorf("%w: %w", ErrRolledBack, err)
	} else if err != nil {
		return nil, fmt.Errorf("going on with the tree: %w", err)
	}

	return t, nil
}

// contains holds the tree against a checkpoint in a file. One that is not there says
// nothing.
func (t *Tree) contains(ctx context.Context, path string) error {
	signed, err := t.opt.Disk.Read(path, maxStoredBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading checkpoint: %w", err)
	}

	c, _, err := evidence.OpenCheckpoint(signed, note.VerifierList(t.opt.Verifier))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrRolledBack, path, err)
	}
	if c.Size > t.edge.Size() {
		if err := t.Extend(ctx); err != nil {
			return err
		}
	}
	if c.Size > t.edge.Size() {
		return fmt.Errorf("%w: %s speaks for %d entries, and the log has %d", ErrRolledBack, path, c.Size, t.edge.Size())
	}

	root, err := t.rootAt(ctx, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%w: the first %d entries are not those that %s speaks for", ErrRolledBack, c.Size, path)
	}

	if c.Size > t.last.Size {
		t.last = c
		t.signed = signed
	}
	return nil
}

// rootAt is the root of the tree when it had that size.
func (t *Tree) rootAt(ctx context.Context, size int64) (evidence.Hash, error) {
	now, err := t.edge.Root()
	if err != nil || size == t.edge.Size() || size == 0 {
		if size == 0 {
			now, err = new(evidence.Edge).Root()
		}
		return now, err
	}

	p := t.prover(ctx, now)
	root, err := p.RootAt(size)
	if err != nil {
		return root, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return root, nil
}

func (t *Tree) prover(ctx context.Context, root evidence.Hash) *evidence.Prover {
	return evidence.NewProver(t.edge.Size(), root, &tiles{ctx: ctx, store: t.store, reader: t.reader, edge: t.edge, fresh: t.fresh})
}

// Size is the number of leaves, and Committed that of the last checkpoint.
func (t *Tree) Size() int64      { return t.edge.Size() }
func (t *Tree) Committed() int64 { return t.last.Size }

// Extend gives each entry that the log has got since a leaf.
func (t *Tree) Extend(ctx context.Context) error {
	err := t.cursor.Read(ctx, t.add)
	if err != nil {
		return fmt.Errorf("extending the tree: %w", err)
	}
	return nil
}

func (t *Tree) add(f *audit.Frame) error {
	if t.names == nil || t.names.segment != f.Segment {
		n, err := t.store.names(f.Segment)
		if errors.Is(err, fs.ErrNotExist) {
			n, err = t.store.makeNames(f.Segment, t.edge.Size())
		}
		if err == nil && n.first != t.edge.Size() {
			err = fmt.Errorf("%w: names of segment %d begin at leaf %d, and it begins at %d", ErrDamaged, f.Segment, n.first, t.edge.Size())
		}
		if err != nil {
			return err
		}
		t.names = n
	}

	return f.Each(func(e *audit.Entry) error {
		l := e.LeafIn(&t.memory, t.names.of)
		var hash evidence.Hash
		hash, t.scratch = l.Hash(t.scratch)
		return t.edge.Append(hash, t.full)
	})
}

func (t *Tree) full(level int, n int64, hashes []evidence.Hash) error {
	if level > 0 {
		return t.store.tile(level, n, hashes)
	}

	// What came since the last checkpoint takes a busy gateway tenths of a second, and
	// the scheduler would let produces wait behind it for 10 ms at a time.
	runtime.Gosched()

	if len(t.opt.Witnesses) > 0 && len(t.fresh) < maxFresh {
		t.fresh[n] = tileBytes(hashes)
	}
	return nil // it follows from the log
}

// Checkpoint extends the tree to the log's durable end, signs it if it has grown, and
// writes the copies. It returns how many entries the last checkpoint speaks for.
func (t *Tree) Checkpoint(ctx context.Context) (int64, error) {
	if err := t.Extend(ctx); err != nil {
		return t.last.Size, err
	}
	if t.edge.Size() > t.last.Size {
		if err := t.sign(); err != nil {
			return t.last.Size, err
		}
	}
	if t.signed == nil {
		return 0, nil
	}

	err := t.witness(ctx)
	if errors.Is(err, ErrRolledBack) {
		return t.last.Size, err
	}
	return t.last.Size, errors.Join(err, t.copy(), t.stamp(ctx))
}

// stamp has the last checkpoint stamped, if it is time to. It returns ErrUnstamped where
// the authority gave no stamp that holds, which is tried again.
func (t *Tree) stamp(ctx context.Context) error {
	s := t.opt.Stamps
	now := time.Now()
	if s == nil || now.Before(s.next) || t.shown.stamped {
		return nil
	}

	line, err := s.Authority.Stamp(ctx, t.last.Text())
	if err != nil {
		s.next = now.Add(min(stampAgain, s.Every))
		return fmt.Errorf("%w: %w", ErrUnstamped, err)
	}
	if err := t.store.write(stampedName, slices.Concat(t.signed, line)); err != nil {
		return err
	}
	s.next = now.Add(s.Every)
	t.shown.stamped = true
	return nil
}

// copy writes the last checkpoint to where it is not yet.
func (t *Tree) copy() error {
	if t.shown.copies {
		return nil
	}
	for _, path := range t.opt.Copies {
		if err := disk.Keep(t.opt.Disk, path, t.signed, 0o644); err != nil {
			return fmt.Errorf("copying the checkpoint: %w", err)
		}
	}
	t.shown.copies = true
	return nil
}

// witness has the last checkpoint cosigned. It returns ErrUnwitnessed where a witness
// could not be asked, which is tried again, and ErrRolledBack where one saw another
// history.
func (t *Tree) witness(ctx context.Context) error {
	if t.shown.witnesses || len(t.opt.Witnesses) == 0 {
		return nil
	}
	own, err := t.last.Sign(t.opt.Signer)
	if err != nil {
		return err
	}

	prover := t.prover(ctx, t.last.Root)
	lines := own
	var failed []error
	for _, w := range t.opt.Witnesses {
		line, err := w.Add(ctx, own, t.last, prover.Consistency)
		switch {
		case errors.Is(err, witness.ErrAhead), errors.Is(err, witness.ErrForked):
			return fmt.Errorf("%w: %w", ErrRolledBack, err)
		case err != nil:
			failed = append(failed, fmt.Errorf("%w: %w", ErrUnwitnessed, err))
		default:
			lines = append(lines[:len(lines):len(lines)], line...)
		}
	}

	if len(lines) > len(own) {
		if err := t.store.write(CheckpointName, lines); err != nil {
			return err
		}
		t.signed = lines
		t.shown.copies = false
	}
	if len(failed) == 0 {
		if err := t.store.write(witnessedName, lines); err != nil {
			return err
		}
		t.shown.witnesses = true
	}
	clear(t.fresh)
	return errors.Join(failed...)
}

// sign makes a checkpoint of the tree as it is, in the order of the package comment.
func (t *Tree) sign() error {
	root, err := t.edge.Root()
	if err != nil {
		return err
	}
	c := evidence.Checkpoint{Origin: t.opt.Signer.Name(), Size: t.edge.Size(), Root: root}
	signed, err := c.Sign(t.opt.Signer)
	if err != nil {
		return err
	}

	if err := t.store.putEdge(t.edge, t.cursor.Position()); err != nil {
		return err
	}
	if err := t.store.write(CheckpointName, signed); err != nil {
		return err
	}
	t.last = c
	t.signed = signed
	t.shown = shown{}
	return nil
}
