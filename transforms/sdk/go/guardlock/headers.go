package guardlock

// Header is one header of a record.
type Header struct {
	Key   []byte // its name, which a producer chose
	Value []byte // nil is null
}

// Headers is for a range clause: every header in order, doubled ones too.
func (r *Record) Headers() func(yield func(Header) bool) {
	return func(yield func(Header) bool) {
		all := readHeaders(r.headers)
		for {
			h, ok := all.next()
			if !ok || !yield(h) {
				return
			}
		}
	}
}

// Header returns the last header of a name, and whether there is one.
func (r *Record) Header(name string) (last Header, found bool) {
	all := readHeaders(r.headers)
	for {
		h, ok := all.next()
		if !ok {
			return last, found
		}
		if string(h.Key) == name {
			last = h
			found = true
		}
	}
}

// SetHeader sets a header: it is then the last one and the only one of its name, so
// that a producer cannot forge it. The others keep their order.
func (r *Record) SetHeader(name string, value []byte) {
	block := r.beginHeaders(1, len(name)+len(value), func(key []byte) bool { return string(key) != name })
	r.endHeaders(appendHeader(block, name, value))
}

// RemoveHeader takes every header of a name away.
func (r *Record) RemoveHeader(name string) {
	if _, found := r.Header(name); found {
		r.endHeaders(r.beginHeaders(0, 0, func(key []byte) bool { return string(key) != name }))
	}
}

// AddHeader adds a header behind the others.
func (r *Record) AddHeader(name string, value []byte) {
	block := r.beginHeaders(1, len(name)+len(value), func([]byte) bool { return true })
	r.endHeaders(appendHeader(block, name, value))
}

// beginHeaders begins a header block with those that are kept. It counts more of them,
// for whose names and values there is room.
func (r *Record) beginHeaders(more int32, size int, kept func(key []byte) bool) []byte {
	count := more
	for h := range r.Headers() {
		if kept(h.Key) {
			count++
		}
	}

	block := r.room.begin(len(r.headers) + size + 3*maxVarint)
	block = appendVarint(block, count)
	all := readHeaders(r.headers)
	for {
		before := all.rest
		h, ok := all.next()
		if !ok {
			return block
		}
		if kept(h.Key) {
			block = append(block, before[:len(before)-len(all.rest)]...)
		}
	}
}

func (r *Record) endHeaders(block []byte) {
	r.room.end(block)
	r.headers = block
	r.replaced |= headersPart
}

// headerReader reads Kafka's header block: how many there are, then each name and
// value. Nothing is read where the bytes are not there.
type headerReader struct {
	rest []byte
	left int32
}

func readHeaders(block []byte) headerReader {
	r := headerReader{rest: block}
	r.left, _ = r.varint()
	return r
}

func (r *headerReader) next() (Header, bool) {
	if r.left <= 0 {
		return Header{}, false
	}
	r.left--

	key, ok := r.field()
	if !ok || key == nil {
		return Header{}, false
	}
	value, ok := r.field()
	return Header{Key: key, Value: value}, ok
}

// field reads a length and as many bytes; nil is null.
func (r *headerReader) field() ([]byte, bool) {
	size, ok := r.varint()
	switch {
	case !ok || int(size) > len(r.rest):
		return nil, false
	case size < 0:
		return nil, true
	}

	field := r.rest[:size:size]
	r.rest = r.rest[size:]
	return field, true
}

const maxVarint = 5

// varint reads Kafka's zigzag varint of at most 32 bits.
func (r *headerReader) varint() (int32, bool) {
	value := uint32(0)
	for n := 0; n < maxVarint && n < len(r.rest); n++ {
		c := r.rest[n]
		value |= uint32(c&0x7f) << (7 * n)
		if c < 0x80 {
			r.rest = r.rest[n+1:]
			return int32(value>>1) ^ -int32(value&1), true
		}
	}

	return 0, false
}

func appendVarint(b []byte, value int32) []byte {
	rest := uint32(value<<1) ^ uint32(value>>31)
	for ; rest >= 0x80; rest >>= 7 {
		b = append(b, byte(rest)|0x80)
	}

	return append(b, byte(rest))
}

func appendHeader(b []byte, name string, value []byte) []byte {
	b = appendVarint(b, int32(len(name)))
	b = append(b, name...)
	if value == nil {
		return appendVarint(b, -1)
	}
	b = appendVarint(b, int32(len(value)))
	return append(b, value...)
}
