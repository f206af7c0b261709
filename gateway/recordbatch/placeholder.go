package recordbatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/transforms/record"
)

// A placeholder stands where a record was dropped or routed away from a batch:
// broker and producer count records to number sequences and offsets, so one must
// be there. It has no value, one header, and
// no key: every client's deserializer gives null for null, a KTable passes over
// records without a key, and no other key can be told from a typed one's bytes.
// The record's own key is not an option, since its null value would be a
// tombstone that deletes. Topics that compact refuse records without a key, and
// get a sentinel. Both formats are stored in topics: never change them.
const (
	placeholderKey    = "\x00guardlock.dropped.v1"
	placeholderHeader = "guardlock.dropped"
)

// placeholder appends the placeholder of r, at r's place and time, so that
// offsets and sequence numbers go on.
func (e *encoder) placeholder(dst []byte, r *record.Record) []byte {
	var key []byte
	if e.options.PlaceholderKeys {
		key = []byte(placeholderKey)
	}

	note := e.options.PlaceholderNote
	timestamp := r.Timestamp - e.header.BaseTimestamp
	delta := int64(r.OffsetDelta)
	length := 1 + sizeVarint(timestamp) + sizeVarint(delta) + sizeField(key) + sizeField(nil) +
		sizeVarint(1) + sizeVarint(int64(len(placeholderHeader))) + len(placeholderHeader) + sizeField(note)

	dst = binary.AppendVarint(dst, int64(length))
	dst = append(dst, 0) // attributes
	dst = binary.AppendVarint(dst, timestamp)
	dst = binary.AppendVarint(dst, delta)
	dst = appendField(dst, key)
	dst = appendField(dst, nil)       // the value
	dst = binary.AppendVarint(dst, 1) // one header
	dst = append(binary.AppendVarint(dst, int64(len(placeholderHeader))), placeholderHeader...)

	return appendField(dst, note)
}

// appendField appends bytes behind their length, as records have them; nil is
// Kafka's null.
func appendField(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// sizeField is the number of bytes that appendField writes for b.
func sizeField(b []byte) int {
	if b == nil {
		return 1
	}
	return sizeVarint(int64(len(b))) + len(b)
}

// IsPlaceholder reports whether r has the form of a placeholder. On the way in
// such a record is a forgery, which readers behind Strip would never see.
func IsPlaceholder(b *record.Batch, r *record.Record) bool {
	if !r.Value.IsNull() || !r.Key.IsNull() && string(b.Bytes(r.Key)) != placeholderKey {
		return false
	}
	headers := b.Bytes(r.Headers)
	count, i := varint(headers, 0)
	name, i := readSpan(headers, i)
	return count == 1 && i <= len(headers) && string(headers[name.Off:name.Off+uint32(name.Len)]) == placeholderHeader
}

// Strip appends raw, one whole batch of any kind as a broker stores it, to dst
// without its placeholders, and says how many there were. Base offset, last
// offset delta and the deltas stay, as after compaction; a batch that held
// nothing else becomes one without records, never nothing at all. Where there
// is no placeholder, raw is appended as it is. On an error dst is returned as
// it was; a batch of another magic is ErrUnsupportedMagic.
func (c *Codec) Strip(dst, raw []byte) (out []byte, stripped int, err error) {
	b := &c.strip
	defer c.releaseStrip()
	h, err := verify(raw)
	if err != nil {
		return dst, 0, err
	}
	if h.IsControl() || h.NumRecords == 0 {
		return append(dst, raw...), 0, nil
	}

	b.Reset()
	if err := c.decompress(h, raw[headerSize:], b); err != nil {
		return dst, 0, err
	}
	// Most batches hold none: one search spares the parsing.
	if !bytes.Contains(b.Data, []byte(placeholderHeader)) {
		return append(dst, raw...), 0, nil
	}
	if err := c.readRecords(h, b); err != nil {
		return dst, 0, err
	}
	if stripped = markPlaceholders(b); stripped == 0 {
		return append(dst, raw...), 0, nil
	}

	out, err = c.withoutDropped(dst, h, b)
	return out, stripped, err
}

// markPlaceholders gives the verdict Dropped to each placeholder in the batch,
// and counts them.
func markPlaceholders(b *record.Batch) (n int) {
	for i := range b.Records {
		if r := &b.Records[i]; IsPlaceholder(b, r) {
			r.Verdict = record.Dropped
			n++
		}
	}
	return n
}

// withoutDropped encodes b with the gaps of its dropped records left open, as
// compaction leaves them.
func (c *Codec) withoutDropped(dst []byte, h Header, b *record.Batch) ([]byte, error) {
	e := encoder{batch: b, header: h, strip: true}
	codec := h.Compression()
	if !slices.ContainsFunc(b.Records, func(r record.Record) bool { return r.Verdict == record.Passed }) {
		codec = None // nothing to compress: readers expect no stream at all
	}

	out, err := c.assemble(dst, &e, codec)
	if err != nil {
		return dst, fmt.Errorf("stripping placeholders: %w", err)
	}
	return out, nil
}

// releaseStrip lets go of scratch that one huge batch grew, since most batches
// are small.
func (c *Codec) releaseStrip() {
	c.strip.Reset()
	if cap(c.strip.Memory) > maxRetained {
		c.strip = record.Batch{}
	}
}
