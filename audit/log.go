package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// bindDelay is how long what nobody waits for waits for a flush to share.
const bindDelay = 20 * time.Millisecond

// Log is the decision log of one gateway. Its methods are safe for concurrent use.
type Log struct {
	// fixed after Open
	opt    Options
	mac    *macer
	logID  [8]byte
	lock   io.Closer
	reader *Reader
	counts logCounts
	wakes
	closing chan struct{}
	stopped chan struct{} // the committer has ended

	committed atomic.Pointer[segment.Mark]

	closeOnce sync.Once
	closeErr  error // owned by the committer until stopped is closed

	// guarded by mu
	mu  sync.Mutex
	w   *writer
	err error // not nil: failed or closed, for good
}

// wakes are the channels on which one goroutine tells another that there is
// something to do.
type wakes struct {
	awaited chan struct{} // somebody waits for a ticket
	added   chan struct{} // something is pending
	ended   chan struct{} // a segment has ended
}

// Ticket stands for an entry on its way to the disk.
type Ticket struct {
	seq     uint64
	flight  *flight
	awaited chan<- struct{}
}

// Seq is the entry's sequence number, in the order of the calls to Append; 0
// if the entry was refused.
func (t Ticket) Seq() uint64 { return t.seq }

// Done is closed when the entry is durable or the log has failed, which an
// entry that nobody calls Wait for reaches a moment later.
func (t Ticket) Done() <-chan struct{} { return t.flight.done }

// Wait returns nil once the entry is durable, the log's error if it never will
// be, or the context's. After the last the entry may still become durable. It is
// Wait that starts the flush: all that was appended before shares it.
func (t Ticket) Wait(ctx context.Context) error {
	select {
	case <-t.flight.done:
		return t.flight.err
	default:
	}

	wake(t.awaited)
	select {
	case <-t.flight.done:
		return t.flight.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for decision log: %w", ctx.Err())
	}
}

func refused(err error) Ticket {
	f := &flight{done: make(chan struct{}), err: err}
	close(f.done)
	return Ticket{flight: f}
}

// Append adds the decision on a batch. It does not wait for the disk: see
// Ticket. evidence, if not nil, is the part of what would be forwarded that
// e.Evidence names; only its MAC is kept. Neither argument is kept after the
// return.
func (l *Log) Append(e *BatchEntry, evidence []byte) Ticket {
	if err := e.validate(); err != nil {
		return refused(err)
	}
	e.nonce = 0
	e.mac = [16]byte{}

	if evidence != nil {
		e.nonce, e.mac = l.mac.next(evidence)
	}
	l.mu.Lock()
	defer l.mu.Unlock()

	if err := l.refusal(); err != nil {
		return refused(err)
	}
	if l.w.full() {
		return refused(ErrDiskFull)
	}
	if e.Time.IsZero() {
		e.Time = l.opt.Now()
	}

	seq, f := l.w.addBatch(e)
	wake(l.added)
	return Ticket{seq, f, l.awaited}
}

// refusal says why nothing can be added now. Callers hold mu.
func (l *Log) refusal() error {
	if l.err == nil && l.w.pending > maxPendingBytes {
		wake(l.awaited)
		return ErrOverloaded
	}
	return l.err
}

