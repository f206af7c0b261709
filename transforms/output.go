package transforms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"github.com/guardlock/guardlock/transforms/record"
)

// How an output can break the ABI. None of the texts holds bytes of a record.
var (
	errCount      = errors.New("more output descriptors than records")
	errSource     = errors.New("a source index is out of range, repeated or not ascending")
	errTimestamp  = errors.New("a timestamp was changed")
	errFlags      = errors.New("a descriptor has unknown flags")
	errStatus     = errors.New("a descriptor has an unknown verdict")
	errReason     = errors.New("a reason is not in the module's catalogue")
	errRoute      = errors.New("a route is not granted, or is given without the verdict route")
	errPointer    = errors.New("a view is outside of guest memory")
	errRoom       = errors.New("the changed bytes exceed the output limit")
	errHeaderFlag = errors.New("headers were replaced without the flag that says so")
	errHeaders    = errors.New("a header block is malformed")
	errEdits      = errors.New("a list of edits is not whole, not ascending, overlapping or outside of the value")
	errIndex      = errors.New("the index of the rejected record is out of range")
)

// memory is all of the guest's memory. Pointers are checked against its length,
// in 64 bits; the view is valid until guest code runs again.
func (i *instance) memory() []byte {
	view, _ := i.mem.Read(0, i.mem.Size())
	return view
}

// view is memory[at:at+n].
func view(memory []byte, at uint32, n uint64) ([]byte, bool) {
	if uint64(at)+n > uint64(len(memory)) {
		return nil, false
	}
	return memory[at : uint64(at)+n], true
}

func (i *instance) invalid(err error) error { return i.failed(OutputInvalid, err) }

// readOutput takes over what the guest decided about the current records.
func (i *instance) readOutput(count uint32) error {
	c := &i.chunk
	memory := i.memory()
	if uint64(count) > uint64(len(c.current)) {
		return i.invalid(errCount)
	}

	out, ok1 := view(memory, i.layout.outDescs, uint64(count)*descriptorSize)
	input, ok2 := view(memory, i.layout.input, uint64(c.bytes))
	if !ok1 || !ok2 {
		return i.invalid(errShrunk)
	}

	if i.module.apart { // a worker could change them once they are checked
		c.outDescs = append(c.outDescs[:0], out...)
		out = c.outDescs
	}

	in := inputBlock{chunk: c, bytes: input}
	if bytes.Equal(out, c.descs) && in.untouched() {
		return nil // every record passed as it is
	}

	next := uint32(0)
	for ; len(out) > 0; out = out[descriptorSize:] {
		d := (*[descriptorSize]byte)(out)
		source := binary.LittleEndian.Uint32(d[descSource:])
		if source < next || uint64(source) >= uint64(len(c.current)) {
			return i.invalid(errSource)
		}

		c.dropped(next, source)
		next = source + 1
		if *d == c.input(source) && in.untouched() {
			continue
		}
		if err := i.readRecord(memory, d, source, in.same); err != nil {
			return i.invalid(err)
		}
	}

	c.dropped(next, uint32(len(c.current)))
	return nil
}

// input is the descriptor that the guest was given for a record.
func (c *chunk) input(source uint32) [descriptorSize]byte {
	return [descriptorSize]byte(c.descs[source*descriptorSize:])
}

// dropped marks the records that the guest left out.
func (c *chunk) dropped(from, to uint32) {
	for ; from < to; from++ {
		c.decide(from, record.Dropped, 0)
	}
}

func (c *chunk) decide(source uint32, v record.Verdict, reason uint16) *record.Record {
	r := &c.batch.Records[c.current[source]]
	r.Verdict = v
	r.Module = c.stage
	r.Reason = reason
	c.batch.Changed = true
	return r
}

// readRecord takes over one output descriptor.
func (i *instance) readRecord(memory []byte, d *[descriptorSize]byte, source uint32, untouched bool) error {
	c := &i.chunk
	given := c.input(source)
	status := binary.LittleEndian.Uint32(d[descStatus:])
	topic := binary.LittleEndian.Uint32(d[descTopic:])
	verdict := status & 0xff
	reason := uint16(status >> 16)

	switch {
	case [8]byte(d[descTimestamp:]) != [8]byte(given[descTimestamp:]):
		return errTimestamp
	case d[descFlags] > flagKeyNull|flagValueNull|flagHeaders|flagEdits || d[1]|d[2]|d[3] != 0:
		return errFlags
	case d[descFlags]&flagEdits != 0 && d[descFlags]&flagValueNull != 0:
		return errFlags
	case status&0xff00 != 0 || verdict > verdictRoute:
		return errStatus
	case int(reason) > len(i.module.info.Reasons):
		return errReason
	case verdict == verdictRoute && (topic == 0 || uint64(topic) > uint64(len(i.module.routes))), verdict != verdictRoute && topic != 0:
		return errRoute
	}

	switch verdict {
	case verdictReject:
		c.decide(source, record.Rejected, reason)
		return nil
	case verdictDrop:
		c.decide(source, record.Dropped, reason)
		return nil
	}

	changed, err := c.readFields(memory, d, &given, untouched)
	if err != nil {
		return err
	}

	if verdict == verdictRoute {
		c.decide(source, record.Routed, reason).Route = uint8(topic - 1)
	} else if changed {
		c.decide(source, record.Modified, reason)
	}

	return nil
}

