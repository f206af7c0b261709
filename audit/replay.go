package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// Open opens the log in dir, making it if need be. It replays the last segment,
// cuts what a crash left of a frame there, and refuses with ErrCorrupt what no
// crash can leave: a damaged or missing segment, a bad frame that good ones
// follow, frames missing below the committed mark. Earlier segments are checked
// for their seals and links only; VerifyChain reads everything.
func Open(dir string, o Options) (*Log, error) {
	d, err := segment.OpenDisk(dir)
	if err != nil {
		return nil, fmt.Errorf("opening decision log: %w", err)
	}

	l, err := OpenFiles(d, o)
	if err != nil {
		return nil, fmt.Errorf("opening decision log %s: %w", dir, err)
	}
	return l, nil
}

// OpenFiles is Open on any files. They are closed with the log, or on an error.
func OpenFiles(d segment.Files, o Options) (*Log, error) {
	o = o.withDefaults()
	if len(o.Node) > segment.MaxNodeBytes {
		return nil, errors.Join(fmt.Errorf("node name is longer than %d bytes", segment.MaxNodeBytes), d.CloseFiles())
	}

	lock, err := d.Lock()
	if err != nil {
		return nil, errors.Join(err, d.CloseFiles())
	}

	l, err := openLocked(d, o, lock)
	if err != nil {
		return nil, errors.Join(err, d.CloseFiles(), lock.Close())
	}

	return l, nil
}

func openLocked(d segment.Files, o Options, lock io.Closer) (*Log, error) {
	r, err := newReplay(d, o)
	if err != nil {
		return nil, err
	}

	c, err := r.run()
	if err != nil {
		return nil, errors.Join(err, segment.CloseIf(r.file))
	}

	l, err := newLog(r, c, lock)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}

	go l.run(c)
	t, err := l.addControl(r.openEntry())
	if err == nil {
		err = t.Wait(context.Background()) // no MAC is made before its epoch is on disk
	}

	if err != nil {
		l.lock = nopCloser{} // the caller gives the lock back
		return nil, errors.Join(err, l.Close())
	}

	return l, nil
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

func newLog(r *replay, c *segment.Committer, lock io.Closer) (*Log, error) {
	mac, err := newMACer(r.opt.Key, r.epoch)
	if err != nil {
		return nil, err
	}

	l := &Log{
		opt:     r.opt,
		mac:     mac,
		logID:   c.Header.LogID,
		lock:    lock,
		wakes:   wakes{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)},
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
		w:       newWriter(r.state, &r.opt, c.Off),
	}

	m := segment.Mark{
		Segment: c.Header.Number,
		End:     c.Off,
		NextSeq: r.state.seq,
		Chain:   c.Chain,
	}
	if err := c.Establish(&m); err != nil {
		return nil, err
	}

	l.committed.Store(&m)
	l.w.carryLasting()
	if r.opt.NewSegment {
		l.w.began = time.Time{} // so that it is old enough to end
	}
	l.reader = NewReader(r.files, func() (*segment.Mark, error) { return l.committed.Load(), nil })
	return l, r.recallOpen(l.reader)
}

// replay brings a directory to the state that a committer can go on from.
type replay struct {
	files  segment.Files
	opt    Options
	epoch  segment.Epoch // the new one
	key    *segment.Key
	keys   segment.Keys // key, and that of a log which goes on under it
	anchor *segment.Anchor
	state  *state
	torn   int64        // bytes cut
	file   segment.File // last segment

	adopted []Step // what was taken on the operator's word
}

func newReplay(d segment.Files, o Options) (*replay, error) {
	key, err := chainKey(o.Key)
	if err != nil {
		return nil, err
	}

	r := &replay{
		files: d,
		opt:   o,
		key:   key,
		keys:  segment.Keys{key},
	}

	if o.PreviousKey != nil {
		previous, err := chainKey(*o.PreviousKey)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, previous)
	}

	return r, nil
}

