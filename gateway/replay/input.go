package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/record"
)

// MaxInput bounds an input in bytes. A gateway takes no request that is larger.
const MaxInput = 128 << 20

// maxDecompressed bounds the records of a batch that is replayed.
const maxDecompressed = 256 << 20

// ErrInput means that bytes are neither a batch nor records.
var ErrInput = errors.New("the input is neither one record batch (v2) nor records in JSON lines")

// Input is what is given to the modules again: a batch as its producer sent it, or
// records of which one is built.
type Input struct {
	raw     []byte         // nil: records
	records []cases.Record // without a time where theirs is noTime
	timed   bool           // each of the records has its time
}

// noTime is the time of a record that the input says none of.
const noTime = math.MinInt64

// ParseInput reads an input. A batch never begins as JSON does: its first bytes are an
// offset, which is not that large.
func ParseInput(raw []byte) (*Input, error) {
	if bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return parseLines(raw)
	}

	batches := 0
	for batch, err := range recordbatch.SplitBatches(raw) {
		if err != nil || len(batch) != len(raw) {
			return nil, ErrInput
		}
		batches++
	}

	if _, err := recordbatch.ParseHeader(raw); err != nil || batches != 1 {
		return nil, ErrInput
	}
	return &Input{raw: raw, timed: true}, nil
}

func parseLines(raw []byte) (*Input, error) {
	in := &Input{timed: true}
	number := 0
	for line := range bytes.Lines(raw) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}

		r := cases.Record{Timestamp: noTime}
		if err := cases.ParseLine(line, &r); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrInput, number, err)
		}

		in.timed = in.timed && r.Timestamp != noTime
		in.records = append(in.records, r)
	}

	return in, nil // it begins with a brace, so that it has a record
}

// fits reports whether the input is one record of a batch of several, or says why it is
// not of the decision.
func (in *Input) fits(d *Decision) (single bool, misfit string) {
	n := len(in.records)
	switch {
	case in.raw != nil || n == d.Entry.Records:
		return false, ""
	case n == 1 && d.Index >= 0:
		return true, ""
	case n == 1:
		return false, fmt.Sprintf("it is one record, and the batch had %d: name the record's own decision, whose id has one number more", d.Entry.Records)
	}

	return false, fmt.Sprintf("it has %d records, and the batch had %d", n, d.Entry.Records)
}

// batch is what the modules are given: always bytes of their own, since a pipeline
// changes them where they lie.
func (in *Input) batch(e *audit.BatchEntry, transactional bool) ([]byte, error) {
	if in.raw != nil {
		return bytes.Clone(in.raw), nil
	}

	times := make([]int64, len(in.records))
	for i := range in.records {
		times[i] = in.records[i].Timestamp
		if times[i] == noTime {
			times[i] = e.Time.UnixMilli()
		}
	}

	h := recordbatch.Header{
		PartitionLeaderEpoch: -1,
		LastOffsetDelta:      int32(len(in.records) - 1),
		BaseTimestamp:        times[0],
		ProducerID:           e.ProducerID,
		ProducerEpoch:        e.ProducerEpoch,
		BaseSequence:         e.BaseSequence,
		NumRecords:           int32(len(in.records)),
	}

	if e.ProducerID < 0 {
		h.ProducerEpoch = -1
		h.BaseSequence = -1
	}

	if transactional {
		h.Attributes |= transactionalBit
	}

	var framed []byte
	for i := range in.records {
		h.MaxTimestamp = max(h.MaxTimestamp, times[i])
		framed = appendRecord(framed, &in.records[i], times[i]-h.BaseTimestamp, i)
	}

	return compressed(recordbatch.Append(nil, h, framed), recordbatch.Compression(e.Codec))
}

// transactionalBit is that of a batch's attributes (KIP-98).
const transactionalBit = 0x10

// appendRecord frames a record as producers do.
func appendRecord(dst []byte, r *cases.Record, time int64, delta int) []byte {
	body := []byte{0}
	body = binary.AppendVarint(body, time)
	body = binary.AppendVarint(body, int64(delta))
	body = appendBytes(body, r.Key)
	body = appendBytes(body, r.Value)
	body = binary.AppendVarint(body, int64(len(r.Headers)))
	for _, h := range r.Headers {
		body = appendBytes(body, append([]byte{}, h.Key...))
		body = appendBytes(body, h.Value)
	}

	return append(binary.AppendVarint(dst, int64(len(body))), body...)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// compressed is a plain batch in a codec. How a producer compresses is its own affair, so
// that these are hardly the bytes that it sent.
func compressed(plain []byte, codec recordbatch.Compression) ([]byte, error) {
	if codec == recordbatch.None {
		return plain, nil
	}

	c := recordbatch.NewCodec(recordbatch.Limits{MaxDecompressed: maxDecompressed})
	var b record.Batch
	h, err := c.Decode(plain, &b)
	if err != nil {
		return nil, fmt.Errorf("building a batch of the records: %w", err)
	}

	return c.Encode(nil, h, &b, recordbatch.EncodeOptions{Compression: codec})
}
