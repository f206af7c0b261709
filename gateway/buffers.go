package gateway

import (
	"context"
	"errors"
	"math/bits"
	"sync"
	"time"
)

// errBudget is returned when memory for a frame was not free in time.
var errBudget = errors.New("waiting for buffer memory: limits.memory is in use; the connection is closed so that others can go on")

const (
	minBufferBits = 16 // 64 KiB: one read's worth for an active connection
	maxBufferBits = 27 // 128 MiB: above the largest frame that can be configured
)

// memory is limits.memory, split by what it is waited for while holding what, so
// that no circle of waiting can form: a reader waits for request memory holding
// none; it waits for encode memory holding request memory; writers wait for
// answer memory only. What holds answer memory is bounded by the client taking
// its answers, what holds the others by the broker and the journal.
type memory struct {
	requests, encodes, answers *buffers
}

func newMemory(total int64) *memory {
	return &memory{requests: newBuffers(total / 2), encodes: newBuffers(total / 4), answers: newBuffers(total / 4)}
}

// buffers hands out byte buffers by size class and bounds their sum. Waiting
// for memory is the gateway's back-pressure: a reader that waits does not read,
// so TCP slows its client down. Safe for concurrent use.
type buffers struct {
	pools [maxBufferBits - minBufferBits + 1]sync.Pool

	// starving is called by whoever has waited for a second, and again each
	// second, to make others give memory back; nil: nobody can.
	starving func()

	ample int64 // fixed: what must stay free for a buffer to be larger than it need be

	mu    sync.Mutex
	free  int64
	queue []waiter // first come, first served, so that no large frame starves
}

type waiter struct {
	need  int64
	ready chan struct{}
}

func newBuffers(budget int64) *buffers { return &buffers{free: budget, ample: budget / 2} }

func classOf(n int) int {
	return max(0, bits.Len(uint(max(n, 1)-1))-minBufferBits)
}

// tryGet returns a buffer of at least n bytes if the budget has room now.
func (b *buffers) tryGet(n int) []byte {
	return b.tryLeaving(n, 0)
}

// tryWindow returns a buffer of n bytes while memory is ample, or else the
// smallest there is, which its owner exchanges when a frame needs more.
func (b *buffers) tryWindow(n int) []byte {
	if buf := b.tryLeaving(n, b.ample); buf != nil {
		return buf
	}
	return b.tryGet(1 << minBufferBits)
}

// tryLeaving is tryGet where at least rest bytes of the budget stay free.
func (b *buffers) tryLeaving(n int, rest int64) []byte {
	size := int64(1) << (classOf(n) + minBufferBits)
	b.mu.Lock()
	ok := len(b.queue) == 0 && b.free >= size+rest
	if ok {
		b.free -= size
	}
	b.mu.Unlock()

	if !ok {
		return nil
	}
	return b.take(classOf(n))
}

// get waits for a buffer of at least n bytes until wait has passed (then
// errBudget) or ctx ends.
func (b *buffers) get(ctx context.Context, n int, wait time.Duration) ([]byte, error) {
	if buf := b.tryGet(n); buf != nil {
		return buf, nil
	}
	w := waiter{need: int64(1) << (classOf(n) + minBufferBits), ready: make(chan struct{})}
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

// put returns a buffer that get or tryGet handed out.
func (b *buffers) put(buf []byte) {
	if buf == nil {
		return
	}
	buf = buf[:cap(buf)]
	class := classOf(len(buf))
	// Large buffers are rare; keeping them would pin the memory for good.
	if class <= 6 {
		b.pools[class].Put(&buf)
	}

	b.mu.Lock()
	b.free += int64(1) << (class + minBufferBits)
	b.grant()
	b.mu.Unlock()
}

// grant wakes waiters in order while their need fits. Called with mu held.
func (b *buffers) grant() {
	for len(b.queue) > 0 && b.queue[0].need <= b.free {
		b.free -= b.queue[0].need
		close(b.queue[0].ready)
		b.queue = b.queue[1:]
	}
}

// abandon takes w out of the queue, or gives back what it was granted in the
// meantime, and returns err.
func (b *buffers) abandon(w waiter, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.queue {
		if b.queue[i].ready == w.ready {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			b.grant()
			return err
		}
	}

	b.free += w.need
	b.grant()
	return err
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
	buf := m.pool.tryGet(capacity)
	if buf == nil && len(m.held) > 0 {
		return make([]byte, 0, capacity), nil
	}

	if buf == nil {
		var err error
		if buf, err = m.pool.get(ctx, capacity, m.timeout); err != nil {
			return nil, err
		}
	}

	m.held = append(m.held, buf)
	return buf, nil
}

// release gives back what Buffer handed out: it was sent.
func (m *encodeMemory) release() {
	for i, b := range m.held {
		m.pool.put(b)
		m.held[i] = nil
	}
	m.held = m.held[:0]
}