func (r *replay) run() (*segment.Committer, error) {
	if _, err := rand.Read(r.epoch[:]); err != nil {
		return nil, fmt.Errorf("drawing epoch: %w", err)
	}
	all, anchor, err := segment.Numbers(r.files)
	if err != nil {
		return nil, err
	}

	r.anchor = anchor
	if len(all) > 0 {
		if r.file, err = segment.OpenLast(r.files, all); err != nil {
			return nil, err
		}
	}

	if err := r.sweep(); err != nil { // nobody else is at work here now
		return nil, err
	}

	mark, err := r.readMark(all)
	if err != nil {
		return nil, err
	}

	c := &segment.Committer{
		Files:   r.files,
		Limit:   r.opt.SegmentBytes,
		NoSync:  r.opt.InsecureNoSync,
		NextKey: r.key,
	}

	if len(all) == 0 {
		err = r.fresh(c)
	} else {
		err = r.existing(c, all, mark)
	}

	if err != nil {
		return nil, err
	}
	r.stamp(c)
	if c.Mark, err = segment.OpenMark(r.files); err != nil {
		return nil, fmt.Errorf("opening committed mark: %w", errors.Join(err, c.Close()))
	}

	return c, nil
}

// readMark returns the mark, or nil where there is none.
func (r *replay) readMark(all []uint32) (*segment.Mark, error) {
	m, marked, err := segment.ReadMark(r.files)
	if err != nil {
		return nil, fmt.Errorf("reading committed mark: %w", err)
	}
	if !marked {
		return nil, nil
	}

	_, err = m.UpTo(all)
	return &m, err
}

// sweep removes files that a crash left under temporary names.
func (r *replay) sweep() error {
	names, err := r.files.List()
	if err != nil {
		return err
	}

	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			if err := r.files.Remove(name); err != nil {
				return fmt.Errorf("removing temporary file: %w", err)
			}
		}
	}

	return nil
}

func (r *replay) fresh(c *segment.Committer) error {
	if _, err := rand.Read(c.Header.LogID[:]); err != nil {
		return fmt.Errorf("drawing log id: %w", err)
	}
	r.state = newState(1)
	r.stamp(c)
	return c.Begin(1)
}

// stamp sets what the headers of segments made from now on say of this Open.
func (r *replay) stamp(c *segment.Committer) {
	c.Header.Epoch = r.epoch
	c.Header.Node = r.opt.Node
	c.Header.Created = r.opt.Now().UnixMicro()
}

func (r *replay) existing(c *segment.Committer, all []uint32, m *segment.Mark) error {
	prev, err := r.sealedSegments(all[:len(all)-1])
	if err != nil {
		return err
	}

	number := all[len(all)-1]
	size, err := r.file.Size()
	if err != nil {
		return fmt.Errorf("sizing segment %d: %w", number, err)
	}

	k, err := segment.NewWalk(segment.NewWindow(r.file, size), number)
	if err != nil {
		return err
	}
	if err := prev.Follows(&k.Header); err != nil {
		return err
	}

	ours, err := r.recognise(k)
	if err != nil {
		return err
	}

	if err := k.Expect(m); err != nil {
		return err
	}
	if err := r.walkLast(k); err != nil {
		return err
	}
	if err := r.checkMark(k, m, &prev); err != nil {
		return err
	}
	if err := r.lastingBefore(all, k); err != nil {
		return err
	}

	c.Header = k.Header
	c.Key = k.Key
	c.File = r.file
	c.Off = k.Off
	c.Filled = k.Off
	c.Chain = k.Chain

	if err := r.anchorAgain(); err != nil {
		return err
	}
	if err := r.repair(c, k); err != nil || ours || k.Sealed {
		return err
	}

	return r.next(c)
}

// checkAnchor demands that the log begins where its writer said it does.
func (r *replay) checkAnchor() error {
	if r.anchor == nil {
		return nil
	}
	key := r.keys.Find(r.anchor.KeyID)
	switch {
	case key == nil:
		return fmt.Errorf("%w: its anchor is under the audit key %x, and this gateway has the key %x", ErrForeign, r.anchor.KeyID, r.key.ID)
	case !r.anchor.Under(key):
		return errForgedAnchor
	}

	return nil
}

