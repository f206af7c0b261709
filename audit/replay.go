package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Open opens the log in dir, making it if need be. It replays the last segment,
// cuts what a crash left of a frame there, and refuses with ErrCorrupt what no
// crash can leave: a damaged or missing segment, a bad frame that good ones
// follow, frames missing below the committed mark. Earlier segments are checked
// for their seals and links only; VerifyChain reads everything.
func Open(dir string, o Options) (*Log, error) {
	d, err := openDisk(dir)
	if err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	l, err := open(d, o)
	if err != nil {
		return nil, fmt.Errorf("opening audit log %s: %w", dir, err)
	}
	return l, nil
}

func open(d files, o Options) (*Log, error) {
	o = o.withDefaults()
	if len(o.Node) > maxNodeBytes {
		return nil, errors.Join(fmt.Errorf("node name is longer than %d bytes", maxNodeBytes), d.close())
	}
	lock, err := d.lock()
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	l, err := openLocked(d, o, lock)
	if err != nil {
		return nil, errors.Join(err, d.close(), lock.Close())
	}
	return l, nil
}

func openLocked(d files, o Options, lock io.Closer) (*Log, error) {
	r := &replay{files: d, opt: o}
	c, err := r.run()
	if err != nil {
		return nil, errors.Join(err, closeIf(r.file))
	}
	l, err := newLog(r, c, lock)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	go l.run(c)
	t, err := l.addControl(openEntry(o, r.epoch, r.torn))
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

func newLog(r *replay, c *committer, lock io.Closer) (*Log, error) {
	mac, err := newMACer(r.opt.Key, r.epoch)
	if err != nil {
		return nil, err
	}
	l := &Log{opt: r.opt, mac: mac, logID: c.hdr.logID, lock: lock,
		kick: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}),
		w: newWriter(r.state, r.opt.SegmentBytes, c.off)}
	m := mark{segment: c.hdr.number, end: c.off, nextSeq: r.state.seq, chain: c.chain}
	if err := c.publish(&m); err != nil {
		return nil, err
	}
	l.committed.Store(&m)
	l.reader = newReader(r.files, func() (*mark, error) { return l.committed.Load(), nil })
	return l, r.recallOpen(l.reader)
}

// replay brings a directory to the state that a committer can go on from.
type replay struct {
	files files
	opt   Options
	epoch epoch // the new one
	state *state
	torn  int64 // bytes cut
	file  file  // last segment
}

func (r *replay) run() (*committer, error) {
	if _, err := rand.Read(r.epoch[:]); err != nil {
		return nil, fmt.Errorf("drawing epoch: %w", err)
	}
	if err := r.sweep(); err != nil {
		return nil, err
	}
	all, err := numbers(r.files)
	if err != nil {
		return nil, err
	}
	m, marked, err := readMark(r.files)
	if err != nil {
		return nil, fmt.Errorf("reading committed mark: %w", err)
	}
	if marked && int(m.segment) > len(all) {
		return nil, fmt.Errorf("%w: segment %d is missing: the committed mark names it", ErrCorrupt, m.segment)
	}
	c := &committer{files: r.files, limit: r.opt.SegmentBytes, noSync: r.opt.InsecureNoSync}
	if len(all) == 0 {
		err = r.fresh(c)
	} else {
		err = r.existing(c, all, m, marked)
	}
	if err != nil {
		return nil, err
	}
	r.stamp(c)
	if c.mark, err = openMark(r.files); err != nil {
		return nil, fmt.Errorf("opening committed mark: %w", errors.Join(err, c.close()))
	}
	return c, nil
}

// sweep removes files that a crash left under temporary names.
func (r *replay) sweep() error {
	names, err := r.files.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			if err := r.files.remove(name); err != nil {
				return fmt.Errorf("removing temporary file: %w", err)
			}
		}
	}
	return nil
}

func (r *replay) fresh(c *committer) error {
	if _, err := rand.Read(c.hdr.logID[:]); err != nil {
		return fmt.Errorf("drawing log id: %w", err)
	}
	r.state = newState(1)
	r.stamp(c)
	return c.begin(1)
}

// stamp sets what the headers of segments made from now on say of this Open.
func (r *replay) stamp(c *committer) {
	c.hdr.epoch, c.hdr.keyID, c.hdr.node = r.epoch, keyID(r.opt.Key), r.opt.Node
	c.hdr.created = r.opt.Now().UnixMicro()
}

