package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// history is what a client of the log knows for certain.
type history struct {
	resolved map[uint64]int   // records of batches whose ticket resolved
	bound    map[uint64]int64 // bindings that a resolved ticket followed
	unbound  map[uint64]bool  // resolved and never bound
	begun    bool             // so did the era
	openErr  error
	failure  error
}

// worked is the era that work records unless the log has it.
var worked = audit.Era{Target: audit.Target{Cluster: "main", Topic: "cards"}, Offset: 7}

// work opens a log and appends until something fails.
func work(d *memFiles, n int) history {
	h := history{resolved: map[uint64]int{}, bound: map[uint64]int64{}, unbound: map[uint64]bool{}}
	l, err := audit.OpenFiles(d, audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes})
	if err != nil {
		h.openErr = err
		return h
	}

	defer func() { h.failure = errors.Join(h.failure, l.Close()) }()
	if has, err := l.HasEra(context.Background(), worked.Target); err != nil || !has {
		h.failure = l.Record(context.Background(), audit.NewEra(worked))
	}
	if h.begun = h.failure == nil; !h.begun {
		return h
	}

	pending := map[uint64]int64{}
	for i := range n {
		e := batchOf(fmt.Sprintf("topic-%d", i), 0, 40+i)
		e.Principal = fmt.Sprintf("%d%0800d", i, i) // segments fill fast
		ticket := l.Append(e, []byte{byte(i)})
		if h.failure = ticket.Wait(context.Background()); h.failure != nil {
			return h
		}

		h.resolved[ticket.Seq()] = 40 + i
		for seq, base := range pending {
			h.bound[seq] = base
		}

		clear(pending)
		if i%3 == 0 {
			h.unbound[ticket.Seq()] = true
			continue
		}

		l.Place(ticket.Seq(), audit.Placement{BaseOffset: int64(1000 * i)})
		pending[ticket.Seq()] = int64(1000 * i)
	}

	return h
}

// kept checks that a directory still holds all that the history knows, is one
// chain, and takes entries again.
func (h *history) kept(d *memFiles) error {
	l, err := audit.OpenFiles(d, audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes})
	if err != nil {
		return fmt.Errorf("reopening: %w", err)
	}

	unbound := map[uint64]bool{}
	for _, r := range l.Unplaced() {
		unbound[r.Seq] = true
	}

	for seq := range h.unbound {
		if !unbound[seq] {
			return fmt.Errorf("batch %d is not unbound", seq)
		}
	}

	if has, err := l.HasEra(context.Background(), worked.Target); err != nil || h.begun && !has {
		return fmt.Errorf("the era is lost: %v", err)
	}
	if err := h.found(l); err != nil {
		return err
	}
	if err := l.Append(batchOf("after", 0, 3), nil).Wait(context.Background()); err != nil {
		return fmt.Errorf("appending after reopening: %w", err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}

	_, err = verifyMem(d)
	return err
}

func (h *history) found(l *audit.Log) error {
	got := map[uint64]*query.BatchInfo{}
	for d, err := range query.New(l.Reader()).Query(context.Background(), query.Filter{ByBatch: true, Kinds: []audit.Kind{audit.KindBatch}}) {
		if err != nil {
			return fmt.Errorf("querying: %w", err)
		}
		got[d.Batch.Seq] = d.Batch
	}

	for seq, records := range h.resolved {
		b := got[seq]
		if b == nil || b.Records != records {
			return fmt.Errorf("batch %d is lost: %+v", seq, b)
		}
		if base, ok := h.bound[seq]; ok && b.BaseOffset != base {
			return fmt.Errorf("binding of batch %d is lost: offset %d, want %d", seq, b.BaseOffset, base)
		}
	}

	return nil
}

const faultBatches = 14

// TestEveryFailureKeepsWhatWasAcknowledged fails each file operation in turn, in
// each flavour, and looks at what a killed process and a power cut leave.
func TestEveryFailureKeepsWhatWasAcknowledged(t *testing.T) {
	clean := newMemFiles()
	h := work(clean, faultBatches)
	if h.failure != nil || h.openErr != nil || len(clean.live) < 4 {
		t.Fatalf("without faults: %v, %v, %d files", h.openErr, h.failure, len(clean.live))
	}

	total := clean.ops
	for _, fl := range []flavour{failed, persisted, gated} {
		for at := 1; at <= total; at++ {
			d := newMemFiles()
			d.failAt = at
			d.flavour = fl

			h := work(d, faultBatches)
			if h.openErr == nil && h.failure == nil && d.ops >= at {
				continue // the failure hit nothing that mattered, such as the list of a reader
			}
			checkCrashes(t, d, &h, fmt.Sprintf("flavour %d, operation %d", fl, at), uint64(at))
		}
	}
}

