package wasm

import "fmt"

// RefusedError says why a module's structure was refused. Offset is the byte of
// the file where the rule was broken.
type RefusedError struct {
	Reason string
	Offset int
}

// Error says what was refused, and where in the file.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("module refused: %s (byte %d)", e.Reason, e.Offset)
}

// reader walks WebAssembly bytes. The first failure sticks, and from then on
// every read gives zero, so that callers check once for each loop.
type reader struct {
	b   []byte
	pos int
	end int // reads stop here: the end of the file, section or body
	err *RefusedError
}

func (r *reader) refuse(format string, args ...any) {
	if r.err == nil {
		r.err = &RefusedError{Reason: fmt.Sprintf(format, args...), Offset: r.pos}
	}
	r.pos = r.end
}

func (r *reader) left() int { return r.end - r.pos }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.refuse("the file is truncated")
		return 0
	}
	c := r.b[r.pos]
	r.pos++
	return c
}

func (r *reader) skip(n uint32) {
	if uint64(n) > uint64(r.left()) {
		r.refuse("the file is truncated")
		return
	}
	r.pos += int(n)
}

// u32 reads an unsigned LEB128 of at most 32 bits, padded or not.
func (r *reader) u32() uint32 {
	if r.pos < r.end && r.b[r.pos] < 0x80 {
		r.pos++
		return uint32(r.b[r.pos-1])
	}

	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			break
		}

		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}

	r.refuse("a number does not fit in 32 bits")
	return 0
}

// signed skips a signed LEB128 of at most size bytes; the engine checks its range.
func (r *reader) signed(size int) {
	for range size {
		if r.byte() < 0x80 {
			return
		}
	}
	r.refuse("a constant is too long")
}

// count reads the length of a vector. Every element takes at least one byte, so
// a count above the bytes that are left is a lie, and nothing is ever allocated
// by a count that was not held against both bounds.
func (r *reader) count(what string, limit int) int {
	n := r.u32()
	switch {
	case uint64(n) > uint64(limit):
		r.refuse("%d %s exceed the limit of %d", n, what, limit)
		return 0
	case uint64(n) > uint64(r.left()):
		r.refuse("%d %s are announced in %d bytes", n, what, r.left())
		return 0
	}

	return int(n)
}

func (r *reader) name(what string, limit int) string {
	n := r.count("bytes of "+what, limit)
	if r.err != nil {
		return ""
	}
	s := string(r.b[r.pos : r.pos+n])
	r.pos += n
	return s
}

func (r *reader) valType() byte {
	t := r.byte()
	if !isValType(t) {
		r.refuse("value type 0x%02x is not allowed", t)
	}
	return t
}

func isValType(t byte) bool {
	switch t {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f:
		return true
	}
	return false
}

func (r *reader) index(what string, n int) uint32 {
	i := r.u32()
	if r.err == nil && uint64(i) >= uint64(n) {
		r.refuse("%s %d does not exist", what, i)
	}
	return i
}
