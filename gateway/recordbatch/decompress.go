package recordbatch

import (
	"fmt"

	"github.com/guardlock/guardlock/transforms/record"
)

// decompress sets b.Data to the records of a verified batch, never beyond the
// limit of the codec.
func (c *Codec) decompress(h Header, src []byte, b *record.Batch) (err error) {
	limit := c.limits.MaxDecompressed
	c.lz4.frame.of = nil // what it was made of may be gone
	if h.NumRecords == 0 {
		// What compaction leaves of a batch is its header alone.
		if len(src) > 0 {
			return fmt.Errorf("decompressing: %d bytes in a batch without records: %w", len(src), ErrCorrupt)
		}
		return nil
	}

	codec := h.Compression()
	dst := b.Memory[:0]
	switch codec {
	case None:
		if len(src) > limit {
			return fmt.Errorf("reading records: %w", ErrTooLarge)
		}
		b.Data = src[:len(src):len(src)]
		return nil
	case Gzip:
		dst, err = c.gzip.decode(dst, src, limit)
	case Snappy:
		dst, err = decodeSnappy(dst, src, limit)
	case LZ4:
		dst, err = c.lz4.decode(dst, src, limit)
	case Zstd:
		dst, err = c.zstd.decode(dst, src, limit)
	default:
		err = ErrUnsupportedCompression
	}

	b.Memory = dst
	b.Data = dst
	b.Sent = src

	if err != nil {
		return fmt.Errorf("decompressing %s: %w", codec, err)
	}
	return nil
}

// room returns dst with space for n more bytes, and n cut to what the limit
// leaves. Callers ask for no more than the input at hand can expand to. The
// space doubles, but not past the limit.
func room(dst []byte, n, limit int) ([]byte, int) {
	n = max(min(n, limit-len(dst)), 0)
	if cap(dst)-len(dst) >= n {
		return dst, n
	}
	grown := make([]byte, len(dst), max(len(dst)+n, min(2*cap(dst), limit)))
	copy(grown, dst)
	return grown, n
}
