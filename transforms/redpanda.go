package transforms

import (
	"errors"
	"slices"

	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// Redpanda's ABI for data transforms, versions 1 and 2, as its published SDKs call it.
// docs/redpanda.md says what of it means what here, where a transform stands between a
// producer and its topic instead of between two topics.

// What the functions answer when they cannot do what was asked.
const (
	redpandaNoRecord      = -1 // there is no batch, or no record left or read yet
	redpandaInvalidBuffer = -2 // too small to read into, or nothing that can be parsed
	redpandaInvalidWrite  = -3 // to a topic that was not granted

	redpandaNoRegistry = -1
)

// The numbers in wasm.RedpandaReasons of what becomes of a record.
const (
	reasonNoOutput = 1 + iota
	reasonChanged
	reasonRouted
	reasonSeveralOutputs
	reasonWriteRefused
)

var (
	errUnread       = errors.New("the guest asked for the next batch before it had read all records of this one")
	errGuestPointer = errors.New("the guest gave a pointer outside of its memory")
)

// redpandaFunctions are the imports of Redpanda's ABI that a grant may hold, with the
// letters of their types.
func redpandaFunctions() []hostFunction {
	const registry = "redpanda_schema_registry"
	return []hostFunction{
		{registry, "check_abi_version_0", "", "", redpandaMarker},
		{registry, "create_subject_schema", "iiiii", "i", redpandaRegistry},
		{registry, "get_schema_definition", "iii", "i", redpandaRegistry},
		{registry, "get_schema_definition_len", "ii", "i", redpandaRegistry},
		{registry, "get_subject_schema", "iiiii", "i", redpandaRegistry},
		{registry, "get_subject_schema_len", "iiii", "i", redpandaRegistry},
		{wasm.RedpandaModule, "check_abi_version_1", "", "", redpandaMarker},
		{wasm.RedpandaModule, "check_abi_version_2", "", "", redpandaMarker},
		{wasm.RedpandaModule, "read_batch_header", "iiiiiiiiii", "i", redpandaReadBatch},
		{wasm.RedpandaModule, "read_next_record", "iiiii", "i", redpandaReadRecord},
		{wasm.RedpandaModule, "write_record", "ii", "i", redpandaWrite},
		{wasm.RedpandaModule, "write_record_with_options", "iiii", "i", redpandaWriteTo},
	}
}

// redpandaMarker is a function that says by being imported which ABI a module is of.
func redpandaMarker(*instance, []uint64) int32 { return 0 }

// redpandaRegistry answers that there is no schema registry, which the SDKs know as
// an error of its own.
func redpandaRegistry(*instance, []uint64) int32 { return redpandaNoRegistry }

// fetching is how far a guest is with the records of its chunk.
type fetching struct {
	open    bool   // there is a chunk whose records may be read
	read    int    // records of it that were handed out
	writes  int    // of the record that was read last
	refused bool   // a write of that record was
	copied  []byte // what a worker's guest wrote, kept from record to record
}

// begin opens a chunk of which nothing was read. What a very large record took is
// given back.
func (f *fetching) begin() {
	copied := f.copied
	if cap(copied) > 2*maxHostBytes {
		copied = nil
	}
	*f = fetching{open: true, copied: copied}
}

// redpandaReadBatch is read_batch_header with ten places to write to. It ends the
// chunk that the guest had, and answers when there is another with the size of its
// largest record.
//
// Of a batch that is on its way to its topic nobody knows the offset yet, and its
// producer is none of the guest's business: it is told what it needs to read records.
func redpandaReadBatch(i *instance, a []uint64) int32 {
	i.endChunk()
	i.rest()
	i.pull.begin()

	c := &i.chunk
	largest := 0
	latest := c.record(0).Timestamp
	for n := range c.current {
		largest = max(largest, c.payload(n).size())
		latest = max(latest, c.record(n).Timestamp)
	}

	last := len(c.current) - 1
	i.tell(a[0], 8, int64(c.record(0).OffsetDelta))
	i.tell(a[1], 4, int64(len(c.current)))
	i.tell(a[2], 4, -1) // the partition leader's epoch
	i.tell(a[3], 2, 0)  // attributes: not compressed, the producer's timestamps
	i.tell(a[4], 4, int64(c.record(last).OffsetDelta-c.record(0).OffsetDelta))
	i.tell(a[5], 8, c.record(0).Timestamp)
	i.tell(a[6], 8, latest)
	i.tell(a[7], 8, -1) // the producer
	i.tell(a[8], 2, -1) // its epoch
	i.tell(a[9], 4, -1) // its sequence

	return int32(largest)
}

// tell writes the lowest bytes of v to the guest.
func (i *instance) tell(at uint64, bytes uint32, v int64) {
	to, ok := i.mem.Read(uint32(at), bytes)
	if !ok {
		i.stop(i.failed(OutputInvalid, errGuestPointer))
	}

	for n := range to {
		to[n] = byte(v >> (8 * n))
	}
}

// record is the record of a number in the chunk.
func (c *chunk) record(n int) *record.Record { return &c.batch.Records[c.current[n]] }

func (c *chunk) payload(n int) payload {
	r := c.record(n)
	return payload{c.field(r.Key), c.field(r.Value), c.batch.Bytes(r.Headers)}
}

// field is what a view shows. One that is empty is not nil, which is null.
func (c *chunk) field(s record.Span) []byte {
	if s.Len == 0 {
		return []byte{}
	}
	return c.batch.Bytes(s)
}

// endChunk settles the last record of the chunk. A guest that did not read all of
// them has decided nothing about the rest.
func (i *instance) endChunk() {
	f := &i.pull.fetching
	if !f.open {
		return
	}

	i.settleRecord()
	f.open = false
	if f.read < len(i.chunk.current) {
		i.stop(i.failed(OutputInvalid, errUnread))
	}
}

// settleRecord decides what becomes of the record that was read last, by what the
// guest wrote until it asked for the next.
func (i *instance) settleRecord() {
	f := &i.pull.fetching
	last := uint32(f.read - 1)
	switch {
	case f.read == 0:
	case f.writes > 1:
		i.chunk.decide(last, record.Rejected, reasonSeveralOutputs)
	case f.writes == 0 && f.refused:
		i.chunk.decide(last, record.Rejected, reasonWriteRefused)
	case f.writes == 0:
		i.chunk.decide(last, record.Dropped, reasonNoOutput)
	}

	f.writes = 0
	f.refused = false
}

// redpandaReadRecord is read_next_record(attributes, timestamp, offset, buffer, size).
func redpandaReadRecord(i *instance, a []uint64) int32 {
	f := &i.pull.fetching
	c := &i.chunk
	if !f.open || f.read == len(c.current) {
		return redpandaNoRecord
	}

	p := c.payload(f.read)
	size := p.size()
	if uint64(size) > uint64(uint32(a[4])) {
		return redpandaInvalidBuffer
	}

	i.settleRecord()
	r := c.record(f.read)
	f.read++
	i.charged += size
	i.tell(a[0], 1, 0)
	i.tell(a[1], 8, r.Timestamp)
	i.tell(a[2], 8, int64(r.OffsetDelta))

	to, ok := i.mem.Read(uint32(a[3]), uint32(size))
	if !ok {
		i.stop(i.failed(OutputInvalid, errGuestPointer))
	}
	p.append(to[:0])

	return int32(size)
}

// redpandaWrite is write_record(record, size).
func redpandaWrite(i *instance, a []uint64) int32 { return i.writeRecord(a[0], a[1], nil) }

// redpandaWriteTo is write_record_with_options(record, size, options, size).
func redpandaWriteTo(i *instance, a []uint64) int32 {
	options, ok := i.input(a[2], a[3])
	if !ok {
		i.stop(i.failed(OutputInvalid, errGuestPointer))
	}

	topic, ok := parseWriteOptions(options)
	if !ok {
		i.pull.refused = true
		return redpandaInvalidBuffer
	}

	return i.writeRecord(a[0], a[1], topic)
}

// writeRecord takes over what the guest makes of the record that it read last. No
// topic is the one that the record was produced to. What is written twice is not
// taken over, since then none of it will be.
func (i *instance) writeRecord(at, size uint64, topic []byte) int32 {
	f := &i.pull.fetching
	if !f.open || f.read == 0 {
		return redpandaNoRecord
	}

	p, ok := parsePayload(i.written(at, size))
	if !ok {
		f.refused = true
		return redpandaInvalidBuffer
	}

	route, ok := i.destination(topic)
	if !ok {
		f.refused = true
		return redpandaInvalidWrite
	}

	f.writes++
	if f.writes == 1 {
		i.takeOver(p, route)
	}

	return int32(uint32(size))
}

// written are the bytes of a record in the guest's memory, valid until guest code
// runs again. What is longer than any record that would be taken over is not looked
// at, so that no call takes long.
func (i *instance) written(at, size uint64) []byte {
	const framing = 16 // lengths, spelled with more bytes than they need
	c := &i.chunk
	if uint64(uint32(size)) > uint64(c.payload(i.pull.read-1).size()+c.room+framing) {
		i.stop(i.invalid(errRoom))
	}

	i.charged += int(uint32(size))
	data, ok := i.mem.Read(uint32(at), uint32(size))
	if !ok {
		i.stop(i.failed(OutputInvalid, errGuestPointer))
	}

	if i.module.apart { // a worker could change it under our hands
		i.pull.copied = append(i.pull.copied[:0], data...)
		data = i.pull.copied
	}

	return data
}

// stays is the destination of a record that is not routed.
const stays = -1

// destination is the number of the granted route to a topic.
func (i *instance) destination(topic []byte) (route int, granted bool) {
	if topic == nil || string(topic) == i.chunk.at.Topic {
		return stays, true
	}

	route = slices.IndexFunc(i.module.routes, func(r string) bool { return r == string(topic) })
	return route, route >= 0
}

// takeOver makes what was written the record that was read last.
func (i *instance) takeOver(p payload, route int) {
	c := &i.chunk
	last := uint32(i.pull.read - 1)
	r := c.record(int(last))
	key, touched1, err1 := c.takeField(r.Key, p.key, true)
	value, touched2, err2 := c.takeField(r.Value, p.value, true)
	headers, _, err3 := c.takeField(r.Headers, p.headers, false)
	if err := firstError(err1, err2, err3); err != nil {
		i.stop(i.invalid(err))
	}

	changed := setFields(r, [3]record.Span{key, value, headers}, touched1.Join(touched2))
	switch {
	case route != stays:
		c.decide(last, record.Routed, reasonRouted).Route = uint8(route)
	case changed:
		c.decide(last, record.Modified, reasonChanged)
	}
}
