package transforms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/guardlock/guardlock/transforms/record"
)

// What guardlock_transform_v1 returns when it does not return a count
// (docs/abi.md).
const (
	guestInternal      = -1
	guestArenaTooSmall = -2
	guestRejectsBatch  = -3
	guestVersion       = -4
	guestMalformed     = -5
)

func guestError(code int32) error {
	switch code {
	case guestInternal:
		return fmt.Errorf("the guest reported an internal failure")
	case guestVersion:
		return fmt.Errorf("the guest does not support this version or these flags")
	case guestMalformed:
		return fmt.Errorf("the guest calls its input malformed")
	}
	return fmt.Errorf("the guest returned the unknown code %d", code)
}

// The offsets of the frame's fields in bytes (docs/abi.md).
const (
	frameFlags     = 4
	frameInDescs   = 8
	frameInCount   = 12
	frameOutDescs  = 16
	frameOutCap    = 20
	frameOutCount  = 24
	frameArena     = 28
	frameArenaCap  = 32
	frameArenaUsed = 36
	frameTopic     = 40
	framePartition = 44
	frameOffset    = 48
	frameErrIndex  = 56
	frameErrReason = 60
	frameFeatures  = 64
)

// featureEdits in the frame's features says that the host takes flagEdits.
const featureEdits = 1

// The offsets of a descriptor's fields in bytes, and its flags (docs/abi.md).
const (
	descFlags     = 0
	descSource    = 4
	descTimestamp = 8
	descKey       = 16
	descValue     = 24
	descHeaders   = 32
	descTopic     = 40
	descStatus    = 44

	flagKeyNull   = 1
	flagValueNull = 2
	flagHeaders   = 4
	flagEdits     = 8
)

// The verdicts that a guest gives in a descriptor's status. A record that passes
// is verdictPass, changed or not.
const (
	verdictPass = iota
	verdictReject
	verdictDrop
	verdictRoute
)

// run is a part of the batch's bytes that was copied into the guest's input
// block.
type run struct {
	from uint32 // as in a record.Span
	to   uint32 // in the input block
	n    uint32
}

func (c *chunk) source(r run) []byte { return c.batch.Bytes(record.Span{Off: r.from, Len: int32(r.n)}) }

// chunk is the part of a batch that one call works on. Its slices are kept from
// batch to batch.
type chunk struct {
	batch *record.Batch
	at    Origin
	topic uint32
	stage uint8

	live     []uint32 // records that no earlier module took out
	given    int      // how many of them were given to the guest
	current  []uint32 // those of this call
	bytes    int      // the size of their input
	runs     []run
	descs    []byte // the input descriptors as the guest got them
	outDescs []byte // a copy of the output descriptors, of a worker's guest
	edits    edits  // of the value that is being read
	room     int    // bytes of output left for the batch
}

// begin collects the records that no earlier module took out, and returns how
// many bytes they have.
func (c *chunk) begin(b *record.Batch, at Origin, stage uint8, limits Limits) int {
	c.batch, c.at, c.topic, c.stage = b, at, at.hash(), stage
	c.live = c.live[:0]
	c.current = c.current[:0]
	c.given = 0

	total := 0
	for n := range b.Records {
		if r := &b.Records[n]; r.Verdict <= record.Modified {
			c.live = append(c.live, uint32(n))
			total += inputSize(r)
		}
	}

	c.room = limits.outputLimit(total)

	return total
}

// inputSize is how many bytes of guest memory a record takes, without its
// descriptor.
func inputSize(r *record.Record) int {
	if whole(r) {
		return int(r.Whole.Len)
	}
	return spanLen(r.Key) + spanLen(r.Value) + spanLen(r.Headers)
}

// whole reports whether a record can be copied in one piece, framed as the
// producer sent it.
func whole(r *record.Record) bool { return framed(r) && r.Whole.Len > 0 }

func framed(r *record.Record) bool { return r.Verdict == record.Passed || r.InPlace() }

func spanLen(s record.Span) int { return int(max(s.Len, 0)) }

