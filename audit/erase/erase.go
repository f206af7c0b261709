// Package erase takes personal values out of a decision log, on the word of several
// people, and leaves every proof as it was.
//
// # Order
//
// Each step is durable before the next:
//
//  1. the segment that is written is finished, and another begun, so that all values are
//     in finished ones;
//  2. every entry so far has its leaf in the tree, which needs the values;
//  3. for each segment that has a value: the entry that says what it is about to become,
//     under which request and who signed that; the rewritten segment in its place; the
//     table without the values' salts in the place of the tree's secret.
//
// A crash leaves a log with some segments rewritten and the rest not, in which one may
// not be yet what an entry says of it: verify tells that. Run, run again with the same
// request, does the rest.
//
// # Trust
//
// Whether enough people signed a request is for the caller to have checked: Run writes
// down who he says they were, and the request's digest, with which their signatures can
// be checked by whoever has kept the request. What was copied before is not reached:
// backups, exports, files of evidence.
package erase

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/disk"
)

var (
	// ErrHeld means that a legal hold keeps a segment as it is. Nothing was erased.
	ErrHeld = errors.New("a legal hold keeps what is to be erased")
	// ErrRemains means that a value is still in the log though all was done.
	ErrRemains = errors.New("not everything is erased")
)

// Signer is somebody who signed the request. Bundle is his signature, which is kept beside
// the log as approvals are: with the request's digest in the log it can be checked by
// whoever has no request any more.
type Signer struct {
	audit.Signer
	Bundle []byte
}

// Options say which log is erased from, on whose word.
type Options struct {
	Dir     string
	Log     audit.Options // the gateway's: keys and name are needed
	Former  [][32]byte    // audit keys that older segments are under
	Request *Request
	Signers []Signer // of the request
	By      string   // who runs this; nothing proves it

	// Progress, if not nil, is told how many segments of how many were looked at.
	Progress func(done, of int)
}

// Done is what was erased, or would be.
type Done struct {
	Segments []audit.Redaction `json:"segments"` // that had a value
	Entries  int               `json:"entries"`  // in them, that had one
	Clear    int               `json:"clear"`    // entries in which one stays, since evidence has it in clear
	Held     []audit.Hold      `json:"held"`     // that keep one of the segments
	// Otherwise counts entries that stay and name a value in another spelling: case,
	// percent-encoding, Unicode form. Spelled are the first of them.
	Otherwise int             `json:"otherwise"`
	Spelled   []audit.Spelled `json:"otherwise_in"`
	DryRun    bool            `json:"dry_run"`
}

func (d *Done) add(r audit.Redaction) {
	d.Clear += r.Clear
	d.Otherwise += r.Otherwise
	d.Spelled = append(d.Spelled, r.Spelled[:min(len(r.Spelled), audit.MaxSpelled-len(d.Spelled))]...)
	if r.Entries > 0 {
		d.Segments = append(d.Segments, r)
		d.Entries += r.Entries
	}
}

// Look tells what Run would do, and changes nothing. A gateway may be writing meanwhile: of
// the segment that it writes it tells in how many entries a value stands whole, and neither
// where in them nor which holds keep it.
func Look(ctx context.Context, o Options) (Done, error) {
	done, err := o.look(ctx)
	if err != nil {
		return done, fmt.Errorf("looking through decision log %s: %w", o.Dir, err)
	}
	return done, nil
}

func (o *Options) look(ctx context.Context) (Done, error) {
	done := Done{DryRun: true, Spelled: []audit.Spelled{}}
	r, err := audit.OpenReader(o.Dir)
	if err != nil {
		return done, err
	}
	defer r.Close()

	numbers, err := r.Segments()
	if err != nil || len(numbers) == 0 {
		return done, cmp.Or(err, fs.ErrNotExist)
	}
	last := len(numbers) - 1
	if err := o.find(ctx, numbers[:last], &done); err != nil {
		return done, err
	}

	written, err := o.written(ctx, r, numbers[last])
	done.add(written)
	return done, err
}

// find looks for the values in finished segments, and for the holds on those.
func (o *Options) find(ctx context.Context, numbers []uint32, done *Done) error {
	held := make(map[string]bool)
	for i, n := range numbers {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := audit.FindPersonal(o.Dir, n, o.keys(), o.Request.personal())
		if err != nil {
			return err
		}

		done.add(r)
		if o.Progress != nil {
			o.Progress(i+1, len(numbers))
		}
		if r.Entries == 0 {
			continue
		}

		by, err := audit.KeptBy(o.Dir, n, o.keys())
		if err != nil {
			return err
		}
		for _, h := range by {
			if !held[h.ID] {
				done.Held = append(done.Held, h)
			}
			held[h.ID] = true
		}
	}
	return nil
}

func (o *Options) keys() [][32]byte {
	keys := append([][32]byte{o.Log.Key}, o.Former...)
	if o.Log.PreviousKey != nil {
		keys = append(keys, *o.Log.PreviousKey)
	}
	return keys
}

