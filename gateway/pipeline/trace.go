package pipeline

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/internal/meter"
	"github.com/guardlock/guardlock/transforms/record"
)

// Bounds of what one trace looks at: batches have as many records as they like.
const (
	maxLinks      = 8
	maxLinkedFrom = 128 // records, from the first
)

// The record headers in which producers hand on a W3C trace context.
const (
	traceHeader = "traceparent"
	stateHeader = "tracestate"
)

// maxState is how long a tracestate is that is carried on, as W3C asks for at least.
const maxState = 512

// Tracer takes the traces of batches. Sampled says whether one with this parent, or
// the zero parent, is to be traced; Finished takes one that is through. Both are
// called concurrently on the way of a batch: neither may wait for anything.
type Tracer interface {
	Sampled(parent TraceParent) bool
	Finished(t *Trace)
}

// TraceParent is the W3C trace context of whoever produced a record. The zero
// TraceParent is none.
type TraceParent struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool
}

// Trace is the way of one batch, for whoever watches. It holds nothing of a record's
// content but its trace context, and nothing that says who sent it.
type Trace struct {
	Direction Direction
	Cluster   string
	Partition Partition
	Binding   string
	Decision  string // id; empty: the log did not take it
	Outcome   audit.Outcome
	Reason    string // of what was refused
	Records   int
	Bytes     int
	ErrorCode int16 // the broker's
	Lost      bool  // no answer of the broker came

	Parent TraceParent
	State  string        // tracestate beside Parent, as it came; empty if there is none
	Links  []TraceParent // of other records of the batch
	Spans  []Span        // in the order in which they began
}

// Span is the time that a batch was in one stage, of StageNames or AnswerSpan.
type Span struct {
	Stage    string
	From, To time.Time
}

// AnswerSpan is the time from the end of the stages until the answer to the producer
// was written: the wait for answers before it, and for a client that takes it.
const AnswerSpan = "answer"

// ParseTraceParent reads the value of a traceparent header, as W3C Trace Context
// level 1 has it; later versions may have more behind what is known.
func ParseTraceParent(value []byte) (TraceParent, bool) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(value) < length || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return TraceParent{}, false
	}

	version, known := lowerHex[[1]byte](value[:2])
	if !known || version[0] == 0xff {
		return TraceParent{}, false
	}
	if len(value) > length && (version[0] == 0 || value[length] != '-') {
		return TraceParent{}, false
	}

	var p TraceParent
	var flags [1]byte
	var fine [3]bool
	p.TraceID, fine[0] = lowerHex[[16]byte](value[3:35])
	p.SpanID, fine[1] = lowerHex[[8]byte](value[36:52])
	flags, fine[2] = lowerHex[[1]byte](value[53:55])
	if fine != [3]bool{true, true, true} || p.TraceID == [16]byte{} || p.SpanID == [8]byte{} {
		return TraceParent{}, false
	}

	p.Sampled = flags[0]&1 != 0
	return p, true
}

// lowerHex decodes hex digits, which must be in lower case.
func lowerHex[T [1]byte | [8]byte | [16]byte](digits []byte) (T, bool) {
	var out T
	var raw [16]byte
	for _, c := range digits {
		if c >= 'A' && c <= 'F' {
			return out, false
		}
	}
	if _, err := hex.Decode(raw[:], digits); err != nil {
		return out, false
	}

	switch out := any(&out).(type) {
	case *[1]byte:
		copy(out[:], raw[:])
	case *[8]byte:
		copy(out[:], raw[:])
	case *[16]byte:
		copy(out[:], raw[:])
	}
	return out, true
}

// parentOf is the trace context of a record that was decoded; zero if it has none.
func parentOf(b *record.Batch, r *record.Record) TraceParent {
	value, _ := headerOf(b, r, traceHeader)
	p, _ := ParseTraceParent(value)
	return p
}

// stateOf is the tracestate of a record that was decoded. One that is longer than
// what is carried on counts as none, as W3C allows.
func stateOf(b *record.Batch, r *record.Record) string {
	value, _ := headerOf(b, r, stateHeader)
	if len(value) > maxState {
		return ""
	}
	return string(value)
}

// headerOf is the value of a record's first header of a name.
func headerOf(b *record.Batch, r *record.Record, name string) (value []byte, ok bool) {
	rest := b.Bytes(r.Headers)
	count, n := binary.Varint(rest)
	for rest = rest[max(n, 0):]; count > 0; count-- {
		var key []byte
		if key, rest, ok = cutField(rest); !ok {
			return nil, false
		}
		if value, rest, ok = cutField(rest); !ok {
			return nil, false
		}
		if string(key) == name {
			return value, true
		}
	}

	return nil, false
}

