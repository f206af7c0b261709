package audit

import (
	"encoding/binary"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// flight is the outcome of one commit; all its tickets share it.
type flight struct {
	done chan struct{}
	err  error // valid once done is closed
}

// chunk is the content of one frame: what was appended since the committer
// last came by.
type chunk struct {
	flight  *flight
	head    []byte // set when the chunk is closed
	defs    []byte
	entries []byte
	nonce   uint64 // of the last brief batch in it
	seq     uint64 // first
	base    int64
	seal    []byte // not nil: the segment before ends with this seal, the chunk begins a new one
	next    uint64 // sequence number behind the chunk; set when it is closed
}

func (c *chunk) empty() bool  { return len(c.entries) == 0 }
func (c *chunk) pending() int { return len(c.defs) + len(c.entries) }

func (c *chunk) close(next uint64) {
	c.next = next
	c.head = binary.AppendUvarint(c.head[:0], c.seq)
	c.head = binary.AppendVarint(c.head, c.base)
	c.head = binary.AppendUvarint(c.head, uint64(len(c.defs)))
}

func (c *chunk) size() int64 { return segment.FrameSize(len(c.head) + len(c.defs) + len(c.entries)) }

// commit is the chunk as the segment takes it.
func (c *chunk) commit() *segment.Commit {
	return &segment.Commit{
		Seal:     c.seal,
		FirstSeq: c.seq,
		NextSeq:  c.next,
		Payload:  [3][]byte{c.head, c.defs, c.entries},
	}
}

// encoder writes the chunk's next entry; add takes it.
func (c *chunk) encoder(d *dict, memory []byte) encoder {
	return encoder{dict: d, defs: c.defs, out: memory[:0], brief: true, first: c.seq, nonce: c.nonce}
}

func (c *chunk) add(e *encoder) {
	c.defs = e.defs
	c.nonce = e.nonce
	c.entries = appendEntry(c.entries, e.out)
}

// headBound is at least the length of a chunk's head.
const headBound = 3 * binary.MaxVarintLen64

// writer orders entries and turns them into chunks. It knows where each chunk
// will lie, so it decides where segments end. It does no I/O; Log.mu guards it.
type writer struct {
	*state
	limit   int64
	age     time.Duration // that a segment may have before what comes begins a new one
	now     func() time.Time
	began   time.Time // of the current segment
	enc     encoder
	start   int64 // where cur will lie in its segment
	cur     *chunk
	ready   []*chunk
	taken   *flight // of the last chunk that the committer took; nil before the first
	pending int
	free    int64    // bytes of the disk; negative: it is not known
	spare   []*chunk // for their memory
}

func newWriter(s *state, o *Options, start int64) *writer {
	w := &writer{
		state: s,
		limit: o.SegmentBytes,
		age:   o.SegmentAge,
		now:   o.Now,
		began: o.Now(),
		start: start,
		free:  -1,
	}

	if s.sum.NextSeq > s.sum.firstSeq {
		w.began = time.UnixMicro(s.sum.MinTime)
	}
	return w
}

// full reports whether the disk may have no room for the next segment. The current one
// has reserved its own, and gives back what it has not used when it ends.
func (w *writer) full() bool { return w.free >= 0 && w.free < w.start+int64(w.pending)+diskReserve }

// batch encodes an entry and gives it the next sequence number.
func (w *writer) addBatch(b *BatchEntry) (uint64, *flight) {
	w.begin(b.sizeBound(), b.Time)
	w.enc.batch(b, w.cur.base)
	w.finish()
	w.noteBatch(b)
	return w.seq - 1, w.cur.flight
}

func (w *writer) addControl(c *ControlEntry) (uint64, *flight) {
	w.begin(c.sizeBound(), c.Time)
	w.enc.control(c, w.cur.base)
	w.finish()
	w.noteControl(c)
	return w.seq - 1, w.cur.flight
}

// addBinding reports false for a batch that is not open.
func (w *writer) addBinding(seq uint64, in Placement, now time.Time) bool {
	ref := w.open[seq]
	if ref == nil {
		return false
	}

	b, ok := ref.bind(in)
	if !ok {
		return false
	}

	w.begin(256+len(b.Cluster)+len(b.Topic)+len(b.Route), now)
	w.enc.bind(&b, w.cur.base)
	w.finish()
	w.noteBind(&b)

	return true
}

// bind completes a binding; ok is false for a route that the batch did not take.
func (r *BatchRef) bind(in Placement) (b Bind, ok bool) {
	b = Bind{
		Seq:       r.Seq,
		Coord:     Coord{r.Cluster, r.Topic, r.Partition},
		Route:     in.Route,
		Base:      max(in.BaseOffset, -1),
		count:     r.Records,
		ErrorCode: in.ErrorCode,
		Recovered: in.Recovered,
		Leader:    in.Leader,
	}

	if in.Route != "" {
		b.Topic = in.Route
		b.Partition = in.Partition
		b.count = r.routed(in.Route)
	}

	if in.ErrorCode != 0 {
		b.Base = -1
	}
	if b.Base < 0 {
		b.count = 0
		b.Leader = 0
	}
	if !in.AppendTime.IsZero() {
		b.AppendTime = in.AppendTime.UnixMicro()
	}

	return b, in.Route == "" || r.routed(in.Route) > 0
}

func (r *BatchRef) routed(topic string) int {
	for _, c := range r.routes {
		if c.topic == topic {
			return c.count
		}
	}
	return 0
}

// begin makes room for an entry of at most n bytes.
func (w *writer) begin(n int, at time.Time) {
	if w.cur == nil {
		w.cur = w.newChunk()
	}
	full := w.start+segment.FrameSize(headBound+w.cur.pending()+n) > w.limit
	if (full || w.aged()) && (w.start > segment.HeaderSize || !w.cur.empty()) {
		w.roll()
		w.repeat()
	}

	w.prepare(at)
}

// aged reports whether the segment is to end though it has room: by its age, or since the
// clock was set back by as much, when nobody knows that.
func (w *writer) aged() bool { return w.now().Sub(w.began).Abs() >= w.age }

// prepare makes the encoder write to the chunk.
func (w *writer) prepare(at time.Time) {
	if w.cur.empty() {
		w.cur.seq = w.seq
		w.cur.base = at.UnixMicro()
	}
	w.enc = w.cur.encoder(w.dict, w.enc.out)
}

// repeat begins a segment with the admissions that hold and with what lasts, unless the first would
// take more than a quarter of it: then a decision's admission can be pruned before it.
func (w *writer) repeat() {
	if int64(w.standing.sizeBound()) <= w.limit/4 {
		w.again(w.standing.entries(w.now()))
	}
	w.repeatLasting()
}

// repeatLasting leaves the eras out where they would take more than a quarter of the
// segment: a gateway that starts behind it begins them anew. The files of the holds and of
// what was acknowledged, which bound these, are smaller than that.
func (w *writer) repeatLasting() {
	w.again(w.holds.entries(w.now()))
	w.again(w.acknowledged.entries(w.now()))
	if int64(w.eras.sizeBound()) <= w.limit/4 {
		w.again(w.eras.entries(w.now()))
	}
}

// carryLasting repeats them in a segment that a log is opened with and that is empty.
func (w *writer) carryLasting() {
	if w.start > segment.HeaderSize || len(w.eras)+len(w.holds)+len(w.acknowledged) == 0 {
		return
	}
	w.cur = w.newChunk()
	w.repeatLasting()
}

func (w *writer) again(entries []*ControlEntry) {
	for _, c := range entries {
		c.Redacted = nil // the entry that it repeats has it, in a segment where it may
		w.prepare(c.Time)
		w.enc.control(c, w.cur.base)
		w.finish()
		w.noteControl(c)
	}
}

func (w *writer) finish() {
	c := w.cur
	before := c.pending()
	c.add(&w.enc)
	w.pending += c.pending() - before
}

func appendEntry(entries, entry []byte) []byte {
	return append(binary.AppendUvarint(entries, uint64(len(entry))), entry...)
}

// roll ends the segment: what is pending goes to the old one, all that follows
// to a new one.
func (w *writer) roll() {
	if !w.cur.empty() {
		w.closeCurrent()
		w.cur = w.newChunk()
	}

	w.cur.seal = w.sealPayload()
	w.beginSegment()
	w.began = w.now()
	w.start = segment.HeaderSize
}

func (w *writer) closeCurrent() {
	w.cur.close(w.seq)
	w.start += w.cur.size()
	w.ready = append(w.ready, w.cur)
	w.cur = nil
}

func (w *writer) newChunk() *chunk {
	c := &chunk{}
	if n := len(w.spare); n > 0 {
		old := w.spare[n-1]
		w.spare = w.spare[:n-1]
		c.head = old.head[:0]
		c.defs = old.defs[:0]
		c.entries = old.entries[:0]
	}

	c.flight = &flight{done: make(chan struct{})}
	return c
}

// chunks returns how many there are to take.
func (w *writer) chunks() int {
	if w.cur != nil && !w.cur.empty() {
		return len(w.ready) + 1
	}
	return len(w.ready)
}

// take gives the next chunk to commit, or nil.
func (w *writer) take() *chunk {
	if len(w.ready) == 0 && w.cur != nil && !w.cur.empty() {
		w.closeCurrent()
	}
	if len(w.ready) == 0 {
		return nil
	}

	c := w.ready[0]
	w.ready = append(w.ready[:0], w.ready[1:]...)
	w.pending -= c.pending()
	w.taken = c.flight

	return c
}

// latest is the outcome of what was added last, and with it of everything before.
func (w *writer) latest() *flight {
	switch {
	case w.cur != nil && !w.cur.empty():
		return w.cur.flight
	case len(w.ready) > 0:
		return w.ready[len(w.ready)-1].flight
	}
	return w.taken
}

// giveBack returns a committed chunk's memory.
func (w *writer) giveBack(c *chunk) {
	const keep, large = 2, 4 << 20
	if len(w.spare) < keep && c.pending() < large {
		w.spare = append(w.spare, c)
	}
}
