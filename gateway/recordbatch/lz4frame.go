package recordbatch

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format, version 1: magic, descriptor (flags, block size,
// optional content size and dictionary id, header checksum), blocks, an empty
// block, an optional content checksum. Numbers are little endian.
const (
	lz4Magic = 0x184D2204

	lz4Version          = 0x40
	lz4VersionMask      = 0xC0
	lz4BlockIndependent = 0x20
	lz4BlockChecksum    = 0x10
	lz4ContentSize      = 0x08
	lz4ContentChecksum  = 0x04
	lz4Reserved         = 0x02
	lz4DictionaryID     = 0x01

	lz4Uncompressed = 1 << 31 // in a block's length
	lz4Window       = 64 << 10
	lz4BlockSize    = 64 << 10 // of what we write
)

// lz4State keeps the compressors: our own for the fast level, which takes half
// the time of the library's, whose table has an in-use bitmap beside it.
type lz4State struct {
	fast  *lz4Block
	dense *lz4.CompressorHC
	frame lz4Frame // that was decoded last

	touched []lz4Range // of the block at hand
	stale   lz4Stale
}

// encode appends a frame of independent blocks of 64 KiB: the one form that
// every client reads, Java's refuses linked blocks.
func (l *lz4State) encode(dst, src []byte, level int) []byte {
	dst = appendLZ4Descriptor(dst, 4)
	for len(src) > 0 {
		block := src[:min(len(src), lz4BlockSize)]
		src = src[len(block):]
		dst = l.appendBlock(dst, block, level)
	}
	return binary.LittleEndian.AppendUint32(dst, 0)
}

// appendLZ4Descriptor begins a frame of independent blocks without checksums:
// the batch has a CRC of its own.
func appendLZ4Descriptor(dst []byte, blockSize byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, lz4Version|lz4BlockIndependent, blockSize<<4)
	return append(dst, byte(xxh32(dst[at+4:at+6])>>8))
}

// appendBlock appends one block with its length, as it is where compressing
// does not shrink it.
func (l *lz4State) appendBlock(dst, block []byte, level int) []byte {
	at := len(dst)
	dst = slices.Grow(dst, 4+lz4Bound(len(block)))
	body := dst[at+4 : cap(dst)]
	n := l.compressBlock(body, block, level)
	return endBlock(dst, at, n, block)
}

// endBlock ends the block at dst[at], of which n bytes, 0 where it failed, lie
// behind its length.
func endBlock(dst []byte, at, n int, plain []byte) []byte {
	length := uint32(n)
	if n == 0 || n >= len(plain) {
		n = copy(dst[at+4:cap(dst)], plain)
		length = uint32(n) | lz4Uncompressed
	}

	dst = dst[:at+4+n]
	binary.LittleEndian.PutUint32(dst[at:], length)
	return dst
}

// compressBlock returns the size of what it wrote to dst, 0 where it failed.
func (l *lz4State) compressBlock(dst, src []byte, level int) int {
	if level == 0 {
		if l.fast == nil {
			l.fast = new(lz4Block)
		}
		return l.fast.compress(dst, src)
	}

	if l.dense == nil {
		l.dense = new(lz4.CompressorHC)
	}
	l.dense.Level = lz4.Level1
	if level == maxLevel {
		l.dense.Level = lz4.Level9
	}

	n, err := l.dense.CompressBlock(src, dst)
	if err != nil {
		return 0
	}

	return n
}

var errLZ4Frame = fmt.Errorf("reading frame descriptor: %w", ErrCorrupt)

// lz4Frame is what a frame's descriptor says, and where the frame's blocks are.
type lz4Frame struct {
	flags       byte
	blockSize   byte // as the descriptor has it
	blockMax    int
	contentSize uint64

	of     []byte // the whole frame, once it was found good
	start  int    // of the content in what it was appended to
	blocks []lz4Extent
}

// lz4Extent is a block of a frame that was decoded: its body in the frame, and
// the end of its content in the frame's.
type lz4Extent struct {
	body  []byte
	plain bool // not compressed
	end   int
}

// maxLZ4Extents bounds what is remembered of a frame that consists of tiny
// blocks.
const maxLZ4Extents = 1 << 12

func (f *lz4Frame) note(body []byte, plain bool, end int) {
	if len(f.blocks) < maxLZ4Extents {
		f.blocks = append(f.blocks, lz4Extent{body, plain, end - f.start})
	}
}

