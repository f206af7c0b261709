package transforms

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/guardlock/guardlock/transforms/record"
)

// An edit as a guest writes it: four numbers of 32 bits (docs/abi.md).
const (
	editAt     = 0
	editLen    = 4
	editNew    = 8
	editNewLen = 12
	editSize   = 16
)

// edits is the list of one value, kept from value to value.
type edits struct {
	list []record.Edit
}

// readEdits applies the list of edits that a descriptor gives instead of a value to
// the value that the guest was given. What the guest made of its own copy does not
// count. It returns what takeField does.
func (c *chunk) readEdits(memory []byte, d *[descriptorSize]byte, was record.Span) (s, touched record.Span, err error) {
	at := binary.LittleEndian.Uint32(d[descValue:])
	n := uint64(binary.LittleEndian.Uint32(d[descValue+4:]))
	raw, ok := view(memory, at, n)

	switch {
	case !ok:
		return was, touched, errPointer
	case was.IsNull() || n%editSize != 0 || n/editSize > uint64(was.Len)+1:
		return was, touched, errEdits
	}

	size, err := c.edits.parse(memory, raw, uint64(was.Len))
	if err != nil {
		return was, touched, err
	}
	if !c.edits.differ(c.batch.Bytes(was)) {
		return was, touched, nil
	}
	if size > uint64(c.room) || uint64(c.batch.Size())+size > math.MaxUint32 {
		return was, touched, errRoom
	}

	c.room -= int(size)
	s, touched = c.batch.Edit(was, c.edits.list, int(size))
	return s, touched, nil
}

// parse checks the list that the guest wrote, raw, against a value of n bytes, which
// nothing changes before all of it is known to be good. It returns the size of what the
// edits make of the value.
// Each edit begins behind the one before, so that a list is never longer than the
// value and the work of the host stays in proportion to what the guest was given.
func (e *edits) parse(memory, raw []byte, n uint64) (size uint64, err error) {
	e.list = e.list[:0]
	size = n
	free := uint64(0) // where the next edit may begin, in the value
	for ; len(raw) > 0; raw = raw[editSize:] {
		one := [editSize]byte(raw) // a worker could change what it wrote
		at := uint64(binary.LittleEndian.Uint32(one[editAt:]))
		length := uint64(binary.LittleEndian.Uint32(one[editLen:]))
		if at < free || at+length > n {
			return 0, errEdits
		}

		to := binary.LittleEndian.Uint32(one[editNew:])
		replacement, ok := view(memory, to, uint64(binary.LittleEndian.Uint32(one[editNewLen:])))
		if !ok {
			return 0, errPointer
		}

		e.list = append(e.list, record.Edit{At: uint32(at), Len: uint32(length), New: replacement})
		size += uint64(len(replacement)) - length
		free = at + max(length, 1)
	}

	return size, nil
}

// differ reports whether any edit puts other bytes than those that are there.
func (e *edits) differ(value []byte) bool {
	for _, one := range e.list {
		if !bytes.Equal(value[one.At:one.At+one.Len], one.New) {
			return true
		}
	}
	return false
}