// take sets current to the live records of the next call: a record larger than
// a chunk goes alone.
func (c *chunk) take() {
	rest := c.live[c.given:]
	n := 0
	size := 0
	for n < len(rest) && n < chunkRecords {
		s := inputSize(&c.batch.Records[rest[n]])
		if n > 0 && size+s > chunkBytes {
			break
		}
		n++
		size += s
	}

	c.given += n
	c.current = rest[:n]
	c.bytes = size
}

// reserveInput makes the input block hold n bytes, by a larger block if need
// be. Its content is lost then.
func (i *instance) reserveInput(n int) error {
	l := &i.layout
	if uint64(n) <= uint64(l.inputCap) {
		return nil
	}
	if uint64(n) > i.linear.limit {
		return i.failed(Memory, fmt.Errorf("a record of %d bytes exceeds the memory limit", n))
	}

	// Blocks are never freed: eight sizes up to each power of two, so that records
	// of many sizes share them, and the exact size only where that does not fit.
	step := 1 << max(bits.Len(uint(n-1))-4, 0)
	size := (n + step - 1) &^ (step - 1)
	at, err := i.allocate(size)
	if failed, ok := errors.AsType[*Error](err); ok && failed.Kind == Memory {
		size = n
		at, err = i.allocate(size)
	}

	if err != nil {
		return err
	}
	l.input = at
	l.inputCap = uint32(size)
	return nil
}

// growArena doubles the arena, at least to twice the chunk, or grows it to what
// the guest asked for in arena_used, if there is as much. Blocks are never freed, so
// that a large record reaches its place in two steps and not in ten. It ends in an
// error when the memory limit is reached.
func (i *instance) growArena() error {
	l := &i.layout
	size := 2 * uint64(max(int(l.arenaCap), i.chunk.bytes))
	if asked, ok := i.mem.ReadUint32Le(l.frame + frameArenaUsed); ok && uint64(asked) > size {
		err := i.moveArena(uint64(asked))
		if failed, ok := errors.AsType[*Error](err); !ok || failed.Kind != Memory {
			return err
		}
	}

	return i.moveArena(size)
}

// moveArena makes the arena a new block.
func (i *instance) moveArena(size uint64) error {
	l := &i.layout
	if size > i.linear.limit {
		return i.failed(Memory, fmt.Errorf("the guest asks for more output space than its memory limit"))
	}

	at, err := i.allocate(int(size))
	if err != nil {
		return err
	}

	l.arena = at
	l.arenaCap = uint32(size)
	return nil
}

// callTransform copies the chunk into the guest and runs it. It returns what
// the guest returned, unchecked.
func (i *instance) callTransform() (int32, error) {
	l := &i.layout
	input, ok1 := i.mem.Read(l.input, uint32(i.chunk.bytes))
	i.chunk.fill(l.input, input)

	frame, ok2 := i.mem.Read(l.frame, frameSize)
	if !ok1 || !ok2 || !i.mem.Write(l.inDescs, i.chunk.descs) {
		return 0, i.failed(OutputInvalid, errShrunk)
	}

	i.writeFrame(frame)
	i.stack[0] = uint64(l.frame)
	if err := i.call(i.transform, i.stack[:1]); err != nil {
		return 0, err
	}

	return int32(i.stack[0]), nil
}

var errShrunk = fmt.Errorf("the guest's blocks are outside of its memory")

// writeFrame writes the frame of a call, by which the guest finds its input and
// its room for output.
func (i *instance) writeFrame(frame []byte) {
	put := binary.LittleEndian.PutUint32
	clear(frame)
	c := &i.chunk
	l := &i.layout
	put(frame, frameSize)
	put(frame[frameFlags:], 0)
	put(frame[frameInDescs:], l.inDescs)
	put(frame[frameInCount:], uint32(len(c.current)))
	put(frame[frameOutDescs:], l.outDescs)
	put(frame[frameOutCap:], uint32(len(c.current)))
	put(frame[frameArena:], l.arena)
	put(frame[frameArenaCap:], l.arenaCap)
	put(frame[frameTopic:], c.topic)
	put(frame[framePartition:], uint32(c.at.Partition))
	put(frame[frameErrIndex:], 0xffffffff)
	put(frame[frameFeatures:], featureEdits)
}

