// Package record holds the value types that the batch codec, the transform
// chain and the produce pipeline hand to each other.
//
// A Batch is one Kafka record batch (KIP-98, magic 2) after decompression: the
// bytes that were sent, those that a chain made, and a table of views into both.
// Nothing here allocates per record: a changed record is overwritten where it
// lies, or is a view into bytes that were appended to one buffer.
// The package imports nothing of Guardlock, so that the codec does not depend on the
// sandbox nor the sandbox on the codec.
package record

import (
	"bytes"
	"slices"
)

// Span is a view into Batch.Data or, from Off len(Data) on, into Batch.Out. A
// negative Len is Kafka's null.
type Span struct {
	Off uint32
	Len int32
}

// Null is the view of a null key or value, which is not the same as an empty
// one.
var Null = Span{Len: -1}

// IsNull reports whether the span stands for Kafka's null, which has no bytes.
func (s Span) IsNull() bool { return s.Len < 0 }

// Verdict is what became of one record, by the last module that decided about
// it.
type Verdict uint8

// The verdicts. Their numbers are part of the audit format: never renumber.
const (
	Passed   Verdict = 0 // unchanged
	Modified Verdict = 1 // stored with other bytes than it came with
	Rejected Verdict = 2 // its whole batch is refused
	Dropped  Verdict = 3 // acknowledged but not stored
	Routed   Verdict = 4 // acknowledged, stored in another topic instead
)

var verdictNames = [...]string{"passed", "modified", "rejected", "dropped", "routed"}

// String returns the verdict's name as the decision log and the CLI print it.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// Record is one record of a batch. Before a chain runs, all views lie in the
// bytes the producer sent; afterwards those of changed records may lie behind
// them, in Batch.Out.
type Record struct {
	Key     Span
	Value   Span
	Headers Span // the raw header block: varint count, then the entries
	Whole   Span // the record as sent, from its length varint to its end
	// Touched holds all bytes within Whole that a chain has overwritten. A
	// Modified record of which it is not empty differs in nothing else: its
	// views are as they came, and its framing holds.
	Touched Span

	Timestamp   int64 // milliseconds since the epoch, absolute
	OffsetDelta int32

	Verdict Verdict
	Module  uint8  // index in the chain of the module that decided; 0 where Passed
	Route   uint8  // Routed: index of the destination in the deciding module's routes
	Reason  uint16 // index in the deciding module's reason catalogue; 0 is "unspecified"
}

// Batch is the unit of work: the records of one topic-partition batch. It is
// owned by one goroutine at a time.
type Batch struct {
	// Data is the record bytes as the producer sent them, decompressed. Of a
	// batch that came without compression they lie in the memory that was
	// decoded, which then is the batch's to overwrite. A chain changes no byte
	// of a record that does not end as Modified, Rejected, Dropped or Routed.
	Data    []byte
	Out     []byte // bytes of changed records
	Records []Record
	// Changed is set by the chain when any record's verdict is not Passed.
	Changed bool

	Sent   []byte // the records as they came, compressed; for the codec
	Memory []byte // what the codec decompresses to, kept from batch to batch
}

// Bytes returns the bytes of a view, nil for null. The result is valid until
// the next Append.
func (b *Batch) Bytes(s Span) []byte {
	if s.Len < 0 {
		return nil
	}
	from := uint64(s.Off)
	end := uint64(s.Off) + uint64(s.Len)
	if n := uint64(len(b.Data)); end > n {
		return b.Out[from-n : end-n]
	}

	return b.Data[from:end]
}

// Append copies p behind the batch's bytes and returns its view. Other views
// stay valid; what Bytes returned for them does not.
func (b *Batch) Append(p []byte) Span {
	off := uint32(len(b.Data) + len(b.Out))
	b.Out = append(b.Out, p...)
	return Span{Off: off, Len: int32(len(p))}
}

