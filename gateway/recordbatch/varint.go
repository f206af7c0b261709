package recordbatch

import "math/bits"

// past is the position that a failed read returns. It lies behind every end,
// so that a sequence of reads needs one check, after the last.
const past = 1<<31 - 1

// varint reads a zigzag number of 32 bits at b[i] and returns the position
// behind it. A padded number within 5 bytes is accepted, as brokers do.
func varint(b []byte, i int) (int32, int) {
	if i < len(b) && b[i] < 0x80 {
		return int32(b[i]>>1) ^ -int32(b[i]&1), i + 1
	}
	return longVarint(b, i)
}

func longVarint(b []byte, i int) (int32, int) {
	if i+1 < len(b) && b[i+1] < 0x80 {
		u := uint32(b[i]&0x7f) | uint32(b[i+1])<<7
		return int32(u>>1) ^ -int32(u&1), i + 2
	}

	u, next := uvarint(b, i, 5)
	if u > 1<<32-1 {
		return 0, past
	}
	return int32(uint32(u)>>1) ^ -int32(u&1), next
}

// varlong reads a zigzag number of 64 bits at b[i], and returns where it ends.
func varlong(b []byte, i int) (int64, int) {
	if i < len(b) && b[i] < 0x80 {
		return int64(b[i]>>1) ^ -int64(b[i]&1), i + 1
	}
	if i+1 < len(b) && b[i+1] < 0x80 {
		u := int64(b[i]&0x7f) | int64(b[i+1])<<7
		return u>>1 ^ -(u & 1), i + 2
	}

	u, next := uvarint(b, i, 10)
	return int64(u>>1) ^ -int64(u&1), next
}

// uvarint reads at most size bytes of seven bits each, and returns where they
// end. A number that needs more is malformed.
func uvarint(b []byte, i, size int) (uint64, int) {
	if i >= len(b) {
		return 0, past
	}
	var u uint64
	for n, c := range b[i:min(len(b), i+size)] {
		if n == 9 && c > 1 {
			return 0, past // beyond 64 bits
		}
		u |= uint64(c&0x7f) << (7 * n)
		if c < 0x80 {
			return u, i + n + 1
		}
	}

	return 0, past
}

// sizeVarint is the number of bytes that binary.AppendVarint writes, which are
// the fewest. Values of 32 bits have the same form in both widths.
func sizeVarint(v int64) int {
	zigzag := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(zigzag|1) + 6) / 7
}
