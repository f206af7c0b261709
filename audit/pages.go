package audit

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"
)

const (
	pageSize = 4096
	pageHead = 6 // checksum and number of bindings
)

// placed is a binding as a page holds it. Its coordinate is the number of a
// partition in the segment's seal.
type placed struct {
	place
	block uint32
}

func (p *placed) compare(q *placed) int {
	return cmp.Or(cmp.Compare(p.coord, q.coord), cmp.Compare(p.base, q.base), cmp.Compare(p.count, q.count), cmp.Compare(p.block, q.block))
}

// sortedPlaces brings what bindings cover into the order of pages: by partition, in
// the order in which the seal lists them, and by offset. Callers hold mu.
func (x *chart) sortedPlaces() []placed {
	number, starts := x.numberPartitions()
	out := make([]placed, starts[len(x.coords)])
	next := slices.Clone(starts)
	for i, places := range x.places {
		for _, p := range places {
			p.coord = number[p.coord]
			out[next[p.coord]] = placed{p, uint32(i)}
			next[p.coord]++
		}
	}

	compare := func(a, b placed) int { return a.compare(&b) }
	for i := range x.coords {
		one := out[starts[i]:starts[i+1]]
		if !slices.IsSortedFunc(one, compare) { // they come in order, as a rule
			slices.SortFunc(one, compare)
		}
	}

	return out
}

// numberPartitions gives each coordinate its number in the seal, and says where
// the bindings of each number begin among all.
func (x *chart) numberPartitions() (number []uint32, starts []int) {
	order := make([]uint32, len(x.coords))
	for i := range order {
		order[i] = uint32(i)
	}

	slices.SortFunc(order, func(a, b uint32) int { return x.coords[a].compare(x.coords[b]) })

	number = make([]uint32, len(order))
	for n, id := range order {
		number[id] = uint32(n)
	}

	starts = make([]int, len(order)+1)
	for _, places := range x.places {
		for _, p := range places {
			starts[number[p.coord]+1]++
		}
	}

	for i := range order {
		starts[i+1] += starts[i]
	}
	return number, starts
}

// encodePages fills pages one behind the other.
func encodePages(all []placed) (out []byte, maxCount uint32) {
	var w pageWriter
	for i := range all {
		maxCount = max(maxCount, all[i].count)
		w.add(&all[i])
	}
	w.close()
	return w.out, maxCount
}

// pageWriter fills one page at a time, at the end of out.
type pageWriter struct {
	out    []byte
	start  int // of the page
	n      uint16
	before placed
}

func (w *pageWriter) add(p *placed) {
	if w.n > 0 && len(w.out)-w.start+4*binary.MaxVarintLen64 > pageSize {
		w.close()
	}
	if w.n == 0 {
		w.start = len(w.out)
		w.out = append(w.out, make([]byte, pageHead)...)
		w.before = placed{}
	}

	if p.coord != w.before.coord {
		w.before.base = 0
	}
	w.out = binary.AppendUvarint(w.out, uint64(p.coord-w.before.coord))
	w.out = binary.AppendUvarint(w.out, uint64(p.base-w.before.base))
	w.out = binary.AppendUvarint(w.out, uint64(p.count))
	w.out = binary.AppendUvarint(w.out, uint64(p.block))
	w.before = *p
	w.n++
}

// close ends the page, if one was begun.
func (w *pageWriter) close() {
	if w.n == 0 {
		return
	}
	w.out = append(w.out, make([]byte, w.start+pageSize-len(w.out))...)
	page := w.out[w.start:]
	binary.LittleEndian.PutUint16(page[4:], w.n)
	binary.LittleEndian.PutUint32(page, crc32.Checksum(page[4:], castagnoli))
	w.n = 0
}

// pageReader gives the bindings of a page in order.
type pageReader struct {
	c      cursor
	left   int
	before placed
}

// openPage checks a page; it holds at least one binding.
func openPage(b []byte) (pageReader, error) {
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b) || n == 0 {
		return pageReader{}, fmt.Errorf("%w: a page is damaged", errIndex)
	}
	return pageReader{c: cursor{b: b[pageHead:]}, left: n}, nil
}

// next reports false at the end; a fault shows in c.bad.
func (r *pageReader) next(p *placed) bool {
	if r.left == 0 || r.c.bad {
		return false
	}
	r.left--

	*p = r.before
	if more := uint32(r.c.uvarint()); more != 0 {
		p.coord += more
		p.base = 0
	}

	p.base += int64(r.c.uvarint())
	p.count = uint32(r.c.uvarint())
	p.block = uint32(r.c.uvarint())
	r.before = *p

	return !r.c.bad
}

// pages are the sorted bindings of an index.
type pages struct {
	f   io.ReaderAt
	at  int64 // of the first page
	n   int
	buf [pageSize]byte
}

func (t *pages) open(i int) (pageReader, error) {
	if _, err := t.f.ReadAt(t.buf[:], t.at+int64(i)*pageSize); err != nil {
		return pageReader{}, fmt.Errorf("%w: %w", errIndex, err)
	}
	return openPage(t.buf[:])
}

// between gives fn the bindings of a partition whose first offset is from one to
// another.
func (t *pages) between(coord uint32, from, to int64, fn func(*placed)) error {
	low := placed{place: place{base: from, coord: coord}}
	high := placed{place: place{base: to + 1, coord: coord}}
	first, err := t.search(&low)
	if err != nil {
		return err
	}

	for i := first; i < t.n; i++ {
		r, err := t.open(i)
		if err != nil {
			return err
		}

		var p placed
		for r.next(&p) {
			if p.compare(&high) >= 0 {
				return nil
			}
			if p.compare(&low) >= 0 {
				fn(&p)
			}
		}

		if r.c.bad {
			return fmt.Errorf("%w: a page is malformed", errIndex)
		}
	}

	return nil
}

// search returns the last page that begins before p, or the first.
func (t *pages) search(p *placed) (int, error) {
	var failure error
	i := sort.Search(t.n, func(i int) bool {
		r, err := t.open(i)
		if err != nil {
			failure = err
			return true
		}

		var first placed
		r.next(&first)
		return first.compare(p) >= 0
	})

	return max(i-1, 0), failure
}