func checkCrashes(t *testing.T, d *memFiles, h *history, name string, seed uint64) {
	t.Helper()
	if h.failure != nil && !errors.Is(h.failure, audit.ErrUnavailable) && !errors.Is(h.failure, errInjected) {
		t.Fatalf("%s: failed with %v", name, h.failure)
	}
	if err := h.kept(d.powerCut(nil)); err != nil {
		t.Errorf("%s, power cut: %v", name, err)
	}

	for i := range uint64(3) {
		if err := h.kept(d.powerCut(rand.New(rand.NewPCG(seed, i)))); err != nil {
			t.Errorf("%s, power cut %d: %v", name, i, err)
		}
	}

	// What a killed process left in the page cache is adopted by the next. The
	// power cut after that must find neither hole nor loss under newer frames.
	next := d.killed()
	more := work(next, 2)
	if err := errors.Join(more.openErr, more.failure); err != nil {
		t.Errorf("%s, killed: %v", name, err)
		return
	}

	for seq, n := range more.resolved {
		h.resolved[seq] = n
	}
	if err := h.kept(next.killed()); err != nil {
		t.Errorf("%s, killed: %v", name, err)
	}
	if err := h.kept(next.powerCut(nil)); err != nil {
		t.Errorf("%s, killed, then power cut: %v", name, err)
	}
}

// TestCrashAnywhereKeepsWhatWasAcknowledged stops the world before each
// operation: everything from there on fails.
func TestCrashAnywhereKeepsWhatWasAcknowledged(t *testing.T) {
	clean := newMemFiles()
	work(clean, faultBatches)
	for at := 1; at <= clean.ops; at++ {
		d := newMemFiles()
		d.failAt = at
		d.from = true
		h := work(d, faultBatches)
		d.mu.Lock()
		d.failAt = 0
		d.mu.Unlock()
		checkCrashes(t, d, &h, fmt.Sprintf("operation %d", at), uint64(at))
	}
}

// TestFailureDuringReplayKeepsWhatWasAcknowledged fails each file operation of
// the Open that follows a crash.
func TestFailureDuringReplayKeepsWhatWasAcknowledged(t *testing.T) {
	clean := newMemFiles()
	work(clean, faultBatches)
	for crash := 9; crash <= clean.ops; crash += 7 {
		d := newMemFiles()
		d.failAt, d.from, d.flavour = crash, true, flavour(crash%3)
		h := work(d, faultBatches)
		crashed := d.powerCut(rand.New(rand.NewPCG(uint64(crash), 1)))

		if crash%2 == 0 {
			crashed = d.killed()
		}
		for at := 1; at <= 16; at++ {
			again := crashed.killed()
			again.failAt, again.flavour = at, flavour(at%3)
			work(again, 2)
			again.failAt = 0
			name := fmt.Sprintf("crash at %d, then operation %d", crash, at)

			if err := h.kept(again.killed()); err != nil {
				t.Errorf("%s, killed: %v", name, err)
			}
			if err := h.kept(again.powerCut(nil)); err != nil {
				t.Errorf("%s, power cut: %v", name, err)
			}

			for i := range uint64(4) {
				l, err := audit.OpenFiles(again.powerCut(rand.New(rand.NewPCG(uint64(crash), i))), audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes})
				if err != nil {
					t.Errorf("%s, power cut %d: %v", name, i, err)
					continue
				}
				l.Close()
			}
		}
	}
}

func TestFailedLogRefusesEverythingForGood(t *testing.T) {
	d := newMemFiles()
	l, err := audit.OpenFiles(d, audit.Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(batchOf("a", 0, 3), nil).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}

	d.mu.Lock()
	d.failAt = d.ops + 1
	d.err = syscall.ENOSPC // once: the log must not try again
	d.mu.Unlock()

	for range 3 {
		ticket := l.Append(batchOf("a", 0, 3), nil)
		if err := ticket.Wait(t.Context()); !errors.Is(err, audit.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v, want ErrUnavailable for a full disk", err)
		}
	}

	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindStop}); !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if err := l.Err(); !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if _, err := l.PlacedAt(t.Context(), audit.Target{}, 0); !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("who is at an offset is answered with %v, want ErrUnavailable", err)
	}
	if err := l.Close(); !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("closing: got %v, want ErrUnavailable", err)
	}
}

func TestClosedLogRefuses(t *testing.T) {
	l := mustOpen(t, t.TempDir(), audit.Options{})
	ticket := l.Append(batchOf("a", 0, 3), nil)
	mustClose(t, l)

	if err := ticket.Wait(t.Context()); err != nil {
		t.Fatalf("what was pending at Close: %v", err)
	}
	err := l.Append(batchOf("a", 0, 3), nil).Wait(t.Context())
	if !errors.Is(err, audit.ErrClosed) || !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("got %v, want ErrClosed and ErrUnavailable", err)
	}
}
