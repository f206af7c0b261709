package gateway

import (
	"context"
	"time"
)

// Memory for requests follows what has arrived of them. What a frame announces
// costs its sender nothing, so a frame gets a larger buffer only once the last
// one is full. On the way there it holds at most an eighth more than it needs for
// what was sent, and these shares hold:
//
//   - small requests have a reserve, which larger ones never take;
//   - the buffers of frames that need a larger one later leave room for the
//     largest frame, so that a frame that waits for its last buffer gets it,
//     whatever the others wait for;
//   - one source has at most half of the memory, if that is a frame, and sources
//     take turns.
//
// A source that sends slowly still holds what it was given. When somebody has
// waited for a second, the slow frames of whoever holds most are ended first
// (see Gateway.endSlow).

// shares divide a budget, in bytes. They are fixed once made.
type shares struct {
	reserve int64 // for the smallest buffers
	largest int64 // the buffer of the largest frame
	source  int64 // what one source may hold
}

// newShared makes buffers for the frames of many sources, with the shares that
// the comment above describes.
func newShared(budget int64, maxFrame int) *buffers {
	largest := sizeOf(classOf(maxFrame + 4))
	b := newBuffers(budget)
	b.shares = shares{
		reserve: max(0, min(budget/4, budget-largest)),
		largest: largest,
		source:  max(budget/2, largest),
	}

	return b
}

// source is who shares memory: all connections from one address. Guarded by the
// mutex of its buffers.
type source struct {
	held int64  // bytes in buffers beyond the smallest
	last uint64 // the turn in which it was given a buffer
}

// nextWaiter returns the place in the queue of who is to be served now, or -1.
// It is the one whose source has been served longest ago, so that a source with
// a thousand frames delays another by one; of one source it is the first that
// came, so that no large frame starves. Who waits for others of its own source
// holds nobody up, nor does anybody hold up who may use what is reserved. The
// caller holds mu.
func (b *buffers) nextWaiter() int {
	next := -1
	small := -1
	for i, w := range b.queue {
		if small < 0 && b.reserved(w.claim) && b.fits(w.claim) {
			small = i
		}
		if b.sourceFits(w.claim) && (next < 0 || w.served() < b.queue[next].served()) {
			next = i
		}
	}

	if next >= 0 && b.fits(b.queue[next].claim) {
		return next
	}
	return small
}

// served is the turn in which the claim's source was given a buffer. The caller
// holds mu.
func (c *claim) served() uint64 {
	if c.owner == nil {
		return 0
	}
	return c.owner.last
}

// account is buffers as one source asks for them. It belongs to the connection
// whose source it is.
type account struct {
	buffers *buffers
	owner   *source // nil: nobody's share counts
}

func (a *account) tryGet(n int) []byte    { return a.buffers.tryGet(n, a.owner) }
func (a *account) tryPart(n int) []byte   { return a.buffers.tryPart(n, a.owner) }
func (a *account) tryWindow(n int) []byte { return a.buffers.tryWindow(n, a.owner) }
func (a *account) put(buf []byte)         { a.buffers.put(buf, a.owner) }

func (a *account) get(ctx context.Context, n int, wait time.Duration) ([]byte, error) {
	return a.buffers.get(ctx, n, a.owner, wait)
}

// reserved reports whether the claim is one that larger ones do not stand
// before. The caller holds mu.
func (b *buffers) reserved(c claim) bool {
	return c.size == smallest && b.small+smallest <= b.shares.reserve
}

// fits reports whether the claim can be met now without breaking a share. The
// caller holds mu.
func (b *buffers) fits(c claim) bool {
	if c.size == smallest {
		return b.free >= c.size
	}

	spare := b.free - max(0, b.shares.reserve-b.small)
	if c.part {
		spare -= b.shares.largest
	}

	return spare >= c.size && b.sourceFits(c)
}

// sourceFits reports whether the claim is within its source's share. The
// smallest buffers always are. The caller holds mu.
func (b *buffers) sourceFits(c claim) bool {
	if c.owner == nil || c.size == smallest {
		return true
	}

	spare := b.shares.source - c.owner.held
	if c.part {
		spare -= b.shares.largest
	}

	return spare >= c.size
}

// charge takes the claim out of the budget and out of its source's share. The
// caller holds mu.
func (b *buffers) charge(c claim) {
	b.account(c, c.size)
	if c.owner != nil {
		b.turn++
		c.owner.last = b.turn
	}
}

// refund undoes charge, but for the turn. The caller holds mu.
func (b *buffers) refund(c claim) { b.account(c, -c.size) }

func (b *buffers) account(c claim, n int64) {
	b.free -= n
	if c.size == smallest {
		b.small += n
	} else if c.owner != nil {
		c.owner.held += n
	}
}
