package transforms

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/state"
)

// Origin says where a batch is going: modules see the topic's hash and the
// partition.
type Origin struct {
	Topic     string
	Partition int32
	// Sent is what a batch that is sent again has in common with the first one.
	Sent BatchID
}

// BatchID is what state.BatchID is. Rooms above need its words but not its package.
type BatchID = state.BatchID

// hash is the topic's number in the frame: 32-bit FNV-1a of its name.
func (o Origin) hash() uint32 {
	h := uint32(2166136261)
	for _, c := range []byte(o.Topic) {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// Chain runs modules one after the other. It holds no state of its own and is
// safe for concurrent use.
type Chain struct {
	modules  []*Module
	isolated bool
}

// maxChain bounds the modules of a chain, since Record.Module is one byte.
const maxChain = 256

var errChainTooLong = errors.New("a chain has more than 256 modules")

// NewChain makes a chain of modules, in their order. They stay the caller's to
// close.
func NewChain(modules ...*Module) *Chain {
	return &Chain{modules: slices.Clone(modules)}
}

// PerTopic returns a chain of the same modules in which no instance of them sees
// batches of two topics, nor any that another chain has used: what a module keeps
// in its memory stays with the topic. It takes as many instances as before; with
// more topics than instances, they are made anew when the topic changes.
func (c *Chain) PerTopic() *Chain { return &Chain{modules: c.modules, isolated: true} }

// Modules are the chain's modules, of which Record.Module is an index. The
// caller must not change the list.
func (c *Chain) Modules() []*Module { return c.modules }

// Run gives every record of b to the first module, what passes to the second,
// and so on, and sets each record's verdict. A key or value that keeps its length
// is overwritten, other changed bytes are appended to b.Out. On an error, an
// *Error, nothing of b may be used.
func (c *Chain) Run(ctx context.Context, b *record.Batch, at Origin) error {
	if len(c.modules) > maxChain {
		return &Error{TooMany, "", errChainTooLong}
	}

	var counted counted
	err := c.run(ctx, b, at, &counted)
	counted.end(err == nil && !refuses(b))

	return err
}

func (c *Chain) run(ctx context.Context, b *record.Batch, at Origin, counted *counted) error {
	for n, m := range c.modules {
		s := stage{uint8(n), c.isolated, counted.begin(m, at)}
		refused, err := m.run(ctx, b, at, s)
		if err != nil {
			return err
		}
		if refused {
			return nil
		}
	}

	return nil
}

// stage is a module's place in a chain, as its run needs it.
type stage struct {
	number   uint8
	isolated bool
	state    *state.Batch
}

// run gives the live records of b to one module. refused means that the guest
// rejected the batch as a whole.
func (m *Module) run(ctx context.Context, b *record.Batch, at Origin, s stage) (refused bool, err error) {
	i, err := m.acquire(ctx, time.Now().Add(m.limits.waitTime(len(b.Data))), at.Topic, s.isolated || m.info.Pulls())
	if err != nil {
		return false, err
	}

	c := &i.chunk
	i.state = s.state
	size := c.begin(b, at, s.number, m.limits)
	i.clock.startBatch(ctx, m.limits, size)

	for err == nil && !refused && c.given < len(c.live) {
		refused, err = i.runChunk()
		if i.used && outOfMemory(err) && i.undecided() {
			i, err = m.replace(ctx, i)
			c = &i.chunk
		}
	}

	i.endBatch()

	err = c.tooLarge(err)
	c.batch = nil
	i.state = nil
	i.used = true
	m.release(ctx, i, err == nil)

	return refused, err
}

// replace goes on with a fresh instance where a used one is out of memory: blocks
// are never freed, so that what no longer fits may have room in a fresh one. The
// chunk that failed is given again.
func (m *Module) replace(ctx context.Context, old *instance) (*instance, error) {
	old.endBatch() // the fresh one may need the turn to start
	fresh, err := m.newInstance(ctx, old.topic)
	if err != nil {
		return old, err
	}

	fresh.clock = old.clock
	fresh.topic = old.topic
	fresh.isolated = old.isolated
	fresh.state = old.state
	fresh.chunk, old.chunk = old.chunk, fresh.chunk
	fresh.chunk.given -= len(fresh.chunk.current)
	old.free(ctx)

	return fresh, nil
}

func outOfMemory(err error) bool {
	failed, ok := errors.AsType[*Error](err)
	return ok && failed.Kind == Memory
}

// tooLarge tells a record that no instance has room for from a guest that is out
// of memory for reasons of its own.
func (c *chunk) tooLarge(err error) error {
	failed, ok := errors.AsType[*Error](err)
	if !ok || failed.Kind != Memory || c.bytes <= chunkBytes {
		return err
	}

	return &Error{TooLarge, failed.Module, failed.Err}
}

// runChunk gives the guest as many of the live records as fit in one call. What a
// call counted that is made once more is taken back.
func (i *instance) runChunk() (refused bool, err error) {
	c := &i.chunk
	c.take()
	i.arm(c.bytes)
	counted := i.state.Mark()
	defer func() {
		if err != nil {
			i.state.UndoTo(counted)
		}
	}()
	if i.pull != nil {
		return false, i.pullChunk()
	}

	if err := i.reserveInput(c.bytes); err != nil {
		return false, err
	}

	for {
		result, err := i.callTransform()
		switch {
		case err != nil:
			return false, err
		case result >= 0:
			return false, i.readOutput(uint32(result))
		case result == guestArenaTooSmall:
			i.state.UndoTo(counted)
			if err := i.growArena(); err != nil {
				return false, err
			}
		case result == guestRejectsBatch:
			return true, i.readRejection()
		default:
			return false, i.failed(GuestFailed, guestError(result))
		}
	}
}