// SetFree tells how many bytes the log's disk has free; a negative number is that nobody
// knows. Where the next segment might find no room, Append refuses with ErrDiskFull until
// more is free: a write that meets the end of the disk would end the log for good. Answers
// and control entries are taken all the same.
func (l *Log) SetFree(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.free = bytes
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Place adds the broker's answer to a forwarded batch. It waits for nothing: a
// binding that a crash loses is found again through Unplaced. A batch that is
// not open, and a log that has failed, take no binding.
func (l *Log) Place(seq uint64, b Placement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.w.addBinding(seq, b, l.opt.Now()) {
		wake(l.added)
	}
}

// Record adds a control entry and returns when it is durable.
func (l *Log) Record(ctx context.Context, c ControlEntry) error {
	t, err := l.addControl(c)
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

func (l *Log) addControl(c ControlEntry) (Ticket, error) {
	if err := c.validate(); err != nil {
		return Ticket{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()

	if err := l.refusal(); err != nil {
		return Ticket{}, err
	}
	if c.Time.IsZero() {
		c.Time = l.opt.Now()
	}

	seq, f := l.w.addControl(&c)
	wake(l.added)
	return Ticket{seq, f, l.awaited}, nil
}

// Unplaced lists the forwarded batches whose answer the log does not know, by
// sequence number. Right after Open these are the ones that a crash left.
func (l *Log) Unplaced() []BatchRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	refs := make([]BatchRef, 0, len(l.w.open))
	for _, r := range l.w.open {
		if r != nil { // its entry was pruned: nothing is known of it
			refs = append(refs, *r)
		}
	}

	slices.SortFunc(refs, func(a, b BatchRef) int { return int(int64(a.Seq - b.Seq)) })
	return refs
}

// Matches reports whether the content of a batch is what the entry's MAC was
// made of; see EvidenceContent.
func (l *Log) Matches(r BatchRef, content []byte) bool {
	if checkMAC(l.opt.Key, r.mac, content) {
		return true
	}
	return l.opt.PreviousKey != nil && checkMAC(*l.opt.PreviousKey, r.mac, content)
}

// ID names the decision on one record: index is its place in its batch, or -1
// for a batch as a whole and for control entries.
func (l *Log) ID(seq uint64, index int) DecisionID {
	return DecisionID{Node: nodeOf(l.logID), Seq: seq, Index: index}
}

// Head returns the chain value of the last durable frame and the sequence
// number behind it. Whoever keeps it elsewhere can tell later whether the log
// up to there was rewritten.
func (l *Log) Head() (nextSeq uint64, chain [32]byte) {
	m := l.committed.Load()
	return m.NextSeq, m.Chain
}

// Reader reads what is durable of the log. It is closed with the log.
func (l *Log) Reader() *Reader { return l.reader }

// Err returns nil while the log takes entries.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close makes everything pending durable, waits for the committer and gives
// the directory free.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		close(l.closing)
		<-l.stopped
		l.closeErr = errors.Join(l.closeErr, l.reader.Close(), l.lock.Close())
	})
	return l.closeErr
}

// run is the committer: it alone writes. It ends when the log is closed or has
// failed.
func (l *Log) run(c *segment.Committer) {
	defer close(l.stopped)
	l.closeErr = errors.Join(l.commitAll(c), c.Close(), c.Files.CloseFiles())
}

func (l *Log) commitAll(c *segment.Committer) error {
	for more := true; more; {
		more = l.await()
		// What comes meanwhile is left for those who wait for it.
		for n := l.pending(); n > 0; n-- {
			ch := l.take()
			began := time.Now()
			m, err := c.Commit(ch.commit())
			if err != nil {
				return l.fail(ch, err)
			}

			l.counts.committed(time.Since(began), ch.next-ch.seq)

			before := l.committed.Swap(&m)
			l.land(ch, nil)
			if before.Segment != m.Segment {
				wake(l.ended)
			}
		}
	}
	return nil
}

// await returns when there is something to commit, and false when the log is
// closing: what is pending then is the last.
func (l *Log) await() bool {
	var deadline <-chan time.Time
	added := l.added
	for {
		select {
		case <-l.awaited:
			return l.linger()
		case <-deadline:
			return true
		case <-added:
			deadline = time.After(bindDelay)
			added = nil
		case <-l.closing:
			l.refuse(errClosed)
			return false
		}
	}
}

func (l *Log) linger() bool {
	if l.opt.Linger <= 0 {
		return true
	}
	select {
	case <-time.After(l.opt.Linger):
		return true
	case <-l.closing:
		l.refuse(errClosed)
		return false
	}
}

// pending returns how many chunks take would give now.
func (l *Log) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.chunks()
}

func (l *Log) take() *chunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.take()
}

// land resolves a chunk's tickets.
func (l *Log) land(ch *chunk, err error) {
	ch.flight.err = err
	close(ch.flight.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.giveBack(ch)
}

// refuse makes err the answer to everything that comes.
func (l *Log) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// fail ends the log for good: the chunk at hand, all that is pending and all
// that comes get the same error.
func (l *Log) fail(ch *chunk, cause error) error {
	err := fmt.Errorf("%w: %w", ErrUnavailable, cause)
	l.refuse(err)
	for ; ch != nil; ch = l.take() {
		l.land(ch, err)
	}
	return err
}

// errClosed is both: whoever asks only whether the log can be used sees
// ErrUnavailable.
var errClosed = fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)

// openEntry says who continues the log, and what was found or taken on trust.
func (r *replay) openEntry() ControlEntry {
	c := ControlEntry{
		Kind:    KindOpen,
		Subject: r.opt.Node,
		Outcome: "opened",
		Time:    r.opt.Now(),
		Opening: Opening{Epoch: r.epoch, KeyID: r.key.ID},
		Steps:   r.adopted,
	}

	if r.torn > 0 {
		c.Steps = append(c.Steps, Step{Name: "torn_tail", Verdict: "cut", Detail: fmt.Sprintf("%d bytes", r.torn)})
	}
	return c
}
