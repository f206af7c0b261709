// Package record holds the value types that the batch codec, the transform
// chain and the produce pipeline hand to each other.
//
// A Batch is one Kafka record batch (KIP-98, magic 2) after decompression: one
// byte buffer and a table of views into it. Nothing here allocates per record:
// a changed record is a view into bytes that were appended to the same buffer.
// The package imports nothing, so that the codec does not depend on the
// sandbox nor the sandbox on the codec.
package record

// Span is a view into Batch.Data. A negative Len is Kafka's null.
type Span struct {
	Off uint32
	Len int32
}

// Null is the view of a null key or value.
var Null = Span{Len: -1}

// IsNull reports whether the span stands for Kafka's null.
func (s Span) IsNull() bool { return s.Len < 0 }

// Verdict is what became of one record.
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

// String returns the verdict's name as the audit log and the CLI print it.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// Record is one record of a batch. Before a chain runs, all views lie in the
// bytes the producer sent; afterwards those of changed records may lie behind
// them, in Data[Batch.InputLen:].
type Record struct {
	Key     Span
	Value   Span
	Headers Span // the raw header block: varint count, then the entries
	Whole   Span // the record as sent, from its length varint to its end

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
	// Data starts with the decompressed record bytes as the producer sent
	// them (InputLen of them); a chain appends the bytes of changed records.
	Data     []byte
	InputLen int
	Records  []Record
	// Changed is set by the chain when any record's verdict is not Passed.
	Changed bool
}

// Bytes returns the bytes of a view, nil for null. The result aliases Data and
// is valid until the next append to it.
func (b *Batch) Bytes(s Span) []byte {
	if s.Len < 0 {
		return nil
	}
	return b.Data[s.Off : uint64(s.Off)+uint64(s.Len)]
}

// Append copies p behind the batch's data and returns its view.
func (b *Batch) Append(p []byte) Span {
	off := uint32(len(b.Data))
	b.Data = append(b.Data, p...)
	return Span{Off: off, Len: int32(len(p))}
}

// Reset empties the batch but keeps its memory.
func (b *Batch) Reset() {
	b.Data, b.Records = b.Data[:0], b.Records[:0]
	b.InputLen, b.Changed = 0, false
}
