package recordbatch

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/guardlock/guardlock/transforms/record"
)

// ContentEvidence is what brokers keep of a batch as it was produced: everything
// from the attributes on. It is nil for less than a batch.
func ContentEvidence(raw []byte) []byte {
	if len(raw) < headerSize {
		return nil
	}
	return raw[attributesAt:]
}

// Intact reports whether a whole batch has the length and the CRC that its
// header says.
func Intact(raw []byte) bool {
	_, err := verify(raw)
	return err == nil
}

// HeaderEvidence is what brokers keep of a batch's header, with the checksum of
// the content: from the CRC to the record count (KIP-98). It is nil for less
// than a batch.
func HeaderEvidence(raw []byte) []byte {
	if len(raw) < headerSize {
		return nil
	}
	return raw[crcAt:headerSize]
}

// AsProduced appends a batch from a topic as its producer sent it: where the
// broker has put its own time in the header (KIP-32), with the records' latest
// again. Other batches are appended as they are. On an error dst is returned as
// it was.
func (c *Codec) AsProduced(dst, raw []byte) ([]byte, error) {
	h, err := ParseHeader(raw)
	if err != nil {
		return dst, err
	}
	if !h.HasAppendTime() {
		return append(dst, raw...), nil
	}

	var b record.Batch
	if h, err = c.Decode(raw, &b); err != nil {
		return dst, err
	}

	latest := h.BaseTimestamp
	if len(b.Records) > 0 {
		latest = slices.MaxFunc(b.Records, func(x, y record.Record) int { return cmp.Compare(x.Timestamp, y.Timestamp) }).Timestamp
	}

	start := len(dst)
	dst = append(dst, raw...)
	out := dst[start:]
	binary.BigEndian.PutUint16(out[attributesAt:], uint16(h.Attributes&^logAppendTimeBit))
	binary.BigEndian.PutUint64(out[maxTimestampAt:], uint64(latest))
	finish(out)

	return dst, nil
}