// written counts the entries with a value in the segment that is written.
func (o *Options) written(ctx context.Context, r *audit.Reader, n uint32) (found audit.Redaction, err error) {
	node, err := r.Node()
	if err != nil {
		return found, err
	}

	found.Segment = n
	personal := o.Request.personal()
	spellings := personal.Spellings()
	values := o.Request.set()
	has := false
	note := func(value string) evidence.Name {
		has = has || values[value]
		return evidence.Name{}
	}

	err = r.Cursor(audit.Position{Segment: n}).Read(ctx, func(f *audit.Frame) error {
		return f.Each(func(e *audit.Entry) error {
			has = false
			e.Leaf(note)
			if has {
				found.Entries++
			}
			found.AddSpelled(node, e.Seq, spellings.In(e))
			return nil
		})
	})
	return found, err
}

// Run erases. A gateway that writes the log is audit.ErrLocked; a hold on a segment that
// would be rewritten is ErrHeld, and nothing is erased then: the log has an opening more.
func Run(ctx context.Context, o Options) (Done, error) {
	done, err := o.run(ctx)
	if err != nil {
		return done, fmt.Errorf("erasing from decision log %s: %w", o.Dir, err)
	}
	return done, nil
}

func (o *Options) run(ctx context.Context) (done Done, err error) {
	// Nobody adds a hold meanwhile.
	holds, err := segment.OpenDraft(segment.Disk{Dir: o.Dir}, audit.HoldsName)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, holds.Close()) }()

	done.Spelled = []audit.Spelled{}
	o.Log.NewSegment = true
	log, err := audit.Open(o.Dir, o.Log)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := tree.CatchUp(ctx, log.Reader(), filepath.Join(o.Dir, tree.DirName)); err != nil {
		return done, err
	}

	numbers, err := log.Reader().Segments()
	if err != nil {
		return done, err
	}
	last := len(numbers) - 1
	if err := o.find(ctx, numbers[:last], &done); err != nil {
		return done, err
	}
	if len(done.Held) > 0 {
		return done, ErrHeld
	}

	if err := o.eraseAll(ctx, log, done.Segments); err != nil {
		return done, err
	}
	if _, err := tree.Forget(o.Dir); err != nil { // what a crash left of an earlier one, too
		return done, err
	}
	return done, o.nothingRemains(ctx, log, numbers[last])
}

// eraseAll erases from each segment, once the log says so.
func (o *Options) eraseAll(ctx context.Context, log *audit.Log, segments []audit.Redaction) error {
	if len(segments) == 0 {
		return nil
	}
	if err := o.keepSignatures(); err != nil {
		return err
	}
	told, err := lastErasures(ctx, log.Reader())
	if err != nil {
		return err
	}

	for i := range segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if segments[i], err = o.erase(ctx, log, segments[i].Segment, told); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) people() (all []audit.Signer) {
	for i := range o.Signers {
		all = append(all, o.Signers[i].Signer)
	}
	return all
}

func (o *Options) keepSignatures() error {
	digest := o.Request.Digest()
	for _, s := range o.Signers {
		if err := tree.ApprovalsOf(o.Dir).Keep(hex.EncodeToString(digest[:]), s.KeyID, s.Bundle); err != nil {
			return fmt.Errorf("keeping the signature of %s: %w", s.Identity, err)
		}
	}
	return nil
}

func (o *Options) erase(ctx context.Context, log *audit.Log, n uint32, told lastTold) (audit.Redaction, error) {
	dir := filepath.Join(o.Dir, tree.DirName)
	e := audit.Erasing{Keys: o.keys(), Request: o.Request.Digest(), Personal: o.Request.personal(), DryRun: true}
	r, err := tree.EraseOn(disk.OS, dir, o.Dir, n, e)
	if err != nil {
		return r, err
	}

	says := audit.Erasure{Request: e.Request, Redaction: r, Signers: o.people(), By: o.By, Reason: o.Request.Number}
	entry := audit.NewErasure(says)
	if !slices.Equal(told[entry.Subject], entry.Facts) {
		if err := log.RecordErasure(ctx, says); err != nil {
			return r, err
		}
	}

	e.DryRun = false
	return tree.EraseOn(disk.OS, dir, o.Dir, n, e)
}

// lastTold is what the log says last of the erasure from each segment, by its file. What
// was said before that counts no more.
type lastTold map[string][]audit.Fact

func lastErasures(ctx context.Context, r *audit.Reader) (lastTold, error) {
	told := make(lastTold)
	search := audit.Search{To: math.MaxInt64, Segment: func(s *audit.Summary) bool { return s.Kinds&(1<<audit.KindErasure) != 0 }}
	err := r.Scan(ctx, search, func(it *audit.Item) (bool, error) {
		if it.Kind == audit.KindErasure {
			told[it.Control.Subject] = it.Control.Facts
		}
		return true, nil
	})
	return told, err
}

// nothingRemains looks at the segment that is written, which nothing is erased from. It
// begins with what is repeated of the log before it, as legal holds and who added them.
func (o *Options) nothingRemains(ctx context.Context, log *audit.Log, n uint32) error {
	left, err := o.written(ctx, log.Reader(), n)
	if err != nil {
		return err
	}
	if left.Entries > 0 {
		return fmt.Errorf("%w: segment %d repeats what names a value, in %d entries", ErrRemains, n, left.Entries)
	}
	return nil
}
