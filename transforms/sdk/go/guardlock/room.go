package guardlock

const (
	firstRoom = 16 << 10
	maxRoom   = 1 << 20 // that is held from one call to the next
)

// room is memory for the bytes that a transform makes. The host reads them after the
// call and keeps no reference that the garbage collector would see, so they are kept
// here until the next call; and the same memory serves every call, so that no record
// costs an allocation.
type room struct {
	block []byte   // as long as it is in use
	full  [][]byte // blocks that had no room left in this call
}

// begin returns an empty slice with room for size bytes. It is used up when it comes
// back to end, before the next begin.
func (r *room) begin(size int) []byte {
	used := len(r.block)
	if cap(r.block)-used < size {
		r.full = append(r.full, r.block)
		r.block = make([]byte, 0, max(size, 2*cap(r.block), firstRoom))
		used = 0
	}

	return r.block[used : used : used+size]
}

func (r *room) end(made []byte) { r.block = r.block[:len(r.block)+len(made)] }

// keep returns a copy of these bytes.
func (r *room) keep(b []byte) []byte {
	if b == nil {
		return nil
	}

	kept := append(r.begin(len(b)), b...)
	r.end(kept)
	return kept
}

// empty takes all of it back, when the host has read it.
func (r *room) empty() {
	r.block = r.block[:0]
	if cap(r.block) > maxRoom {
		r.block = nil
	}
	r.full = nil
}