func (r *replay) existing(c *committer, all []uint32, m mark, marked bool) error {
	prev, err := r.sealedSegments(all[:len(all)-1])
	if err != nil {
		return err
	}
	number := all[len(all)-1]
	if r.file, err = r.files.open(segmentName(number), true); err != nil {
		return fmt.Errorf("opening segment %d: %w", number, err)
	}
	size, err := r.file.size()
	if err != nil {
		return fmt.Errorf("sizing segment %d: %w", number, err)
	}
	k, err := newWalk(newWindow(r.file, size), number)
	if err != nil {
		return err
	}
	if err := prev.follows(&k.hdr); err != nil {
		return err
	}
	if marked && m.segment == number {
		k.mark = &m
	}
	if err := r.walkLast(k); err != nil {
		return err
	}
	c.hdr, c.file, c.off, c.filled, c.chain = k.hdr, r.file, k.off, k.off, k.chain
	return r.repair(c, k)
}

// sealedSegments checks the links of all segments but the last, and begins the
// state with what their last seal says is open.
func (r *replay) sealedSegments(all []uint32) (link, error) {
	prev, open := link{nextSeq: 1}, []uint64(nil)
	for _, n := range all {
		s, h, chain, err := r.sealed(n)
		if err != nil {
			return link{}, err
		}
		if err := prev.follows(&h); err != nil {
			return link{}, err
		}
		prev, open = link{number: n, nextSeq: s.nextSeq, chain: chain, logID: h.logID}, s.open
	}
	r.state = newState(prev.nextSeq)
	for _, seq := range open {
		r.state.open[seq] = nil // see recallOpen
	}
	return prev, nil
}

func (r *replay) sealed(n uint32) (*summary, header, chainValue, error) {
	f, err := r.files.open(segmentName(n), false)
	if err != nil {
		return nil, header{}, chainValue{}, fmt.Errorf("opening segment %d: %w", n, err)
	}
	defer f.Close()
	size, err := f.size()
	if err != nil {
		return nil, header{}, chainValue{}, fmt.Errorf("sizing segment %d: %w", n, err)
	}
	w := newWindow(f, size)
	h, err := readHeader(w, n)
	if err != nil {
		return nil, h, chainValue{}, err
	}
	s, chain, err := sealOf(w, &h)
	return s, h, chain, err
}

// walkLast replays the last segment.
func (r *replay) walkLast(k *walk) error {
	r.state.epoch = k.hdr.epoch
	if err := k.run(r.state); err != nil {
		return err
	}
	var err error
	if k.sealed {
		_, err = k.footer()
	} else {
		r.torn, err = k.tail()
	}
	if err != nil {
		return err
	}
	return k.metMark()
}

// repair makes the last segment fit to go on with. A failed flush may have left
// the last frame in the page cache but marked clean, so that flushing again
// would do nothing: it is written again.
func (r *replay) repair(c *committer, k *walk) error {
	if k.last > 0 {
		b := make([]byte, k.off-k.last)
		if _, err := r.file.ReadAt(b, k.last); err != nil {
			return fmt.Errorf("reading last frame: %w", err)
		}
		if _, err := r.file.WriteAt(b, k.last); err != nil {
			return fmt.Errorf("writing last frame: %w", err)
		}
	}
	if err := r.blank(k.off); err != nil {
		return fmt.Errorf("cutting torn tail: %w", err)
	}
	if k.sealed {
		return r.afterSeal(c, k)
	}
	if err := c.flush(r.file); err != nil {
		return fmt.Errorf("flushing segment %d: %w", k.hdr.number, err)
	}
	if c.noSync {
		return nil
	}
	if err := r.files.syncDir(); err != nil { // a crash may have come between rename and flush
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
func (r *replay) afterSeal(c *committer, k *walk) error {
	footer := appendFooter(nil, k.last)
	if _, err := r.file.WriteAt(footer, k.off); err != nil {
		return fmt.Errorf("writing footer: %w", err)
	}
	c.off += footerSize
	if err := c.trim(); err != nil {
		return fmt.Errorf("trimming segment %d: %w", k.hdr.number, err)
	}
	r.stamp(c)
	sealed := r.file
	c.file, r.file = nil, nil
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("closing segment %d: %w", k.hdr.number, err)
	}
	r.state.beginSegment()
	return c.begin(r.state.seq)
}

// recallOpen reads the facts of open batches that lie in earlier segments.
func (r *replay) recallOpen(rd *Reader) error {
	for seq, ref := range r.state.open {
		if ref != nil {
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