// decode appends the content of src, which must be exactly one frame.
func (l *lz4State) decode(dst, src []byte, limit int) ([]byte, error) {
	f := &l.frame
	of := src
	src, err := f.read(src)
	if err != nil {
		return dst, err
	}

	f.start = len(dst)
	for {
		if len(src) < 4 {
			return dst, fmt.Errorf("reading block length: %w", ErrCorrupt)
		}
		length := binary.LittleEndian.Uint32(src)
		if src = src[4:]; length == 0 {
			break
		}
		if dst, src, err = f.block(dst, src, length, limit); err != nil {
			return dst, fmt.Errorf("reading block: %w", err)
		}
	}

	if err := f.check(dst[f.start:], src); err != nil {
		return dst, err
	}
	f.of = of
	return dst, nil
}

// read reads the descriptor and returns what is behind it. It refuses other
// versions, reserved bits and dictionaries.
func (f *lz4Frame) read(src []byte) (rest []byte, err error) {
	*f = lz4Frame{blocks: f.blocks[:0]}
	le := binary.LittleEndian
	if len(src) < 7 || le.Uint32(src) != lz4Magic {
		return nil, errLZ4Frame
	}

	f.flags = src[4]
	f.blockSize = src[5] >> 4
	if f.flags&lz4VersionMask != lz4Version || f.flags&lz4Reserved != 0 || src[5]&0x8F != 0 || f.blockSize < 4 {
		return nil, errLZ4Frame
	}
	if f.flags&lz4DictionaryID != 0 {
		return nil, fmt.Errorf("reading frame descriptor: dictionary: %w", ErrUnsupportedCompression)
	}

	f.blockMax = 1 << (8 + 2*f.blockSize)
	end := 6
	if f.flags&lz4ContentSize != 0 {
		if end += 8; len(src) <= end {
			return nil, errLZ4Frame
		}
		f.contentSize = le.Uint64(src[6:])
	}

	if byte(xxh32(src[4:end])>>8) != src[end] {
		return nil, errLZ4Frame
	}
	return src[end+1:], nil
}

// block appends the content of one block to dst and returns what is behind it,
// never beyond the limit.
func (f *lz4Frame) block(dst, src []byte, length uint32, limit int) ([]byte, []byte, error) {
	size := int(length &^ lz4Uncompressed)
	if size > f.blockMax || size > len(src) {
		return dst, src, ErrCorrupt
	}

	body := src[:size]
	rest := src[size:]
	if f.flags&lz4BlockChecksum != 0 {
		if len(rest) < 4 || binary.LittleEndian.Uint32(rest) != xxh32(body) {
			return dst, src, ErrCorrupt
		}
		rest = rest[4:]
	}

	if length&lz4Uncompressed != 0 {
		if size > limit-len(dst) {
			return dst, src, ErrTooLarge
		}
		dst = append(dst, body...)
		f.note(body, true, len(dst))
		return dst, rest, nil
	}

	dst, err := f.expand(dst, body, limit)
	f.note(body, false, len(dst))
	return dst, rest, err
}

// expand appends the content of a compressed block. A length byte of 255 is
// the best ratio there is, so what a block claims is bounded by its size.
func (f *lz4Frame) expand(dst, body []byte, limit int) ([]byte, error) {
	want := min(f.blockMax, 255*len(body))
	dst, n := room(dst, want, limit)
	at := len(dst)
	var dict []byte

	if f.flags&lz4BlockIndependent == 0 {
		dict = dst[max(0, at-lz4Window):at]
	}
	written, err := lz4.UncompressBlockWithDict(body, dst[at:at+n], dict)
	if err != nil {
		if n < want {
			return dst, ErrTooLarge // or corrupt: either way it is refused
		}
		return dst, ErrCorrupt
	}

	return dst[:at+written], nil
}

// check checks what follows the last block: the checksum of the content, where
// the descriptor says that there is one.
func (f *lz4Frame) check(content, src []byte) error {
	if f.flags&lz4ContentChecksum != 0 {
		if len(src) < 4 || binary.LittleEndian.Uint32(src) != xxh32(content) {
			return fmt.Errorf("reading content checksum: %w", ErrCorrupt)
		}
		src = src[4:]
	}

	switch {
	case f.flags&lz4ContentSize != 0 && f.contentSize != uint64(len(content)):
		return fmt.Errorf("reading frame: content size differs: %w", ErrCorrupt)
	case len(src) > 0:
		return fmt.Errorf("reading frame: %d bytes behind it: %w", len(src), ErrCorrupt)
	}

	return nil
}
