package recordbatch

import (
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/transforms/record"
)

// minRecordSize is what the shortest record takes: length, attributes, two
// deltas, null key, null value and the header count, a byte each.
const minRecordSize = 7

// Decode verifies raw, which must be one whole batch, and fills b with its
// records; whatever b held is gone, its memory is used again. b refers to raw,
// which must stay as it is while b is in use, and without compression a chain
// that overwrites records writes to raw. On an error b holds nothing of use. A
// record's Timestamp is base plus delta, as the producer set it, also where the
// broker's append time (in the header's MaxTimestamp) is what consumers see.
func (c *Codec) Decode(raw []byte, b *record.Batch) (Header, error) {
	b.Reset()
	h, err := verify(raw)
	if err != nil {
		return h, err
	}
	if err := c.decompress(h, raw[headerSize:], b); err != nil {
		return h, err
	}

	return h, c.readRecords(h, b)
}

// readRecords fills b.Records with views of b.Data, and refuses whatever is not
// exactly the records that the header counts.
func (c *Codec) readRecords(h Header, b *record.Batch) error {
	data := b.Data
	n := int(h.NumRecords)
	switch {
	case n > len(data)/minRecordSize:
		return fmt.Errorf("reading records: %d records in %d bytes: %w", n, len(data), ErrCorrupt)
	case n > c.limits.MaxRecords:
		return fmt.Errorf("reading records: %d records, at most %d allowed: %w", n, c.limits.MaxRecords, ErrTooLarge)
	}

	b.Records = slices.Grow(b.Records[:0], n)[:n]
	at := 0
	lastDelta := int32(-1)
	for i := range b.Records {
		r := &b.Records[i]
		next := readRecord(data, at, h.BaseTimestamp, r)
		// Deltas rise: gaps are what compaction leaves behind.
		if next > len(data) || r.OffsetDelta <= lastDelta || r.OffsetDelta > h.LastOffsetDelta {
			return fmt.Errorf("reading record %d of %d: %w", i, n, ErrCorrupt)
		}

		at = next
		lastDelta = r.OffsetDelta
	}

	if at != len(data) {
		return fmt.Errorf("reading records: %d bytes behind the last: %w", len(data)-at, ErrCorrupt)
	}
	return nil
}

// readRecord parses the record at data[at] into r and returns the position
// behind it, past where it is malformed.
func readRecord(data []byte, at int, baseTimestamp int64, r *record.Record) int {
	length, i := varint(data, at)
	if i > len(data) || length < minRecordSize-1 || int(length) > len(data)-i {
		return past
	}

	end := i + int(length)
	data = data[:end]
	delta, i := varlong(data, i+1) // behind the attributes, unused so far
	offsetDelta, i := varint(data, i)
	key, i := readSpan(data, i)
	value, i := readSpan(data, i)
	headers := i

	if i = skipHeaders(data, i); i != end {
		return past
	}
	*r = record.Record{
		Key: key, Value: value,
		Headers:     record.Span{Off: uint32(headers), Len: int32(end - headers)},
		Whole:       record.Span{Off: uint32(at), Len: int32(end - at)},
		Timestamp:   baseTimestamp + delta,
		OffsetDelta: offsetDelta,
	}

	return end
}

// readSpan reads a length and that many bytes; -1 is null. Lengths of one byte,
// the most, are read here: varint is too long to be inlined.
func readSpan(data []byte, i int) (record.Span, int) {
	var n int32
	if i < len(data) && data[i] < 0x80 {
		n = int32(data[i]>>1) ^ -int32(data[i]&1)
		i++
	} else {
		n, i = longVarint(data, i)
	}

	if n < 0 || i > len(data) || int(n) > len(data)-i {
		if n == -1 {
			return record.Null, i
		}
		return record.Null, past
	}

	return record.Span{Off: uint32(i), Len: n}, i + int(n)
}

// skipHeaders walks a header block: a count, then keys (never null) and values.
// It returns where the block ends.
func skipHeaders(data []byte, i int) int {
	n, i := varint(data, i)
	if n == 0 {
		return i
	}
	if n < 0 || i > len(data) || int(n) > (len(data)-i)/2 {
		return past
	}

	var s record.Span
	for range n {
		if s, i = readSpan(data, i); s.IsNull() || i > len(data) {
			return past
		}
		if _, i = readSpan(data, i); i > len(data) {
			return past
		}
	}

	return i
}