// anchorAgain puts the anchor of a log under the key that it goes on under.
func (r *replay) anchorAgain() error {
	if r.anchor == nil || r.anchor.KeyID == r.key.ID {
		return nil
	}
	return r.anchor.Put(r.files, r.key)
}

// recognise finds the key of the last segment, and reports whether this gateway
// goes on in it. A log of another gateway, or under a key that is not known, is
// not continued without a word.
func (r *replay) recognise(k *segment.Walk) (ours bool, err error) {
	h := &k.Header
	if k.Key = r.keys.Find(h.KeyID); k.Key == nil {
		return false, fmt.Errorf("%w: it is under the audit key %x, and this gateway has the key %x", ErrForeign, h.KeyID, r.key.ID)
	}
	if h.Node != r.opt.Node && h.Node != r.opt.Adopt {
		return false, fmt.Errorf("%w: it is the log of gateway %q, and this one is %q", ErrForeign, h.Node, r.opt.Node)
	}

	if h.Version == segment.Untagged {
		if !r.adoptsItself() {
			return false, fmt.Errorf("%w: segment %d", ErrUntagged, h.Number)
		}
		r.adopted = append(r.adopted, Step{Name: "tags", Verdict: "absent", Detail: fmt.Sprintf("up to segment %d", h.Number)})
	}
	if h.Node != r.opt.Node {
		r.adopt("gateway", h.Node)
	}
	if k.Key != r.key {
		r.adopt("audit_key", hex.EncodeToString(h.KeyID[:]))
	}

	return h.Version == segment.Current && h.Node == r.opt.Node && k.Key == r.key, nil
}

func (r *replay) adopt(name, before string) {
	r.adopted = append(r.adopted, Step{Name: name, Verdict: "changed", Detail: "before: " + before})
}

// adoptsItself reports whether the operator says that what nothing proves is the
// log of this gateway all the same.
func (r *replay) adoptsItself() bool { return r.opt.Adopt == r.opt.Node && r.opt.Node != "" }

// takenOnWord are the steps of an opening that only the operator vouches for. Logs
// from before an opening had its own fields hold those as steps, too.
func takenOnWord(e *ControlEntry) (steps []Step) {
	for _, s := range e.Steps {
		if s.Name != stepEpoch && s.Name != stepKeyID {
			steps = append(steps, s)
		}
	}
	return steps
}

// checkMark demands the mark that a log cannot be without, or the operator's word
// that it is to be continued all the same.
func (r *replay) checkMark(k *segment.Walk, m *segment.Mark, before *segment.Link) error {
	err := k.HasMark(m, before)
	if errors.Is(err, ErrNoMark) && r.adoptsItself() {
		r.adopted = append(r.adopted, Step{Name: "committed_mark", Verdict: "missing", Detail: fmt.Sprintf("continued at entry %d", r.state.seq)})
		return nil
	}
	return err
}

