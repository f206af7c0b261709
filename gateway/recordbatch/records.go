package recordbatch

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/guardlock/guardlock/transforms/record"
)

// frameOverhead bounds what a record takes besides key, value and headers: six
// numbers of 32 bits, one of 64, attributes.
const frameOverhead = 6*5 + 10 + 1

// noHeaders is the header block of a record without headers: a count of 0.
var noHeaders = []byte{0}

// encoder is one run of Encode or Strip over one batch.
type encoder struct {
	batch   *record.Batch
	header  Header
	options EncodeOptions
	strip   bool // what was dropped leaves a gap, and no placeholder

	reframed bool // some record differs from what was sent by more than bytes in place
	size     int  // bytes that records writes, at most
}

// count walks the verdicts: it bounds the size and settles the header.
func (e *encoder) count() error {
	kept := 0
	maxTimestamp := int64(math.MinInt64)
	size := len(e.batch.Data)
	for i := range e.batch.Records {
		r := &e.batch.Records[i]
		switch {
		case asFramed(r):
		case r.Verdict == record.Modified:
			e.reframed = true
			if !e.headersHold(r) {
				return fmt.Errorf("headers of modified record %d: %w", i, ErrCorrupt)
			}
			size += frameOverhead + len(e.batch.Bytes(r.Key)) + len(e.batch.Bytes(r.Value)) + len(e.batch.Bytes(r.Headers))
		case r.Verdict == record.Dropped || r.Verdict == record.Routed:
			e.reframed = true
			if e.strip {
				continue
			}
			size += frameOverhead + len(placeholderKey) + len(placeholderHeader) + len(e.options.PlaceholderNote)
		default:
			return ErrRejected
		}

		kept++
		maxTimestamp = max(maxTimestamp, r.Timestamp)
	}

	if size > math.MaxInt32 {
		return ErrTooLarge
	}
	e.size = size
	if kept < len(e.batch.Records) {
		e.remove(kept, maxTimestamp)
	}

	return nil
}

// headersHold checks a header block that a transform made: it is written as it
// is, and a malformed one would make the whole batch unreadable.
func (e *encoder) headersHold(r *record.Record) bool {
	block := e.batch.Bytes(r.Headers)
	if len(block) == 0 || int(r.Headers.Off) < len(e.batch.Data) {
		return true // none, or as sent
	}
	return skipHeaders(block, 0) == len(block)
}

// remove settles the header after records were taken out. Their offsets stay
// empty, as after compaction.
func (e *encoder) remove(kept int, maxTimestamp int64) {
	e.header.NumRecords = int32(kept)
	if kept > 0 && e.header.Attributes&logAppendTimeBit == 0 {
		e.header.MaxTimestamp = maxTimestamp
	}
}

// records appends the records as they are to be stored, by their verdicts.
func (e *encoder) records(dst []byte) []byte {
	all := e.batch.Records
	for i := 0; i < len(all); {
		r := &all[i]
		end := i + 1
		switch {
		case r.Verdict == record.Modified && !r.InPlace():
			dst = e.modified(dst, r)
		case asFramed(r):
			end = e.run(i)
			last := all[end-1].Whole
			dst = append(dst, e.batch.Data[r.Whole.Off:last.Off+uint32(last.Len)]...)
		case !e.strip:
			dst = e.placeholder(dst, r)
		}

		i = end
	}

	return dst
}

// asFramed reports whether a record is stored in the frame that it came in.
func asFramed(r *record.Record) bool {
	return r.Verdict == record.Passed || r.InPlace()
}

// run returns the end of the run of records that starts at i and are as framed.
// They lie side by side in the input, so one copy moves all.
func (e *encoder) run(i int) int {
	all := e.batch.Records
	for i++; i < len(all) && asFramed(&all[i]); i++ {
	}

	return i
}

// modified frames a record anew from its views, with canonical lengths.
func (e *encoder) modified(dst []byte, r *record.Record) []byte {
	key := e.batch.Bytes(r.Key)
	value := e.batch.Bytes(r.Value)
	headers := e.batch.Bytes(r.Headers)
	if len(headers) == 0 {
		headers = noHeaders
	}

	timestamp := r.Timestamp - e.header.BaseTimestamp
	delta := int64(r.OffsetDelta)
	length := 1 + sizeVarint(timestamp) + sizeVarint(delta) +
		sizeVarint(int64(r.Key.Len)) + len(key) + sizeVarint(int64(r.Value.Len)) + len(value) + len(headers)
	dst = binary.AppendVarint(dst, int64(length))
	dst = append(dst, e.attributes(r))
	dst = binary.AppendVarint(dst, timestamp)
	dst = binary.AppendVarint(dst, delta)
	dst = append(binary.AppendVarint(dst, int64(r.Key.Len)), key...)
	dst = append(binary.AppendVarint(dst, int64(r.Value.Len)), value...)

	return append(dst, headers...)
}

// attributes is the record's own attributes byte: unused by Kafka today, and
// kept for the day it is not.
func (e *encoder) attributes(r *record.Record) byte {
	whole := e.batch.Bytes(r.Whole)
	_, i := varint(whole, 0)
	return whole[i]
}
