package guardlock

import "encoding/binary"

// edit replaces size bytes of a value, from at on, by others.
type edit struct {
	at, size int
	with     []byte
}

// editBytes is the size of an edit in the list that the host reads.
const editBytes = 16

// Edit replaces size bytes of the value as it came, from at on, by a copy of others. A
// large value of which little changes costs least so: the rest of it is neither written
// nor compared. Value goes on to show it as it came, and what is changed there does not
// count. It panics where edits do not ascend or overlap, where one is not in the value,
// and after SetValue: a change that would be lost might be a mask.
func (r *Record) Edit(at, size int, with []byte) {
	from := 0
	if n := len(r.edits); n > 0 {
		last := r.edits[n-1]
		from = last.at + max(last.size, 1)
	}
	if at < from || size < 0 || at > len(r.value)-size || r.value == nil || r.replaced&valuePart != 0 {
		panic("guardlock: edits ascend and do not overlap, in the value as it came")
	}

	r.edits = append(r.edits, edit{at: at, size: size, with: r.room.keep(with)})
}

// Stored returns the value as it is stored, for tests: as it was set, or with all edits.
func (r *Record) Stored() []byte {
	if len(r.edits) == 0 {
		return r.value
	}

	value := r.value
	if r.came != nil {
		value = r.came
	}
	return r.spliced(value)
}

// spliced is what the edits make of a value.
func (r *Record) spliced(value []byte) []byte {
	size := len(value)
	for _, e := range r.edits {
		size += len(e.with) - e.size
	}

	out := r.room.begin(size)
	kept := 0
	for _, e := range r.edits {
		out = append(out, value[kept:e.at]...)
		out = append(out, e.with...)
		kept = e.at + e.size
	}
	out = append(out, value[kept:]...)
	r.room.end(out)

	return out
}

// editList is the list that the host reads, given where bytes lie.
func (r *Record) editList(place func([]byte) (at, size uint32)) []byte {
	list := r.room.begin(editBytes * len(r.edits))
	for _, e := range r.edits {
		at, size := place(e.with)
		for _, number := range [...]uint32{uint32(e.at), uint32(e.size), at, size} {
			list = binary.LittleEndian.AppendUint32(list, number)
		}
	}
	r.room.end(list)

	return list
}
