package transforms

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// pool holds a module's instances. Each batch has one to itself.
type pool struct {
	tokens chan struct{} // one for each instance that may exist
	closed chan struct{}
	close  sync.Once

	mu   sync.Mutex
	idle []*instance
}

func newPool(instances int) *pool {
	p := &pool{tokens: make(chan struct{}, instances), closed: make(chan struct{})}
	for range instances {
		p.tokens <- struct{}{}
	}

	return p
}

// take returns an idle instance, the one that was used last, or nil.
func (p *pool) take() *instance {
	return p.takeIf(func(*instance) bool { return true })
}

// takeFor returns an idle instance for a batch of a topic, or nil. An instance
// that saw a batch of an isolated topic sees no other topic's, and an isolated
// topic gets none that saw anything else, or was started for another.
func (p *pool) takeFor(topic string, isolated bool) *instance {
	return p.takeIf(func(i *instance) bool {
		if isolated {
			return i.isolated && i.topic == topic || !i.isolated && !i.used
		}
		return !i.isolated
	})
}

func (p *pool) takeIf(fits func(*instance) bool) *instance {
	p.mu.Lock()
	defer p.mu.Unlock()

	for n, i := range slices.Backward(p.idle) {
		if fits(i) {
			p.idle = slices.Delete(p.idle, n, n+1)
			return i
		}
	}

	return nil
}

func (p *pool) put(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, i)
}

// acquire takes an instance out of the pool, or makes one. It waits until one
// is free, the deadline passes or ctx ends.
func (m *Module) acquire(ctx context.Context, deadline time.Time, topic string, isolated bool) (*instance, error) {
	select {
	case <-m.pool.tokens:
	default:
		if err := m.wait(ctx, deadline); err != nil {
			return nil, err
		}
	}

	select {
	case <-m.pool.closed:
		m.pool.tokens <- struct{}{}
		return nil, &Error{Closed, m.name, errModuleClosed}
	default:
	}

	i := m.pool.takeFor(topic, isolated)
	for i != nil && i.guest.dead() {
		i.free(ctx)
		i = m.pool.takeFor(topic, isolated)
	}

	if i == nil {
		var err error
		if i, err = m.makeRoom(ctx, topic); err != nil {
			m.pool.tokens <- struct{}{}
			return nil, err
		}
	}

	i.topic = topic
	i.isolated = isolated

	return i, nil
}

// makeRoom makes an instance. Where there would be more than the limit, the idle
// one that was used longest ago ends for it: it is not for this topic.
func (m *Module) makeRoom(ctx context.Context, topic string) (*instance, error) {
	if other := m.pool.surplus(); other != nil {
		other.free(ctx)
	}

	return m.newInstance(ctx, topic)
}

// surplus returns an idle instance for which there is no token but the caller's,
// or nil.
func (p *pool) surplus() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()

	if len(p.idle) <= len(p.tokens) {
		return nil
	}
	i := p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)

	return i
}

func (m *Module) wait(ctx context.Context, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()

	select {
	case <-m.pool.tokens:
		return nil
	case <-m.pool.closed:
		return &Error{Closed, m.name, errModuleClosed}
	case <-ctx.Done():
		return &Error{Timeout, m.name, ctx.Err()}
	case <-timer.C:
		return &Error{Timeout, m.name, errBusy}
	}
}

// release puts an instance back, with what it has grown to. One that failed is
// thrown away: its memory and its stack pointer are in an unknown state. So is one
// that a very large record has made very large, or that has worked for long.
func (m *Module) release(ctx context.Context, i *instance, healthy bool) {
	m.restarts.after(i, healthy)
	m.usage.grew(i.linear.used)
	if healthy && !i.guest.worn() && i.linear.used <= m.limits.memoryFor(0)+keptGrowth {
		m.pool.put(i)
	} else {
		i.free(ctx)
	}

	m.pool.tokens <- struct{}{}
}

// Close refuses new batches, waits for the running ones until ctx ends, and
// frees the module's memory. Batches end within their deadline, so that a wait
// is short.
func (m *Module) Close(ctx context.Context) error {
	var err error
	m.pool.close.Do(func() {
		close(m.pool.closed)
		m.code.runtime.forget(m)
		if err = m.drain(ctx); err != nil {
			return
		}

		for i := m.pool.take(); i != nil; i = m.pool.take() {
			i.free(ctx)
		}
		m.code.Close()
	})

	return err
}

// drain waits until no batch has an instance, and none can get one any more.
func (m *Module) drain(ctx context.Context) error {
	for range cap(m.pool.tokens) {
		select {
		case <-m.pool.tokens:
		case <-ctx.Done():
			return fmt.Errorf("closing module %q: waiting for its batches: %w", m.name, ctx.Err())
		}
	}

	return nil
}