// cutField cuts a field with its length before it from a block of headers. Null is
// empty.
func cutField(raw []byte) (field, rest []byte, ok bool) {
	size, n := binary.Varint(raw)
	if n <= 0 || size > int64(len(raw)-n) {
		return nil, nil, false
	}
	if size < 0 {
		return nil, raw[n:], true
	}
	return raw[n : n+int(size)], raw[n+int(size):], true
}

// sample begins the trace of the batch under way, if it is to have one. Modules have
// not seen the batch yet; b is nil where it could not be read.
func (w *worker) sample(b *record.Batch, decoded meter.Moment) {
	if w.cfg.Tracer == nil {
		return
	}

	w.asked = true
	var parent TraceParent
	if b != nil && len(b.Records) > 0 {
		parent = parentOf(b, &b.Records[0])
	}
	if !w.cfg.Tracer.Sampled(parent) {
		return
	}

	t := &Trace{
		Direction: w.in.Direction,
		Cluster:   w.cfg.Cluster,
		Partition: w.d.Partition,
		Binding:   w.in.Grant.Binding,
		Parent:    parent,
		Bytes:     len(w.in.Records),
	}
	if parent != (TraceParent{}) {
		t.State = stateOf(b, &b.Records[0])
	}
	w.d.trace = t
	t.add(StageQueue, w.d.times.came, w.d.times.taken)
	if b != nil {
		t.link(b)
		t.add(StageDecode, w.d.times.taken, decoded)
	}
}

// link keeps what other records of the batch are part of, within bounds.
func (t *Trace) link(b *record.Batch) {
	for i := range b.Records[:min(len(b.Records), maxLinkedFrom)] {
		p := parentOf(b, &b.Records[i])
		if p == (TraceParent{}) || p == t.Parent || slices.Contains(t.Links, p) {
			continue
		}
		if t.Links = append(t.Links, p); len(t.Links) == maxLinks {
			return
		}
	}
}

// add is for a stage that has ended. A nil Trace takes nothing.
func (t *Trace) add(s Stage, from, to meter.Moment) {
	if t != nil {
		t.Spans = append(t.Spans, Span{StageNames[s], from.Time(), to.Time()})
	}
}

// traced keeps what was decided, before the entry is used for another batch. A batch
// that was refused unread has its trace, too.
func (w *worker) traced() {
	if w.cfg.Tracer == nil {
		return
	}
	if !w.asked {
		w.sample(nil, 0)
	}
	if t := w.d.trace; t != nil {
		t.Outcome = w.entry.Outcome
		t.Reason = w.entry.Reason
		t.Records = w.entry.Records
	}
}

// traceSettled keeps what became of a batch. What is read goes to the consumer, and
// no answer tells of it.
func (p *Pipeline) traceSettled(d *Decided, refused bool) {
	t := d.trace
	if t == nil {
		return
	}

	t.add(StageCommit, d.times.decided, d.times.settled)
	t.Decision = p.decisionID(d)
	if refused {
		t.Outcome = d.why.outcome
		t.Reason = d.why.reason
	}
	if t.Direction == Consume {
		p.Untold(d)
	}
}

// traceAnswered keeps what the broker answered.
func (p *Pipeline) traceAnswered(d *Decided, a *wire.ProduceAnswer) {
	if d.trace == nil {
		return
	}
	d.trace.ErrorCode = a.ErrorCode
	d.trace.add(StageUpstream, d.times.settled, meter.Mark())
}

// Abandoned ends the trace of a batch whose answer will never come, or never reach its
// producer. It does nothing after Untold or TakeTrace.
func (p *Pipeline) Abandoned(d *Decided) {
	if d.trace == nil {
		return
	}
	if d.trace.Reason == "" { // it was forwarded
		d.trace.Lost = true
		d.trace.add(StageUpstream, d.times.settled, meter.Mark())
	}
	p.Untold(d)
}

// Untold ends the trace of a batch of which its producer is told nothing.
func (p *Pipeline) Untold(d *Decided) {
	if t := d.TakeTrace(); t != nil {
		p.cfg.Tracer.Finished(t)
	}
}

// TakeTrace is the trace of a batch whose answer is on its way to the producer, for
// Told; nil if it has none. The second call gives nil.
func (d *Decided) TakeTrace() *Trace {
	t := d.trace
	d.trace = nil
	return t
}

// Told ends the trace of a batch whose answer was written just now, or could not be.
func (p *Pipeline) Told(t *Trace, written bool) {
	if n := len(t.Spans); written && n > 0 {
		t.Spans = append(t.Spans, Span{AnswerSpan, t.Spans[n-1].To, time.Now()})
	}
	p.cfg.Tracer.Finished(t)
}