// next ends the last segment, and begins one of this gateway.
func (r *replay) next(c *segment.Committer) error {
	seal := r.state.sealPayload()
	r.stamp(c)
	r.state.beginSegment()
	r.file = nil // the committer's

	if err := c.Roll(seal, r.state.seq); err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// sealedSegments checks the links of all segments but the last, and begins the
// state with what their last seal says is open.
func (r *replay) sealedSegments(all []uint32) (segment.Link, error) {
	if err := r.checkAnchor(); err != nil {
		return segment.Link{}, err
	}

	prev := r.anchor.Link()
	state := newStateAt(r.anchor)
	for _, n := range all {
		s, h, chain, err := r.sealed(n)
		if err != nil {
			return segment.Link{}, err
		}
		if err := prev.Follows(&h); err != nil {
			return segment.Link{}, err
		}

		prev = segment.Link{
			Version: h.Version.Begun(),
			Number:  n,
			NextSeq: s.NextSeq,
			Chain:   h.LinkChain(chain),
			LogID:   h.LogID,
		}

		gone := max(state.gone, s.MaxTime)
		state = newState(s.NextSeq)
		state.gone = gone
		for _, seq := range s.open {
			state.open[seq] = nil // see recallOpen
		}
	}

	r.state = state
	return prev, nil
}

func (r *replay) sealed(n uint32) (*Summary, segment.Header, segment.Chain, error) {
	f, err := r.files.Open(segment.Name(n), false)
	if err != nil {
		return nil, segment.Header{}, segment.Chain{}, fmt.Errorf("opening segment %d: %w", n, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, segment.Header{}, segment.Chain{}, fmt.Errorf("sizing segment %d: %w", n, err)
	}

	w := segment.NewWindow(f, size)
	h, err := segment.ReadHeader(w, n)
	if err != nil {
		return nil, h, segment.Chain{}, err
	}

	s, err := sealOf(w, &h, r.keys.Find(h.KeyID))
	if err != nil {
		return nil, h, segment.Chain{}, err
	}

	return s.seal, h, s.chain, nil
}

// walkLast replays the last segment.
func (r *replay) walkLast(k *segment.Walk) error {
	r.state.epoch = k.Header.Epoch
	if err := k.Run(r.state.apply); err != nil {
		return err
	}

	var err error
	if k.Sealed {
		_, err = k.Footer()
	} else {
		r.torn, err = k.Tail()
	}

	if err != nil {
		return err
	}
	return k.MetMark()
}

// repair makes the last segment fit to go on with. A failed flush may have left
// the last frame in the page cache but marked clean, so that flushing again
// would do nothing: it is written again.
func (r *replay) repair(c *segment.Committer, k *segment.Walk) error {
	if k.Last > 0 {
		b := make([]byte, k.Off-k.Last)
		if _, err := r.file.ReadAt(b, k.Last); err != nil {
			return fmt.Errorf("reading last frame: %w", err)
		}
		if _, err := r.file.WriteAt(b, k.Last); err != nil {
			return fmt.Errorf("writing last frame: %w", err)
		}
	}

	if err := r.blank(k.Off); err != nil {
		return fmt.Errorf("cutting torn tail: %w", err)
	}
	if k.Sealed {
		return r.afterSeal(c, k)
	}
	if err := c.Flush(r.file); err != nil {
		return fmt.Errorf("flushing segment %d: %w", k.Header.Number, err)
	}
	if c.NoSync {
		return nil
	}
	if err := r.files.SyncDir(); err != nil { // a crash may have come between rename and flush
		return fmt.Errorf("flushing directory: %w", err)
	}

	return nil
}

// blank writes zeros over what a torn frame left.
func (r *replay) blank(from int64) error {
	if r.torn == 0 {
		return nil
	}
	_, err := r.file.WriteAt(bytes.Repeat([]byte{0}, int(r.torn)), from)
	return err
}

// afterSeal finishes a roll that a crash cut short.
func (r *replay) afterSeal(c *segment.Committer, k *segment.Walk) error {
	footer := segment.AppendFooter(nil, k.Last)
	if _, err := r.file.WriteAt(footer, k.Off); err != nil {
		return fmt.Errorf("writing footer: %w", err)
	}

	c.Off += segment.FooterSize
	if err := c.Trim(); err != nil {
		return fmt.Errorf("trimming segment %d: %w", k.Header.Number, err)
	}

	r.stamp(c)
	r.state.beginSegment()
	r.file = nil // the committer's

	if err := c.BeginNext(r.state.seq); err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// recallOpen reads the facts of open batches that lie in earlier segments. Those
// of batches before the anchor are gone for good.
func (r *replay) recallOpen(rd *Reader) error {
	first := r.anchor.Link().NextSeq
	for seq, ref := range r.state.open {
		if ref != nil || seq < first {
			continue
		}
		ref, err := rd.refOf(seq)
		if err != nil {
			return fmt.Errorf("reading open batch %d: %w", seq, err)
		}

		r.state.open[seq] = ref
	}

	return nil
}
