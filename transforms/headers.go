package transforms

// validHeaders reports whether p is one well-formed Kafka header block (KIP-82,
// KIP-98): a varint count, then for each header a key that is not null and a
// value that may be, and nothing behind them. Varints are zigzag.
func validHeaders(p []byte) bool {
	count, p, ok := varint(p)
	if !ok || count < 0 || int64(count) > int64(len(p)) {
		return false
	}

	for ; count > 0; count-- {
		var n int32
		if n, p, ok = varint(p); !ok || n < 0 || int64(n) > int64(len(p)) {
			return false
		}

		p = p[n:]
		if n, p, ok = varint(p); !ok || n < -1 || int64(n) > int64(len(p)) {
			return false
		}
		p = p[max(n, 0):]
	}

	return len(p) == 0
}

// varint reads a zigzag varint of at most 32 bits at the beginning of p, and
// returns what follows it.
func varint(p []byte) (v int32, rest []byte, ok bool) {
	var u uint32
	for n, c := range p {
		if n == 4 && c > 0x0f {
			return 0, nil, false
		}
		u |= uint32(c&0x7f) << (7 * n)
		if c < 0x80 {
			return int32(u>>1) ^ -int32(u&1), p[n+1:], true
		}
	}

	return 0, nil, false
}
