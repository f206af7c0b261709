package wire

import "encoding/binary"

// reader walks a frame. After the first thing that does not fit it is bad and
// every further read gives zero, so that callers check once per structure; all
// loops are bounded by counts that arrayLen held against the bytes left.
type reader struct {
	src  []byte
	off  int
	flex bool // compact lengths and tagged fields (KIP-482)
	bad  bool
}

func (r *reader) fail() {
	r.bad = true
	r.off = len(r.src)
}

// take returns the next n bytes as a view into the frame, or nil where they are
// not there.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.src)-r.off {
		r.fail()
		return nil
	}
	b := r.src[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) i8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) i16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) i32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) i64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) uuid() (id [16]byte) {
	copy(id[:], r.take(16))
	return id
}

// uvarint reads at most five bytes holding at most 32 bits. Padded forms are
// read, since brokers read them too; they are never written.
func (r *reader) uvarint() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		if r.off >= len(r.src) {
			break
		}
		b := r.src[r.off]
		r.off++
		v |= uint64(b&0x7f) << shift

		if b < 0x80 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}

	r.fail()
	return 0
}

// str reads a string in the structure's encoding, as a view. Kafka's null is
// nil.
func (r *reader) str() []byte {
	if r.flex {
		return r.lengthed(int64(r.uvarint()) - 1)
	}
	return r.lengthed(int64(r.i16()))
}

// nullableBytes reads a bytes or records field in the structure's encoding, as
// a view. Kafka's null is nil.
func (r *reader) nullableBytes() []byte {
	if r.flex {
		return r.lengthed(int64(r.uvarint()) - 1)
	}
	return r.lengthed(int64(r.i32()))
}

func (r *reader) lengthed(n int64) []byte {
	if r.bad || n == -1 {
		return nil
	}
	if n < 0 || n > int64(len(r.src)-r.off) {
		r.fail()
		return nil
	}

	return r.take(int(n))
}

// arrayLen reads a count, -1 for null. A count of elements of at least minSize
// bytes that cannot be there is refused before anyone loops or allocates.
func (r *reader) arrayLen(minSize int) int {
	n := int64(-1)
	if r.flex {
		n += int64(r.uvarint())
	} else {
		n = int64(r.i32())
	}

	if r.bad || n < -1 || n*int64(minSize) > int64(len(r.src)-r.off) {
		r.fail()
		return 0
	}
	return int(n)
}

// tags steps over a tagged-field section, where the structure has one
// (KIP-482).
func (r *reader) tags() {
	r.eachTag(nil)
}

// eachTag hands every tagged field to visit (which may be nil): its value as a
// view, and the offset at which the value's length stands.
func (r *reader) eachTag(visit func(tag uint32, value []byte, lenAt int)) {
	if !r.flex {
		return
	}
	n := r.uvarint()
	if int64(n)*2 > int64(len(r.src)-r.off) { // a tag is at least key and length
		r.fail()
		return
	}

	for ; n > 0 && !r.bad; n-- {
		tag := r.uvarint()
		lenAt := r.off
		value := r.lengthed(int64(r.uvarint()))
		if visit != nil && !r.bad {
			visit(tag, value, lenAt)
		}
	}
}
