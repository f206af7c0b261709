package gateway

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// errBudget is returned when memory for a frame was not free in time. The
// connection ends, so that the others can go on.
var errBudget = errors.New("waiting for buffer memory: limits.memory is in use; the connection is closed so that others can go on")

const (
	minBufferBits = 16 // 64 KiB: one read's worth for an active connection
	maxBufferBits = 27 // 128 MiB: above the largest frame that can be configured
)

// memory is limits.memory, split by what it is waited for while holding what, so
// that no circle of waiting can form: a reader waits for request memory holding
// none; it waits for encode memory holding request memory; writers wait for
// answer memory only. What holds answer memory is bounded by the client taking
// its answers, what holds the others by the broker and the decision log.
type memory struct {
	requests, encodes, answers *buffers
}

func newMemory(total int64, maxFrame int) *memory {
	return &memory{requests: newShared(total/2, maxFrame), encodes: newBuffers(total / 4), answers: newBuffers(total / 4)}
}

// buffers hands out byte buffers by size class and bounds their sum. Waiting
// for memory is the gateway's back-pressure: a reader that waits does not read,
// so TCP slows its client down. It is safe for concurrent use.
type buffers struct {
	pools [maxBufferBits - minBufferBits + 1]sync.Pool

	// starving is called by whoever has waited for a second, and again each
	// second, to make others give memory back; nil: nobody can.
	starving func()

	budget int64 // fixed
	ample  int64 // fixed: what must stay free for a buffer to be larger than it need be
	shares shares

	mu    sync.Mutex
	free  int64
	small int64    // bytes of the smallest buffers that are held
	queue []waiter // in the order in which they came
	turn  uint64   // counts what was handed out
}

// claim is what a buffer is asked for, and by whom: what the shares are
// reckoned by.
type claim struct {
	size  int64   // bytes of its class
	part  bool    // it is not the last that its frame needs
	owner *source // nil: nobody's share
}

type waiter struct {
	claim
	ready chan struct{}
}

func newBuffers(budget int64) *buffers {
	return &buffers{budget: budget, free: budget, ample: budget / 2, shares: shares{source: budget}}
}

// smallest is the size of the smallest buffers in bytes. They have a reserve,
// so that small requests always get through.
const smallest = 1 << minBufferBits

func sizeOf(class int) int64 { return 1 << (class + minBufferBits) }

func classOf(n int) int {
	return max(0, bits.Len(uint(max(n, 1)-1))-minBufferBits)
}

// tryGet returns a buffer of at least n bytes, the last that its frame needs, if
// the budget has room now.
func (b *buffers) tryGet(n int, owner *source) []byte {
	return b.try(n, claim{owner: owner}, 0)
}

// tryPart returns a buffer of at least n bytes for a frame that may need a
// larger one later.
func (b *buffers) tryPart(n int, owner *source) []byte {
	return b.try(n, claim{part: true, owner: owner}, 0)
}

// tryWindow returns a buffer of n bytes while memory is ample, or else the
// smallest there is, which its owner exchanges when a frame needs more.
func (b *buffers) tryWindow(n int, owner *source) []byte {
	if buf := b.try(n, claim{part: true, owner: owner}, b.ample); buf != nil {
		return buf
	}
	return b.tryPart(smallest, owner)
}

// try takes a buffer where at least rest bytes of the budget stay free, and
// returns nil where they would not.
func (b *buffers) try(n int, c claim, rest int64) []byte {
	class := classOf(n)
	c.size = sizeOf(class)

	b.mu.Lock()
	ok := b.free >= c.size+rest && (len(b.queue) == 0 || b.reserved(c)) && b.fits(c)
	if ok {
		b.charge(c)
	}
	b.mu.Unlock()

	if !ok {
		return nil
	}
	return b.take(class)
}

// get waits for a buffer of at least n bytes until wait has passed (then
// errBudget) or ctx ends.
func (b *buffers) get(ctx context.Context, n int, owner *source, wait time.Duration) ([]byte, error) {
	if buf := b.tryGet(n, owner); buf != nil {
		return buf, nil
	}

	w := waiter{claim: claim{size: sizeOf(classOf(n)), owner: owner}, ready: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, w)
	b.grant()
	b.mu.Unlock()

	timer := time.NewTimer(wait)
	alarm := time.NewTicker(time.Second)
	defer timer.Stop()
	defer alarm.Stop()

	for {
		select {
		case <-w.ready:
			return b.take(classOf(n)), nil
		case <-timer.C:
			return nil, b.abandon(w, errBudget)
		case <-ctx.Done():
			return nil, b.abandon(w, ctx.Err())
		case <-alarm.C:
			if b.starving != nil {
				b.starving()
			}
		}
	}
}

func (b *buffers) take(class int) []byte {
	if p, ok := b.pools[class].Get().(*[]byte); ok {
		return (*p)[:cap(*p)]
	}
	return make([]byte, 1<<(class+minBufferBits))
}

// put returns a buffer that was handed out to owner. A nil buffer is none.
func (b *buffers) put(buf []byte, owner *source) {
	if buf == nil {
		return
	}
	buf = buf[:cap(buf)]
	class := classOf(len(buf))
	// Large buffers are rare, and keeping them would hold their memory for
	// good.
	if class <= 6 {
		b.pools[class].Put(&buf)
	}

	b.mu.Lock()
	b.refund(claim{size: sizeOf(class), owner: owner})
	b.grant()
	b.mu.Unlock()
}

// grant gives waiters their buffers while their need fits. The caller holds mu.
func (b *buffers) grant() {
	for len(b.queue) > 0 && b.free >= smallest {
		i := b.nextWaiter()
		if i < 0 {
			return
		}

		b.charge(b.queue[i].claim)
		close(b.queue[i].ready)
		b.queue = slices.Delete(b.queue, i, i+1)
	}
}

// abandon takes w out of the queue, or gives back what it was granted in the
// meantime, and returns err.
func (b *buffers) abandon(w waiter, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.queue {
		if b.queue[i].ready == w.ready {
			b.queue = slices.Delete(b.queue, i, i+1)
			b.grant()
			return err
		}
	}

	b.refund(w.claim)
	b.grant()
	return err
}

// wanted is how many bytes are waited for, which says how much must end for
// them.
func (b *buffers) wanted() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := int64(0)
	for _, w := range b.queue {
		total += w.size
	}
	return total
}

// encodeMemory is where the changed batches of one flush lie. It implements
// pipeline.Memory and is owned by a connection's reader.
type encodeMemory struct {
	pool    *buffers
	timeout time.Duration
	held    [][]byte
}

// Buffer returns memory for one encoded batch until release. Only the first is
// waited for: who holds one already would wait for others that wait for it.
// Those further ones may exceed the budget.
func (m *encodeMemory) Buffer(ctx context.Context, capacity int) ([]byte, error) {
	buf := m.pool.tryGet(capacity, nil)
	if buf == nil && len(m.held) > 0 {
		return make([]byte, 0, capacity), nil
	}

	if buf == nil {
		var err error
		if buf, err = m.pool.get(ctx, capacity, nil, m.timeout); err != nil {
			return nil, err
		}
	}

	m.held = append(m.held, buf)
	return buf, nil
}

// release gives back all that Buffer handed out, once it was sent.
func (m *encodeMemory) release() {
	for i, b := range m.held {
		m.pool.put(b, nil)
		m.held[i] = nil
	}
	m.held = m.held[:0]
}
