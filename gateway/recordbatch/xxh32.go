package recordbatch

import (
	"encoding/binary"
	"math/bits"
)

const (
	xxhPrime1 uint32 = 2654435761
	xxhPrime2 uint32 = 2246822519
	xxhPrime3 uint32 = 3266489917
	xxhPrime4 uint32 = 668265263
	xxhPrime5 uint32 = 374761393
)

// xxh32 is the 32-bit xxHash of b with seed 0, LZ4's checksum.
func xxh32(b []byte) uint32 {
	le := binary.LittleEndian
	sum := xxhPrime5
	total := uint32(len(b))

	if len(b) >= 16 {
		sum, b = xxhStripes(b)
	}
	sum += total
	for ; len(b) >= 4; b = b[4:] {
		sum = bits.RotateLeft32(sum+le.Uint32(b)*xxhPrime3, 17) * xxhPrime4
	}

	for _, c := range b {
		sum = bits.RotateLeft32(sum+uint32(c)*xxhPrime5, 11) * xxhPrime1
	}
	sum = (sum ^ sum>>15) * xxhPrime2
	sum = (sum ^ sum>>13) * xxhPrime3
	return sum ^ sum>>16
}

// xxhStripes folds the whole 16-byte stripes of b in four lanes, and returns
// what is left of b.
func xxhStripes(b []byte) (uint32, []byte) {
	le := binary.LittleEndian
	p1 := xxhPrime1
	p2 := xxhPrime2
	v1 := p1 + p2
	v2 := p2
	v3 := uint32(0)
	v4 := -p1
	for len(b) >= 16 {
		s := b[:16]
		v1 = bits.RotateLeft32(v1+le.Uint32(s[0:])*xxhPrime2, 13) * xxhPrime1
		v2 = bits.RotateLeft32(v2+le.Uint32(s[4:])*xxhPrime2, 13) * xxhPrime1
		v3 = bits.RotateLeft32(v3+le.Uint32(s[8:])*xxhPrime2, 13) * xxhPrime1
		v4 = bits.RotateLeft32(v4+le.Uint32(s[12:])*xxhPrime2, 13) * xxhPrime1
		b = b[16:]
	}

	return bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) +
		bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18), b
}
