package transforms

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// Messages between a gateway and a worker have one size, so that there is no length
// in them that could be wrong:
//
//	kind     u32  one of the constants below
//	number   u32  called: the export; asked: the import; failed: the cause
//	memory   u64  called: what the guest's memory may grow to; else what it has, in bytes
//	time     i64  called: the most of this call; asked, returned and failed: what it
//	              used; answered: what the host function used. Processor time, in ns
//	batch    i64  called: what is left of the batch's time, in ns
//	args     10 x u64
//
// All little-endian. A gateway sends call and waits; the worker sends any number of
// asked, each of which is answered, and ends with returned or failed. A guest that
// asked for its next batch gets it instead of an answer, under limits as of a call.
const messageSize = 4 + 4 + 8 + 8 + 8 + 8*maxHostParams

const (
	msgStarted  = 1 + iota // worker: the guest is there; nothing of it ran
	msgCall                // gateway: run an export
	msgAsked               // worker: the guest called a host function
	msgAnswered            // gateway: what that returns
	msgStop                // gateway: instead of an answer; the call ends
	msgReturned            // worker: the export returned
	msgFailed              // worker: it did not
	msgNext                // gateway: the next batch, which the guest had asked for
)

type message struct {
	kind, number uint32
	memory       uint64
	time, batch  time.Duration
	args         [maxHostParams]uint64
}

func (m *message) encode(p *[messageSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(p[0:], m.kind)
	le.PutUint32(p[4:], m.number)
	le.PutUint64(p[8:], m.memory)
	le.PutUint64(p[16:], uint64(m.time))
	le.PutUint64(p[24:], uint64(m.batch))

	for n, a := range m.args {
		le.PutUint64(p[32+8*n:], a)
	}
}

func (m *message) decode(p *[messageSize]byte) {
	le := binary.LittleEndian
	m.kind = le.Uint32(p[0:])
	m.number = le.Uint32(p[4:])
	m.memory = le.Uint64(p[8:])
	m.time = time.Duration(le.Uint64(p[16:]))
	m.batch = time.Duration(le.Uint64(p[24:]))

	for n := range m.args {
		m.args[n] = le.Uint64(p[32+8*n:])
	}
}

// workerExports are the functions that can be called, by their number.
var workerExports = []string{wasm.SectionStart, wasm.ExportStart, wasm.ExportAlloc, wasm.ExportInit, wasm.ExportTransform, wasm.ExportMain}

// causes are what can end a call, by their number: a worker chooses among them, so
// that no word of its own gets into a log. The engine's stand as it spells them.
var causes = []error{
	errors.New("the guest failed"),
	errDeadline,
	errBatchDeadline,
	errStackBudget,
	errors.New("unreachable"),
	errors.New("out of bounds memory access"),
	errors.New("invalid table access"),
	errors.New("indirect call type mismatch"),
	errors.New("integer divide by zero"),
	errors.New("integer overflow"),
	errors.New("invalid conversion to integer"),
	errors.New("stack overflow"),
	errors.New("null reference"),
}

// errStopped ends a call of which the gateway knows itself why it stopped it.
var errStopped = errors.New("the gateway stopped the guest")

// causeNumber is the number of what ended a call; 0 for what is not in the list.
func causeNumber(err error) uint32 {
	failed, ok := errors.AsType[*Error](err)
	if !ok {
		return 0
	}
	n := slices.IndexFunc(causes, func(c error) bool { return errors.Is(failed, c) || failed.Err.Error() == c.Error() })

	return uint32(max(n, 0))
}

// causeOf is the cause that a worker gives.
func causeOf(number uint32) error {
	if number >= uint32(len(causes)) {
		return causes[0]
	}
	return causes[number]
}
