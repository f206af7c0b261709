//go:build wasip1 || tinygo.wasm

package guardlock

import "unsafe"

// The codes of docs/abi.md with which a guest refuses.
const (
	codeInternal  = -1
	codeVersion   = -4
	codeMalformed = -5
)

// The flags of a descriptor.
const (
	keyNull uint32 = 1 << iota
	valueNull
	headersReplaced
	valueEdited
)

// featureEdits is what a host says that takes edits.
const featureEdits = 1

// frame is what the host says of a call.
type frame struct {
	size, flags            uint32
	in, inCount            uint32
	out, outCap, outCount  uint32
	arena, arenaCap        uint32
	arenaUsed              uint32
	topic                  uint32
	partition              int32
	offset                 int64
	faultIndex, faultCause uint32
}

// takesEdits reads what stands behind the frame where its size says so.
func (f *frame) takesEdits() bool {
	size := uint32(unsafe.Sizeof(*f))
	return f.size >= size+4 && *(*uint32)(unsafe.Add(unsafe.Pointer(f), size))&featureEdits != 0
}

// descriptor is one record of a call, the same in and out.
type descriptor struct {
	flags, source         uint32
	timestamp             int64
	key, keyLen           uint32
	value, valueLen       uint32
	headers, headersLen   uint32
	topicIndex, theStatus uint32
}

// blocks are those that the host has: the garbage collector must not take them.
var blocks [][]byte

//go:wasmexport guardlock_alloc
func allocate(size, align uint32) uint32 {
	block := make([]byte, size+align)
	blocks = append(blocks, block)
	return (address(block) + align - 1) &^ (align - 1)
}

//go:wasmexport guardlock_init_v1
func configure(at, size uint32) int32 {
	if exported == nil {
		panic("guardlock: the module exports no transform: call guardlock.Export in an init function")
	}

	err := Configure(exported, view(at, size))
	if err != nil {
		println("guardlock: the configuration is refused:", err.Error())
		return 1
	}
	return 0
}

// current is the record that the transform decides about. There is one for all, as there
// is memory for its edits, so that none is allocated.
var (
	current Record
	edited  []edit
	made    room
)

//go:wasmexport guardlock_transform_v1
func transform(at uint32) int32 {
	f := (*frame)(pointer(at))
	if f.size < uint32(unsafe.Sizeof(frame{})) || f.flags != 0 {
		return codeVersion
	}
	if f.outCap < f.inCount {
		return codeMalformed
	}

	made.empty()
	edits := f.takesEdits()
	in := unsafe.Slice((*descriptor)(pointer(f.in)), f.inCount)
	out := unsafe.Slice((*descriptor)(pointer(f.out)), f.inCount)
	for n := range in {
		current = given(&in[n], f)
		verdict := exported.Apply(&current)
		if verdict.outcome == failed {
			return codeInternal
		}

		if len(current.edits) > 0 && !edits {
			current.SetValue(current.spliced(current.value))
		}

		out[n] = in[n]
		out[n].decided(&current, verdict)
		edited = current.edits[:0]
	}

	return int32(f.inCount)
}

// given is the record that a descriptor describes.
func given(d *descriptor, f *frame) Record {
	r := Record{
		headers:   view(d.headers, d.headersLen),
		timestamp: d.timestamp,
		topic:     f.topic,
		partition: f.partition,
		position:  d.source,
		edits:     edited[:0],
		room:      &made,
	}
	if d.flags&keyNull == 0 {
		r.key = view(d.key, d.keyLen)
	}
	if d.flags&valueNull == 0 {
		r.value = view(d.value, d.valueLen)
	}

	return r
}

// decided describes what becomes of a record.
func (d *descriptor) decided(r *Record, v Verdict) {
	d.topicIndex = 0
	if v.outcome == routed {
		d.topicIndex = uint32(v.route) + 1
	}
	d.theStatus = uint32(v.outcome) | uint32(v.reason)<<16
	if len(r.edits) > 0 {
		d.value, d.valueLen = place(r.editList(place))
		d.flags |= valueEdited
	}
	if r.replaced == 0 {
		return
	}

	if r.replaced&keyPart != 0 {
		d.key, d.keyLen = place(r.key)
		d.flags = withNull(d.flags, keyNull, r.key)
	}
	if r.replaced&valuePart != 0 {
		d.value, d.valueLen = place(r.value)
		d.flags = withNull(d.flags, valueNull, r.value)
	}
	if r.replaced&headersPart != 0 {
		d.headers, d.headersLen = place(r.headers)
		d.flags |= headersReplaced
	}
}

func withNull(flags, null uint32, b []byte) uint32 {
	if b == nil {
		return flags | null
	}
	return flags &^ null
}

func place(b []byte) (at, size uint32) {
	if len(b) == 0 {
		return 0, 0
	}
	return address(b), uint32(len(b))
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// pointer is a place that the host named. It takes the number's bits, since LLVM may
// assume that what is computed from nil is nil.
func pointer(at uint32) unsafe.Pointer {
	place := uintptr(at)
	return *(*unsafe.Pointer)(unsafe.Pointer(&place))
}

var none = []byte{}

// view is memory of the host's: never nil, which would be null.
func view(at, size uint32) []byte {
	if size == 0 {
		return none
	}
	return unsafe.Slice((*byte)(pointer(at)), size)
}