// readFields takes over key, value and headers and reports whether any differs.
func (c *chunk) readFields(memory []byte, d, given *[descriptorSize]byte, untouched bool) (bool, error) {
	r := &c.batch.Records[c.current[binary.LittleEndian.Uint32(given[descSource:])]]
	key, touched1, err1 := c.readField(memory, d, given, field{descKey, flagKeyNull, r.Key, untouched})
	value, touched2, err2 := c.readValue(memory, d, given, field{descValue, flagValueNull, r.Value, untouched})
	headers, _, err3 := c.readField(memory, d, given, field{descHeaders, 0, r.Headers, untouched})
	if err := firstError(err1, err2, err3); err != nil {
		return false, err
	}

	if headers != r.Headers {
		if d[descFlags]&flagHeaders == 0 && [8]byte(d[descHeaders:]) != [8]byte(given[descHeaders:]) {
			return false, errHeaderFlag
		}
		if !validHeaders(c.batch.Bytes(headers)) {
			return false, errHeaders
		}
	}

	return setFields(r, [3]record.Span{key, value, headers}, touched1.Join(touched2)), nil
}

// setFields makes views a record's key, value and headers, and reports whether any
// byte of them differs. Touched are those that were overwritten.
func setFields(r *record.Record, views [3]record.Span, touched record.Span) (changed bool) {
	moved := views != [3]record.Span{r.Key, r.Value, r.Headers}
	switch {
	case moved:
		r.Touched = record.Span{}
	case touched.Len > 0 && framed(r):
		r.Touched = r.Touched.Join(touched)
	}

	r.Key = views[0]
	r.Value = views[1]
	r.Headers = views[2]
	return moved || touched.Len > 0
}

func firstError(a, b, c error) error {
	if a != nil {
		return a
	}
	if b != nil {
		return b
	}
	return c
}

// field is where a view stands in the descriptor and what it was before.
type field struct {
	at        int
	null      byte // the flag that says null; 0 for none
	was       record.Span
	untouched bool // it is known that the guest changed no byte of its input
}

// readValue returns the view of a value, which the guest gave as bytes or as edits.
func (c *chunk) readValue(memory []byte, d, given *[descriptorSize]byte, f field) (s, touched record.Span, err error) {
	if d[descFlags]&flagEdits == 0 {
		return c.readField(memory, d, given, f)
	}
	return c.readEdits(memory, d, f.was)
}

// readField returns the view of a field: the one it was when the bytes are the
// same or were overwritten, or else one of a copy behind the batch's bytes.
// Header blocks are checked later, so they are never overwritten.
func (c *chunk) readField(memory []byte, d, given *[descriptorSize]byte, f field) (s, touched record.Span, err error) {
	if d[descFlags]&f.null != 0 {
		return record.Null, touched, nil
	}
	if f.untouched && !f.was.IsNull() && [8]byte(d[f.at:]) == [8]byte(given[f.at:]) {
		return f.was, touched, nil
	}

	data, ok := view(memory, binary.LittleEndian.Uint32(d[f.at:]), uint64(binary.LittleEndian.Uint32(d[f.at+4:])))
	if !ok {
		return f.was, touched, errPointer
	}
	return c.takeField(f.was, data, f.at != descHeaders)
}

// takeField returns the view of a field that is to hold data, of which nil is null:
// the one it was when the bytes are the same or, if they may be, were overwritten, or
// else one of a copy behind the batch's bytes.
func (c *chunk) takeField(was record.Span, data []byte, inPlace bool) (s, touched record.Span, err error) {
	if data == nil {
		return record.Null, touched, nil
	}
	if !was.IsNull() && bytes.Equal(data, c.batch.Bytes(was)) {
		return was, touched, nil
	}
	if len(data) > c.room || uint64(c.batch.Size())+uint64(len(data)) > math.MaxUint32 {
		return was, touched, errRoom
	}

	c.room -= len(data)
	if inPlace {
		if touched, ok := c.batch.Overwrite(was, data); ok {
			return was, touched, nil
		}
	}

	return c.batch.Append(data), touched, nil
}

// readRejection marks the record for which the guest refused the whole batch.
func (i *instance) readRejection() error {
	index, ok1 := i.mem.ReadUint32Le(i.layout.frame + frameErrIndex)
	reason, ok2 := i.mem.ReadUint32Le(i.layout.frame + frameErrReason)
	switch {
	case !ok1 || !ok2:
		return i.invalid(errShrunk)
	case uint64(index) >= uint64(len(i.chunk.current)):
		return i.invalid(errIndex)
	case uint64(reason) > uint64(len(i.module.info.Reasons)):
		return i.invalid(errReason)
	}

	i.chunk.decide(index, record.Rejected, uint16(reason))
	return nil
}
