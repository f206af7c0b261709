package pipeline

import (
	"encoding/binary"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms/record"
)

// routed are the records of one batch that go to one other topic. They are
// copies: the batch's memory is reused before they are sent.
type routed struct {
	topic   string
	records []byte // framed, deltas from 0
	count   int
	first   int64 // timestamps, milliseconds
	last    int64
}

// copies collects the routed records by destination, in their order.
func (r *rulings) copies(b *record.Batch) []routed {
	var out []routed
	at := map[string]int{}
	for i := range b.Records {
		rec := &b.Records[i]
		if rec.Verdict != record.Routed {
			continue
		}

		topic := catalogued(r.grant.Routes, rec.Module, int(rec.Route))
		n, ok := at[topic]
		if !ok {
			n = len(out)
			at[topic] = n
			out = append(out, routed{topic: topic, first: rec.Timestamp})
		}

		out[n].add(b, rec)
	}

	return out
}

func (d *routed) add(b *record.Batch, rec *record.Record) {
	var body []byte
	body = append(body, 0) // record attributes, unused
	body = binary.AppendVarint(body, rec.Timestamp-d.first)
	body = binary.AppendVarint(body, int64(d.count))
	body = appendField(body, b, rec.Key)
	body = appendField(body, b, rec.Value)
	body = append(body, b.Bytes(rec.Headers)...)

	d.records = binary.AppendVarint(d.records, int64(len(body)))
	d.records = append(d.records, body...)
	d.last = max(d.last, rec.Timestamp)
	d.count++
}

func appendField(dst []byte, b *record.Batch, s record.Span) []byte {
	if s.IsNull() {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(s.Len))
	return append(dst, b.Bytes(s)...)
}

// batch frames the copies as a batch of nobody: without a producer id, since
// the sequence is not theirs, and without a codec.
func (d *routed) batch() []byte {
	return recordbatch.Append(nil, recordbatch.Header{
		PartitionLeaderEpoch: -1,
		LastOffsetDelta:      int32(d.count - 1),
		BaseTimestamp:        d.first,
		MaxTimestamp:         d.last,
		ProducerID:           -1,
		ProducerEpoch:        -1,
		BaseSequence:         -1,
		NumRecords:           int32(d.count),
	}, d.records)
}
