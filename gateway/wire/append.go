package wire

import "encoding/binary"

// The writers mirror reader. All of them write canonical lengths, whatever form
// the client's had.

func appendI16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendI32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendI64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

func appendUvarint(dst []byte, v uint32) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

// appendStr writes a string in the encoding that flex asks for. A nil slice is
// Kafka's null.
func appendStr(dst, s []byte, flex bool) []byte {
	switch {
	case flex && s == nil:
		return append(dst, 0)
	case flex:
		dst = appendUvarint(dst, uint32(len(s))+1)
	case s == nil:
		return appendI16(dst, -1)
	default:
		dst = appendI16(dst, int16(len(s)))
	}
	return append(dst, s...)
}

// appendBytes writes a bytes or records field in the encoding that flex asks
// for. A nil slice is Kafka's null.
func appendBytes(dst, b []byte, flex bool) []byte {
	if b == nil {
		if flex {
			return append(dst, 0)
		}
		return appendI32(dst, -1)
	}

	dst = appendBytesLen(dst, len(b), flex)
	return append(dst, b...)
}

func appendBytesLen(dst []byte, n int, flex bool) []byte {
	if flex {
		return appendUvarint(dst, uint32(n)+1)
	}
	return appendI32(dst, int32(n))
}

func appendArrayLen(dst []byte, n int, flex bool) []byte {
	return appendBytesLen(dst, n, flex)
}

// appendNoTags closes a structure of our own, which never has tagged fields.
// Structures before KIP-482 have no place for them.
func appendNoTags(dst []byte, flex bool) []byte {
	if flex {
		return append(dst, 0)
	}
	return dst
}
