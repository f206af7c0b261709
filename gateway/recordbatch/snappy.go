package recordbatch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
)

// xerialMagic opens the framing of the Java library: magic, two versions, then
// blocks, each with its length (4 bytes, big endian).
const (
	xerialMagic      = "\x82SNAPPY\x00"
	xerialHeaderSize = len(xerialMagic) + 8
)

// encodeSnappy appends one raw block: every client reads it, and only the Java
// library writes its own framing.
func encodeSnappy(dst, src []byte, level int) []byte {
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
	room := dst[len(dst):cap(dst)]
	var out []byte

	switch level {
	case 0:
		out = s2.EncodeSnappy(room, src)
	case 1:
		out = s2.EncodeSnappyBetter(room, src)
	default:
		out = s2.EncodeSnappyBest(room, src)
	}

	return dst[:len(dst)+len(out)]
}

// decodeSnappy appends the content of src, in either framing. The library's
// xerial.DecodeCapped reads the same framing, but passes over up to three bytes
// behind the last block, where something could hide from a transform, and wants
// room for the whole before the first block is read.
func decodeSnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < xerialHeaderSize || !strings.HasPrefix(string(src[:len(xerialMagic)]), xerialMagic) {
		return decodeSnappyBlock(dst, src, limit)
	}
	src = src[xerialHeaderSize:]
	for len(src) > 0 {
		if len(src) < 4 {
			return dst, fmt.Errorf("reading xerial frame: %w", ErrCorrupt)
		}
		size := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(size) > uint64(len(src)) {
			return dst, fmt.Errorf("reading xerial frame: %w", ErrCorrupt)
		}

		var err error
		if dst, err = decodeSnappyBlock(dst, src[:size], limit); err != nil {
			return dst, err
		}
		src = src[size:]
	}

	return dst, nil
}

// maxSnappyRatio is how far a block can expand: at most 64 bytes for the 3 of
// a copy with a two-byte offset.
const maxSnappyRatio = 22

// decodeSnappyBlock appends the content of one block. The size that the block
// announces is held against what its bytes could expand to before any memory is
// taken.
func decodeSnappyBlock(dst, src []byte, limit int) ([]byte, error) {
	size, err := s2.DecodedLen(src)
	switch {
	case err != nil || size/maxSnappyRatio > len(src):
		return dst, fmt.Errorf("reading block: %w", ErrCorrupt)
	case size > limit-len(dst):
		return dst, ErrTooLarge
	}

	dst, _ = room(dst, size, limit)
	if _, err := s2.Decode(dst[len(dst):len(dst)+size], src); err != nil {
		return dst, fmt.Errorf("reading block: %w", ErrCorrupt)
	}
	return dst[:len(dst)+size], nil
}