// fill copies the current records to input, which lies at base in the guest,
// and builds their descriptors.
func (c *chunk) fill(base uint32, input []byte) {
	c.runs = c.runs[:0]
	if need := len(c.current) * descriptorSize; cap(c.descs) < need {
		c.descs = make([]byte, chunkRecords*descriptorSize)
	}

	c.descs = c.descs[:len(c.current)*descriptorSize]
	at := uint32(0)
	for n, index := range c.current {
		at = c.place((*[descriptorSize]byte)(c.descs[n*descriptorSize:]), uint32(n), &c.batch.Records[index], base, at)
	}

	for _, r := range c.runs {
		copy(input[r.to:r.to+r.n], c.source(r))
	}
}

// place plans the copy of one record to offset at of the input block and writes
// its descriptor. It returns the offset behind the record.
func (c *chunk) place(d *[descriptorSize]byte, n uint32, r *record.Record, base, at uint32) uint32 {
	flags := uint32(0)
	if r.Key.IsNull() {
		flags |= flagKeyNull
	}
	if r.Value.IsNull() {
		flags |= flagValueNull
	}

	put := binary.LittleEndian.PutUint32
	put(d[descFlags:], flags)
	put(d[descSource:], n)
	binary.LittleEndian.PutUint64(d[descTimestamp:], uint64(r.Timestamp))
	binary.LittleEndian.PutUint64(d[descTopic:], 0) // topic and status

	if whole(r) {
		shift := base + at - r.Whole.Off
		putSpan(d[descKey:], r.Key, shift)
		putSpan(d[descValue:], r.Value, shift)
		putSpan(d[descHeaders:], r.Headers, shift)
		c.addRun(run{r.Whole.Off, at, uint32(r.Whole.Len)})
		return at + uint32(r.Whole.Len)
	}

	at = c.placeSpan(d[descKey:], r.Key, base, at)
	at = c.placeSpan(d[descValue:], r.Value, base, at)
	return c.placeSpan(d[descHeaders:], r.Headers, base, at)
}

func (c *chunk) placeSpan(d []byte, s record.Span, base, at uint32) uint32 {
	putSpan(d, s, base+at-s.Off)
	if s.Len <= 0 {
		return at
	}
	c.addRun(run{s.Off, at, uint32(s.Len)})
	return at + uint32(s.Len)
}

// putSpan writes pointer and length of a view that is shift bytes further on in
// the guest. Null and empty views have no pointer.
func putSpan(d []byte, s record.Span, shift uint32) {
	v := uint64(0)
	if s.Len > 0 {
		v = uint64(s.Off+shift) | uint64(s.Len)<<32
	}
	binary.LittleEndian.PutUint64(d, v)
}

// addRun joins a run to the last one where both ends meet, in the input or in
// what modules made.
func (c *chunk) addRun(r run) {
	if n := len(c.runs); n > 0 && int(r.from) != len(c.batch.Data) {
		if last := &c.runs[n-1]; last.from+last.n == r.from && last.to+last.n == r.to {
			last.n += r.n
			return
		}
	}
	c.runs = append(c.runs, r)
}

// inputBlock is the guest's copy of a chunk's input after a call. It is compared with what
// it was only when a record wants to pass as it is: of those whose value was edited the
// few other bytes are compared, of those that were refused none.
type inputBlock struct {
	chunk *chunk
	bytes []byte
	asked bool
	same  bool
}

// untouched reports whether the guest left all bytes as they were.
func (i *inputBlock) untouched() bool {
	if !i.asked {
		i.asked = true
		i.same = i.chunk.untouched(i.bytes)
	}
	return i.same
}

// untouched reports whether the guest left the bytes of its input as they were.
func (c *chunk) untouched(input []byte) bool {
	for _, r := range c.runs {
		if !bytes.Equal(input[r.to:r.to+r.n], c.source(r)) {
			return false
		}
	}
	return true
}
