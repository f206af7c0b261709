package recordbatch

import (
	"encoding/binary"
	"math/bits"
)

const (
	lz4HashBits = 13
	// lz4Margin: the last five bytes of a block are literals, the last match
	// starts twelve before its end (LZ4 block format, end of block conditions);
	// the rest keeps 64-bit loads within the block.
	lz4Margin   = 20
	lz4LastLits = 5
	lz4Slack    = 64 // what wild copies write behind the output, at most
)

// lz4Input is a block, copied here so that a 16-bit position with 8 bytes
// behind it is always within the array: the compiler then needs no bounds
// checks, and no unsafe is needed to be as fast as without them.
type lz4Input [lz4BlockSize + 32]byte

func (in *lz4Input) load64(at uint16) uint64 { return binary.LittleEndian.Uint64(in[int(at):]) }
func (in *lz4Input) load32(at uint16) uint32 { return binary.LittleEndian.Uint32(in[int(at):]) }

// lz4Block compresses single blocks. Its table holds the last position of each
// hash; a cleared entry stands for position 0, which is as good a candidate as
// any, since every candidate is compared. Clearing 16 KiB per block costs less
// than any book-keeping that would avoid it.
type lz4Block struct {
	table [1 << lz4HashBits]uint16
	in    lz4Input
}

// lz4Hash mixes the lowest five bytes of v into an index of the table.
func lz4Hash(v uint64) uint32 {
	return uint32((v << 24) * 889523592379 >> (64 - lz4HashBits))
}

// compress writes the LZ4 block of src, at most 64 KiB, to dst and returns its
// size. dst must hold lz4Bound(len(src)) bytes.
func (z *lz4Block) compress(dst, src []byte) int {
	in := &z.in
	table := &z.table
	n := copy(in[:lz4BlockSize], src)
	if n <= lz4Margin {
		return lz4Tail(dst, 0, src)
	}

	clear(table[:])
	last := n - lz4Margin
	anchor := 0
	di := 0
	for at := 1; ; {
		// Two of three positions are tried, fewer the longer nothing matches.
		var ref int
		step := 3 << 6
		for {
			if at > last {
				return lz4Tail(dst, di, src[anchor:])
			}
			v := in.load64(uint16(at))
			h0 := lz4Hash(v)
			h1 := lz4Hash(v >> 8)
			r0 := table[h0]
			table[h0] = uint16(at)

			if uint32(v) == in.load32(r0) {
				ref = int(r0)
				break
			}

			r1 := table[h1]
			table[h1] = uint16(at + 1)
			if uint32(v>>8) == in.load32(r1) {
				ref = int(r1)
				at++
				break
			}

			at += step >> 6
			step += 2
		}

		for at > anchor && ref > 0 && in[uint16(at-1)] == in[uint16(ref-1)] {
			at--
			ref--
		}

		for more := true; more; {
			end := in.matchEnd(at+4, at-ref, n-lz4LastLits)
			di = in.sequence(dst, di, anchor, lz4Match{at, end, at - ref})
			at = end
			anchor = end

			if at > last {
				break
			}
			// A match often follows at once: try without searching.
			// Positions within it are not entered, which costs no density here.
			v := in.load64(uint16(at))
			h := lz4Hash(v)
			ref = int(table[h])
			table[h] = uint16(at)
			more = uint32(v) == in.load32(uint16(ref))
		}

		at++
	}
}

// lz4Match is a match of [start, end) with what lies offset bytes before.
type lz4Match struct{ start, end, offset int }

// matchEnd extends a match, known to hold before at, up to end.
func (in *lz4Input) matchEnd(at, offset, end int) int {
	for ; at <= end-8; at += 8 {
		if x := in.load64(uint16(at)) ^ in.load64(uint16(at-offset)); x != 0 {
			return at + bits.TrailingZeros64(x)>>3
		}
	}

	for at < end && in[uint16(at)] == in[uint16(at-offset)] {
		at++
	}
	return at
}

// sequence writes the literals from anchor and then match m at dst[di:]. Short
// literals are copied as 16 bytes, whatever their number: what is too much is
// overwritten by what follows.
func (in *lz4Input) sequence(dst []byte, di, anchor int, m lz4Match) int {
	literals := m.start - anchor
	length := m.end - m.start - 4
	token := byte(min(length, 15))

	if literals < 15 {
		d := (*[32]byte)(dst[di:])
		d[0] = byte(literals<<4) | token
		binary.LittleEndian.PutUint64(d[1:], in.load64(uint16(anchor)))
		binary.LittleEndian.PutUint64(d[9:], in.load64(uint16(anchor+8)))
		binary.LittleEndian.PutUint16(d[1+literals&15:], uint16(m.offset))
		di += literals + 3
	} else {
		di = in.literals(dst, di, anchor, literals, token)
		binary.LittleEndian.PutUint16(dst[di:], uint16(m.offset))
		di += 2
	}

	if length >= 15 {
		di = lz4Length(dst, di, length-15)
	}
	return di
}

// literals writes a token and 15 literals or more.
func (in *lz4Input) literals(dst []byte, di, anchor, n int, token byte) int {
	dst[di] = 15<<4 | token
	di = lz4Length(dst, di+1, n-15)
	if n <= 32 {
		*(*[32]byte)(dst[di:]) = *(*[32]byte)(in[int(uint16(anchor)):])
	} else {
		copy(dst[di:], in[anchor:anchor+n])
	}

	return di + n
}

// lz4Length writes what of a length does not fit in its nibble: bytes of 255,
// then the rest.
func lz4Length(dst []byte, di, n int) int {
	for ; n >= 255; n -= 255 {
		dst[di] = 255
		di++
	}
	dst[di] = byte(n)
	return di + 1
}

// lz4Tail writes the last sequence, which the format wants to be literals
// without a match.
func lz4Tail(dst []byte, di int, literals []byte) int {
	n := len(literals)
	dst[di] = byte(min(n, 15) << 4)
	di++
	if n >= 15 {
		di = lz4Length(dst, di, n-15)
	}
	return di + copy(dst[di:], literals)
}

// lz4Bound is how large a destination in bytes compress needs for n bytes,
// however they are.
func lz4Bound(n int) int { return n + n/255 + 16 + lz4Slack }
