package recordbatch

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/guardlock/guardlock/transforms/record"
)

// Compressing a batch of which bytes were overwritten in place need not search
// for matches: the producer's compressor has found them. Each of its sequences
// is kept where its match still holds, which one comparison tells, and blocks
// that no changed record touches are copied as they are.

// again appends the batch's records as an LZ4 frame made after the one that
// they came in. It returns false where that cannot be done: this codec decoded
// another batch since, or they came in another form, in linked blocks, which
// Java's client does not read, or in large ones of which too little holds.
func (l *lz4State) again(dst []byte, b *record.Batch) ([]byte, bool) {
	f := &l.frame
	if len(b.Sent) == 0 || len(f.of) != len(b.Sent) || unsafe.SliceData(f.of) != unsafe.SliceData(b.Sent) ||
		f.flags&lz4BlockIndependent == 0 || len(f.blocks) == 0 || f.blocks[len(f.blocks)-1].end != len(b.Data) {
		return dst, false
	}

	start := len(dst)
	dst = appendLZ4Descriptor(dst, f.blockSize)
	at := 0
	next := 0
	for _, e := range f.blocks {
		next = l.touchedIn(b.Records, next, at, e.end)
		var ok bool
		if dst, ok = l.againBlock(dst, e, b.Data[at:e.end]); !ok {
			return dst[:start], false
		}
		at = e.end
	}

	return binary.LittleEndian.AppendUint32(dst, 0), true
}

// lz4Range is a range [start, end) of a block's content, in bytes.
type lz4Range struct{ start, end int }

// touchedIn collects what was overwritten in the block from at to end. Records
// before next end before the block; it returns the next next.
func (l *lz4State) touchedIn(all []record.Record, next, at, end int) int {
	l.touched = l.touched[:0]
	for ; next < len(all) && int(all[next].Whole.Off) < end; next++ {
		r := &all[next]
		from := max(int(r.Touched.Off), at)
		to := min(int(r.Touched.Off)+int(r.Touched.Len), end)
		if r.InPlace() && from < to {
			l.touched = append(l.touched, lz4Range{from - at, to - at})
		}
		if int(r.Whole.Off)+int(r.Whole.Len) > end {
			break // its rest is in the next block
		}
	}

	return next
}

// againBlock appends one block whose content is now plain, with the matches of
// the old one that still hold. Where too few hold the block is compressed anew;
// of one that is too large for that it reports false.
func (l *lz4State) againBlock(dst []byte, e lz4Extent, plain []byte) ([]byte, bool) {
	switch {
	case e.plain:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(plain))|lz4Uncompressed)
		return append(dst, plain...), true
	case len(l.touched) == 0:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e.body)))
		return append(dst, e.body...), true
	}

	at := len(dst)
	dst = slices.Grow(dst, 4+lz4Bound(len(plain)))
	l.stale.mark(l.touched, len(plain))
	r := resequencer{
		src:     e.body,
		plain:   plain,
		out:     dst[at+4 : cap(dst)],
		touched: l.touched,
		stale:   l.stale,
	}

	n := r.run()
	// Where too few matches held, others may be found.
	if tooLong := len(e.body) + len(e.body)/4; n == 0 || n > tooLong {
		if len(plain) > lz4BlockSize {
			return dst[:at], false
		}
		return l.appendBlock(dst[:at], plain, 0), true
	}

	return endBlock(dst, at, n, plain), true
}

// lz4Stale tells of each granule of a block's content whether any byte of it
// was overwritten.
type lz4Stale []bool

const lz4Granule = 6 // bits

func (s *lz4Stale) mark(touched []lz4Range, size int) {
	n := size>>lz4Granule + 1
	*s = slices.Grow((*s)[:0], n)[:n]
	clear(*s)

	for _, t := range touched {
		for g := t.start >> lz4Granule; g <= (t.end-1)>>lz4Granule; g++ {
			(*s)[g] = true
		}
	}
}

// any reports whether a byte from start to end may have been overwritten.
func (s lz4Stale) any(start, end int) bool {
	first := start >> lz4Granule
	last := (end - 1) >> lz4Granule
	return s[first] || s[last] || last > first+1 && slices.Contains(s[first+1:last], true)
}

// resequencer writes a block anew with the matches of an old one, src, whose
// content was as long as plain.
type resequencer struct {
	src, plain, out []byte
	touched         []lz4Range // in order, those still ahead
	stale           lz4Stale

	di     int // end of what was written
	anchor int // in plain: literals from here are not written yet
	kept   int // in src: sequences from here on hold as they are and are not written yet
}

// lz4Sequence is a sequence of src, as the block format has it: literals, then
// a match.
type lz4Sequence struct {
	start    int // in src
	literals int // in src
	count    int // of literals
	match    lz4Match
	next     int // in src
}

// run returns the size of the block, 0 where src is not what it should be.
func (r *resequencer) run() int {
	var q lz4Sequence
	clean := r.ahead(0)
	for {
		if r.anchor == q.match.end {
			q.next, q.match.end = r.skip(q.next, q.match.end, clean)
			r.anchor = q.match.end
		}

		if !r.read(&q) {
			break
		}
		m := &q.match
		fresh := m.end <= clean
		holds := fresh && !r.stale.any(m.start-m.offset, m.end-m.offset) ||
			same(r.plain, m.start, r.plain, m.start-m.offset, m.end-m.start)
		if holds && r.anchor == m.start-q.count && (fresh || same(r.plain, r.anchor, r.src, q.literals, q.count)) {
			r.anchor = m.end
		} else {
			r.flush(q.start)
			if holds {
				r.emit(m.start, m.end-m.start, m.offset)
			} else {
				r.parts(*m)
			}
			r.kept = q.next
		}

		if !fresh {
			clean = r.ahead(m.end)
		}
	}

	if q.next != len(r.src) || q.match.start != len(r.plain) {
		return 0
	}
	r.flush(q.start)
	return lz4Tail(r.out, r.di, r.plain[r.anchor:])
}