// Overwrite replaces the bytes of a view by p where they lie, if it can: p is
// as long, and the view is of bytes that were sent. It returns the bytes that
// differ, first to last; the caller keeps them in Record.Touched.
func (b *Batch) Overwrite(s Span, p []byte) (touched Span, ok bool) {
	if len(p) == 0 || int(s.Len) != len(p) || uint64(s.Off)+uint64(len(p)) > uint64(len(b.Data)) {
		return Span{}, false
	}
	old := b.Data[s.Off:][:len(p)]
	from := 0
	end := len(p)
	for from < end && old[from] == p[from] {
		from++
	}

	for end > from && old[end-1] == p[end-1] {
		end--
	}
	copy(old[from:end], p[from:end])
	return Span{Off: s.Off + uint32(from), Len: int32(end - from)}, true
}

// Edit is a change of a view's bytes: Len of them from At on, counted from its start,
// become New.
type Edit struct {
	At, Len uint32
	New     []byte
}

// Edit applies edits to the bytes of a view, which ascend, do not overlap and lie in
// it; size is what they make of it. It returns the view of the result: the one that
// it was where the bytes are the same or were overwritten, or else one of a copy.
// Touched is as of Overwrite.
func (b *Batch) Edit(s Span, edits []Edit, size int) (edited, touched Span) {
	if touched, ok := b.overwriteEach(s, edits); ok {
		return s, touched
	}

	at := len(b.Out)
	made := b.splice(s, edits, size)
	if size != int(s.Len) {
		return made, Span{}
	}

	// Edits that even out may still be overwritten together.
	if touched, ok := b.Overwrite(s, b.Out[at:]); ok {
		b.Out = b.Out[:at]
		return s, touched
	}

	if bytes.Equal(b.Out[at:], b.Bytes(s)) {
		b.Out = b.Out[:at]
		return s, Span{}
	}

	return made, Span{}
}

// overwriteEach applies edits where they lie, if each keeps its length and the view
// is of bytes that were sent.
func (b *Batch) overwriteEach(s Span, edits []Edit) (touched Span, ok bool) {
	if uint64(s.Off)+uint64(s.Len) > uint64(len(b.Data)) {
		return Span{}, false
	}
	for _, e := range edits {
		if int(e.Len) != len(e.New) {
			return Span{}, false
		}
	}

	for _, e := range edits {
		part, _ := b.Overwrite(Span{Off: s.Off + e.At, Len: int32(e.Len)}, e.New)
		touched = touched.Join(part)
	}

	return touched, true
}

// splice appends what edits make of a view.
func (b *Batch) splice(s Span, edits []Edit, size int) Span {
	b.Out = slices.Grow(b.Out, size)
	off := uint32(b.Size())
	old := b.Bytes(s)
	kept := uint32(0)
	for _, e := range edits {
		b.Out = append(b.Out, old[kept:e.At]...)
		b.Out = append(b.Out, e.New...)
		kept = e.At + e.Len
	}

	b.Out = append(b.Out, old[kept:]...)
	return Span{Off: off, Len: int32(size)}
}

// Join is the least span that holds both, which must not be null. What lies
// between them is in it too.
func (s Span) Join(o Span) Span {
	if s.Len == 0 || o.Len == 0 {
		return Span{Off: max(s.Off, o.Off), Len: max(s.Len, o.Len)}
	}
	from := min(s.Off, o.Off)
	return Span{Off: from, Len: int32(max(s.Off+uint32(s.Len), o.Off+uint32(o.Len)) - from)}
}

// InPlace reports whether a record was modified by overwriting alone, so that
// its framing still holds.
func (r *Record) InPlace() bool { return r.Verdict == Modified && r.Touched.Len > 0 }

// Size is how many bytes views can be of: the next Append starts there.
func (b *Batch) Size() int { return len(b.Data) + len(b.Out) }

// Reset empties the batch but keeps its memory for the next one.
func (b *Batch) Reset() {
	b.Data = nil
	b.Sent = nil
	b.Out = b.Out[:0]
	b.Records = b.Records[:0]
	b.Changed = false
}
