package recordbatch

import (
	"fmt"
	"math"
	"slices"

	"github.com/guardlock/guardlock/transforms/record"
)

// EncodeOptions say how a batch is built of records and their verdicts. The
// zero value leaves it uncompressed.
type EncodeOptions struct {
	// Compression is the codec of the new batch, unless KeepCompression takes
	// the one of the header.
	Compression     Compression
	KeepCompression bool
	// Level is the effort to compress: 0 fast, 1 denser, 2 densest, which is up
	// to 30 times slower: for a batch that grew past what the broker accepts.
	Level int
	// PlaceholderKeys gives placeholders a key of their own, for a topic that
	// compacts: it refuses records without one.
	PlaceholderKeys bool
	// PlaceholderNote is the value of a placeholder's header: which rule, never
	// what record. nil is a null value.
	PlaceholderNote []byte
}

// Encode appends to dst a batch built from b.Records by their verdicts, under
// header h as Decode returned it. Passed records are copied as they came,
// modified ones framed anew, dropped and routed ones replaced by a placeholder:
// their producer takes the offset of each record from its place in the batch.
// Only length, CRC and codec bits differ from h. On an error dst is returned as
// it was.
func (c *Codec) Encode(dst []byte, h Header, b *record.Batch, o EncodeOptions) ([]byte, error) {
	if h.IsControl() {
		return dst, ErrControl
	}
	e := encoder{batch: b, header: h, options: o}
	codec := o.codec(h)
	if codec < None || codec > Zstd {
		return dst, fmt.Errorf("encoding batch: %w", ErrUnsupportedCompression)
	}

	out, err := c.assemble(dst, &e, codec)
	if err != nil {
		return dst, fmt.Errorf("encoding batch: %w", err)
	}

	return out, nil
}

// Patch finishes raw, the batch that b was decoded from, again after a chain has
// overwritten records of it where they lie. It returns false, and leaves raw as
// it is, where that does not make the batch that Encode would: it came
// compressed or is to be, or some record changed in another way.
func (c *Codec) Patch(raw []byte, h Header, b *record.Batch, o EncodeOptions) bool {
	if h.IsControl() || h.Compression() != None || !o.KeepCompression && o.Compression != None {
		return false
	}
	for i := range b.Records {
		if !asFramed(&b.Records[i]) {
			return false
		}
	}

	finish(raw)
	return true
}

// assemble appends the header and the records, compressed with codec, as one
// whole batch.
func (c *Codec) assemble(dst []byte, e *encoder, codec Compression) ([]byte, error) {
	if err := e.count(); err != nil {
		return dst, err
	}
	start := len(dst)
	e.header.Attributes = e.header.Attributes&^codecMask | int16(codec)

	if codec == None {
		dst = slices.Grow(dst, headerSize+e.size)
		dst = e.records(e.header.append(dst))
		return finishFrom(dst, start)
	}

	if codec == LZ4 && e.options.Level == 0 && !e.reframed {
		if out, ok := c.lz4.again(e.header.append(dst), e.batch); ok {
			return finishFrom(out, start)
		}
	}

	plain := e.batch.Data
	if e.reframed {
		plain = e.records(slices.Grow(c.plain[:0], e.size))
		if c.plain = plain; cap(plain) > maxRetained {
			c.plain = nil
		}
	}

	dst, err := c.compress(e.header.append(dst), plain, codec, e.options.Level)
	if err != nil {
		return dst, err
	}

	return finishFrom(dst, start)
}

func finishFrom(dst []byte, start int) ([]byte, error) {
	if len(dst)-start > math.MaxInt32 {
		return dst, ErrTooLarge
	}
	finish(dst[start:])
	return dst, nil
}