// skip walks sequences of the most frequent form that hold as they are: nothing
// that they or their matches are of was overwritten. It returns the position
// in src and in plain behind them.
func (r *resequencer) skip(si, at, clean int) (int, int) {
	src := r.src
	stale := r.stale
	const longest = 1 + 15 + 2 // of what is read before the form is known
	for si+longest <= len(src) {
		token := int(src[si])
		literals := token >> 4
		length := token & 15
		offset := int(binary.LittleEndian.Uint16(src[si+1+literals:]))
		start := at + literals
		from := start - offset
		end := start + length + 4
		if literals == 15 || length == 15 || end > clean || offset == 0 || from < 0 {
			break
		}
		if stale[from>>lz4Granule] || stale[(from+length+3)>>lz4Granule] {
			break
		}

		si = si + 1 + literals + 2
		at = end
	}

	return si, at
}

// ahead returns where the first range that does not end before at begins.
func (r *resequencer) ahead(at int) int {
	for len(r.touched) > 0 && r.touched[0].end <= at {
		r.touched = r.touched[1:]
	}
	if len(r.touched) == 0 {
		return len(r.plain)
	}
	return r.touched[0].start
}

// flush writes the sequences that hold, up to the one that starts at end.
func (r *resequencer) flush(end int) {
	r.di += copy(r.out[r.di:], r.src[r.kept:end])
}

// read reads the sequence behind q. It returns false at the last, which has no
// match and ends the content, and where src is not what it should be.
func (r *resequencer) read(q *lz4Sequence) bool {
	src := r.src
	si := q.next
	q.start = si

	if si >= len(src) {
		q.next = -1
		return false
	}

	token := src[si]
	literals := int(token >> 4)
	length := int(token & 15)

	if si++; literals == 15 {
		literals, si = lz4Extra(src, si, literals)
	}
	q.literals = si
	q.count = literals
	at := q.match.end + literals

	si += literals
	if si+2 > len(src) {
		q.next = si
		q.match.start = at
		return false
	}

	offset := int(binary.LittleEndian.Uint16(src[si:]))
	if si += 2; length == 15 {
		length, si = lz4Extra(src, si, length)
	}

	length += 4
	q.next = si
	if offset == 0 || offset > at || length > len(r.plain)-at {
		q.next = -1
		return false
	}

	q.match = lz4Match{at, at + length, offset}
	return true
}

// same reports whether n bytes of a and b are the same. Most are few, and the
// branch that a loop would take wrong costs more than both loads.
func same(a []byte, i int, b []byte, j, n int) bool {
	if n > 16 || i+16 > len(a) || j+16 > len(b) {
		return bytes.Equal(a[i:i+n], b[j:j+n])
	}
	x := (*[16]byte)(a[i:])
	y := (*[16]byte)(b[j:])
	le := binary.LittleEndian
	low := le.Uint64(x[:]) ^ le.Uint64(y[:])
	high := le.Uint64(x[8:]) ^ le.Uint64(y[8:])
	const all = ^uint64(0)

	return low&^(all<<(8*n))|high&^(all<<(8*max(n, 8)-64)) == 0
}

// parts writes what is left of match m: it may hold again behind what differs.
func (r *resequencer) parts(m lz4Match) {
	last := len(r.plain) - 12 // where the last match may start (LZ4 block format, end of block)
	for at := m.start; at < m.end; at++ {
		n := agreement(r.plain, at, m.offset, m.end-at)
		if n >= 4 && at <= last {
			r.emit(at, n, m.offset)
		}
		at += n
	}
}

// agreement is for how many bytes, at most length, plain[at:] repeats what is
// offset bytes before.
func agreement(plain []byte, at, offset, length int) int {
	a := plain[at : at+length]
	b := plain[at-offset : at-offset+length]
	n := 0
	for ; n <= length-8; n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}

	for n < length && a[n] == b[n] {
		n++
	}
	return n
}

// emit writes the literals that stand before a match, and then the match.
func (r *resequencer) emit(at, length, offset int) {
	out := r.out
	di := r.di
	literals := at - r.anchor
	token := byte(min(length-4, 15))

	if literals < 15 && r.anchor+16 <= len(r.plain) {
		d := out[di : di+20]
		d[0] = byte(literals<<4) | token
		copy(d[1:17], r.plain[r.anchor:r.anchor+16])
		di += 1 + literals
	} else {
		out[di] = byte(min(literals, 15)<<4) | token
		if di++; literals >= 15 {
			di = lz4Length(out, di, literals-15)
		}
		di += copy(out[di:], r.plain[r.anchor:at])
	}

	binary.LittleEndian.PutUint16(out[di:], uint16(offset))
	if di += 2; length-4 >= 15 {
		di = lz4Length(out, di, length-4-15)
	}

	r.di = di
	r.anchor = at + length
}

// lz4Extra adds the bytes that follow a nibble of 15 to it.
func lz4Extra(src []byte, si, n int) (int, int) {
	for si < len(src) {
		c := src[si]
		si++
		n += int(c)
		if c != 255 {
			break
		}
	}
	return n, si
}
