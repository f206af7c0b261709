package transforms

import (
	"math"
	"slices"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/state"
)

const stateModule = "guardlock_state"

// newState makes the state of a module that has any by what it imports. It begins
// empty whenever a module is loaded.
func (c *Code) newState() *state.Store {
	if !slices.ContainsFunc(c.functions, func(f hostFunction) bool { return f.module == stateModule }) {
		return nil
	}

	begin := time.Now().UnixMilli()
	if c.runtime.config.RecordClock {
		begin = math.MinInt64
	}
	return state.New(state.DefaultLimits(), begin)
}

// counted is what the modules of a chain count of one batch.
type counted []*state.Batch

// begin begins what a module counts; nil for one that counts nothing.
func (c *counted) begin(m *Module, at Origin) *state.Batch {
	if m.state == nil {
		return nil
	}

	b := m.state.Begin(state.Place{Topic: at.Topic, Partition: at.Partition}, at.Sent)
	*c = append(*c, b)
	return b
}

// end keeps what was counted of a batch that goes on, and takes it back of any other.
func (c counted) end(keep bool) {
	for _, b := range c {
		if keep {
			b.Keep()
		} else {
			b.Undo()
		}
	}
}

// refuses reports whether a record was rejected, and with it its batch.
func refuses(b *record.Batch) bool {
	return b.Changed && slices.ContainsFunc(b.Records, func(r record.Record) bool { return r.Verdict == record.Rejected })
}

// timeOf is the time of a record of this call by its place in it.
func (i *instance) timeOf(n uint64) (int64, bool) {
	c := &i.chunk
	if i.state == nil || uint64(uint32(n)) >= uint64(len(c.current)) {
		return 0, false
	}
	return c.batch.Records[c.current[uint32(n)]].Timestamp, true
}

// event is the key that count and seen are given, and the time of the record.
func (i *instance) event(a []uint64) (key []byte, at int64, ok bool) {
	at, ok = i.timeOf(a[0])
	if !ok {
		return nil, 0, false
	}

	key, ok = i.input(a[1], a[2])
	return key, at, ok && len(key) <= state.MaxKey
}

// hostCount is count(record, ptr, len, window_ms): the result is how often the key
// came in the window that ends with the record, which counts, too.
func hostCount(i *instance, a []uint64) int32 {
	key, at, ok := i.event(a)
	window := int32(uint32(a[3]))
	if !ok || window <= 0 {
		return hostBadArguments
	}

	return i.state.Count(key, at, window)
}

// hostSeen is seen(record, ptr, len): the result is how many milliseconds after the
// last record of the key this one is, which is the last one now.
func hostSeen(i *instance, a []uint64) int32 {
	key, at, ok := i.event(a)
	if !ok {
		return hostBadArguments
	}

	ago, known := i.state.Seen(key, at)
	if !known {
		return hostNotFound
	}
	return ago
}

// hostSince is since(record): the result is for how many milliseconds before the
// record the counts are complete, which is 0 after a restart.
func hostSince(i *instance, a []uint64) int32 {
	at, ok := i.timeOf(a[0])
	if !ok {
		return hostBadArguments
	}
	return i.module.state.Since(at)
}
