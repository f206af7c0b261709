package audit

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/guardlock/guardlock/audit/segment"
)

// framePos is where a frame lies and the sequence number it begins with.
type framePos struct {
	off int64
	seq uint64
}

type bindKey struct {
	seq   uint64
	route string
}

type epochAt struct {
	seq   uint64 // first that it holds for
	epoch segment.Epoch
}

// index is what a reader keeps of one segment: its strings, frames and
// bindings. That of the last segment grows.
type index struct {
	hdr segment.Header

	// guarded by mu
	mu     sync.Mutex
	end    int64
	next   uint64 // sequence number behind the last frame
	dict   *dict
	frames []framePos
	binds  []Bind
	byKey  map[bindKey]int32
	epochs []epochAt
}

func newIndex(h segment.Header) *index {
	return &index{
		hdr:    h,
		end:    segment.HeaderSize,
		next:   h.FirstSeq,
		dict:   &dict{},
		byKey:  make(map[bindKey]int32),
		epochs: []epochAt{{h.FirstSeq, h.Epoch}},
	}
}

// grow reads the frames between what is known and the end of the window.
func (x *index) grow(w *segment.Window) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		f, err := segment.ReadFrame(w, &x.hdr, x.end)
		if errors.Is(err, segment.ErrNoFrame) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", x.hdr.Number, err)
		}
		if f.Sealed() {
			return nil
		}
		if err := x.add(&f); err != nil {
			return segment.Corrupt(x.hdr.Number, x.end, "%w", err)
		}
	}
}

// sealedAt reports whether the frames end where a seal begins.
func (x *index) sealedAt(w *segment.Window, at int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, err := segment.ReadFrame(w, &x.hdr, at)
	return err == nil && f.Sealed() && at == x.end
}

func (x *index) add(f *segment.Frame) error {
	p, err := parsePayload(f.Payload)
	if err != nil {
		return err
	}
	if err := p.define(x.dict); err != nil {
		return err
	}
	if p.firstSeq != x.next {
		return fmt.Errorf("frame begins at sequence number %d, expected %d: %w", p.firstSeq, x.next, errEntry)
	}
	if err := p.each(func(r rawEntry) error { return x.note(r, p.base) }); err != nil {
		return err
	}

	x.frames = append(x.frames, framePos{x.end, p.firstSeq})
	x.end = f.End()
	return nil
}

func (x *index) note(r rawEntry, base int64) error {
	if r.seq != 0 {
		x.next = r.seq + 1
	}
	c := cursor{b: r.body, strs: x.dict.strs}
	switch r.kind {
	case kindBind:
		var b Bind
		if err := c.bind(&b, base); err != nil {
			return err
		}
		x.byKey[bindKey{b.Seq, b.Route}] = int32(len(x.binds))
		x.binds = append(x.binds, b)
	case KindOpen:
		var e ControlEntry
		if err := c.control(&e, r.kind, base); err != nil {
			return err
		}
		if o, ok := e.opening(); ok {
			x.epochs = append(x.epochs, epochAt{r.seq, o.Epoch})
		}
	}

	return nil
}

// binding returns the binding of a batch (route empty) or one of its routes.
func (x *index) binding(k bindKey) (Bind, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, ok := x.byKey[k]
	if !ok {
		return Bind{}, false
	}
	return x.binds[i], true
}

// covering lists the bindings that cover a coordinate, oldest first.
func (x *index) covering(at Coord, offset int64) []Bind {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []Bind
	for i := range x.binds {
		if b := &x.binds[i]; b.contains(offset) && b.is(at) {
			out = append(out, *b)
		}
	}

	return out
}

// view is a snapshot of what never changes once written.
type view struct {
	strs   []string
	Frames []framePos
	epochs []epochAt
	Next   uint64
}

func (x *index) View() view {
	x.mu.Lock()
	defer x.mu.Unlock()
	return view{x.dict.strs, x.frames, x.epochs, x.next}
}

// FrameOf returns the index of the frame that holds seq, which must not be
// below the first.
func (v *view) FrameOf(seq uint64) int {
	return sort.Search(len(v.Frames), func(i int) bool { return v.Frames[i].seq > seq }) - 1
}

func (v *view) epochOf(seq uint64) (e segment.Epoch) {
	for _, at := range v.epochs {
		if at.seq <= seq {
			e = at.epoch
		}
	}
	return e
}
