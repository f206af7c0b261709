package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

func TestTicketResolvesOnlyWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{})
		release := d.hang()
		defer release()
		ticket := l.Append(batchOf("a", 0, 3), nil)
		synctest.Wait() // the committer hangs in its flush
		select {
		case <-ticket.Done():
			t.Fatal("resolved before the flush returned")
		default:
		}

		if n := len(collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"a"}})); n != 0 {
			t.Fatalf("%d decisions visible before they are durable", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()

		if err := ticket.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the context's error: a hung disk must not hang the caller", err)
		}
		release()
		if err := ticket.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"a"}})); n != 3 {
			t.Fatalf("%d decisions, want 3", n)
		}

		mustClose(t, l)
	})
}

func TestManyAppendsShareOneFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{})
		release := d.hang()
		first := l.Append(batchOf("a", 0, 3), nil)
		synctest.Wait()
		before := d.flushes()

		var rest []audit.Ticket
		for range 500 {
			rest = append(rest, l.Append(batchOf("a", 0, 3), nil)) // returns though the disk hangs
		}

		release()
		for i, ticket := range append(rest, first) {
			if err := ticket.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if i < len(rest) && ticket.Seq() != first.Seq()+1+uint64(i) {
				t.Fatalf("append %d has sequence number %d: not the order of calls", i, ticket.Seq())
			}
		}

		if n := d.flushes() - before; n != 1 {
			t.Fatalf("%d flushes for 500 appends, want 1", n)
		}
		mustClose(t, l)
	})
}

func TestLingerGathersAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{Linger: time.Millisecond})
		before := d.flushes()

		for range 4 {
			a := l.Append(batchOf("a", 0, 3), nil)
			synctest.Wait()
			b := l.Append(batchOf("a", 0, 3), nil)
			if err := errors.Join(a.Wait(t.Context()), b.Wait(t.Context())); err != nil {
				t.Fatal(err)
			}
		}

		if n := d.flushes() - before; n != 4 {
			t.Fatalf("%d flushes for 4 pairs", n)
		}
		mustClose(t, l)
	})
}

func TestBindingReachesTheDiskWithoutCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{})
		seq := mustAppend(t, l, batchOf("a", 0, 3), nil)
		before := d.flushes()
		l.Place(seq, audit.Placement{BaseOffset: 7})
		synctest.Wait()

		if d.flushes() != before {
			t.Fatal("the binding had a flush of its own at once")
		}
		time.Sleep(audit.BindDelay) // of the bubble's clock
		synctest.Wait()

		crashed := d.powerCut(nil)
		if u := openMem(t, crashed, audit.Options{}).Unplaced(); len(u) != 0 {
			t.Fatalf("binding not durable: %+v", u)
		}

		mustClose(t, l)
	})
}

func TestWaitingStartsOneFlushForAllThatWasAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{})
		before := d.flushes()

		var last audit.Ticket
		for range 3 {
			last = l.Append(batchOf("a", 0, 3), nil)
			synctest.Wait()
		}

		if n := d.flushes() - before; n != 0 {
			t.Fatalf("%d flushes before anybody waits", n)
		}
		if err := last.Wait(t.Context()); err != nil || d.flushes() != before+1 {
			t.Fatalf("%d flushes, want 1: %v", d.flushes()-before, err)
		}

		nobodyWaits := l.Append(batchOf("a", 0, 3), nil)
		time.Sleep(audit.BindDelay) // of the bubble's clock
		synctest.Wait()
		select {
		case <-nobodyWaits.Done():
		default:
			t.Fatal("an entry that nobody waits for is not durable after a moment")
		}

		mustClose(t, l)
	})
}

func TestOverloadIsRefusedAndPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{})
		release := d.hang()
		l.Append(batchOf("a", 0, 3), nil)
		synctest.Wait()
		big := batchOf("a", 0, 1)
		big.Principal = strings.Repeat("x", audit.MaxStringBytes) // too long for the dictionary

		var last audit.Ticket
		for range 2 * audit.MaxPendingBytes / audit.MaxStringBytes {
			if last = l.Append(big, nil); last.Seq() == 0 {
				break
			}
		}

		if err := last.Wait(t.Context()); !errors.Is(err, audit.ErrOverloaded) || errors.Is(err, audit.ErrUnavailable) {
			t.Fatalf("got %v, want ErrOverloaded", err)
		}
		release()
		synctest.Wait()
		mustAppend(t, l, batchOf("a", 0, 3), nil)
		mustClose(t, l)
	})
}

func TestConcurrentUseKeepsEveryDecision(t *testing.T) {
	l := mustOpen(t, t.TempDir(), audit.Options{SegmentBytes: 64 << 10})
	const appenders, each = 16, 60
	var wg sync.WaitGroup
	for g := range appenders {
		wg.Go(func() {
			for i := range each {
				ticket := l.Append(batchOf(fmt.Sprintf("t%d", g), 0, 20), []byte{1})
				if err := ticket.Wait(context.Background()); err != nil {
					t.Error(err)
				}

				l.Place(ticket.Seq(), audit.Placement{BaseOffset: int64(i) * 20})
				if i%10 == 0 {
					l.Unplaced()
				}
			}
		})
	}

	wg.Go(func() {
		for range 50 {
			if _, err := query.New(l.Reader()).Summarize(context.Background(), query.Filter{}); err != nil {
				t.Error(err)
			}
		}
	})

	wg.Wait()
	flushed(t, l)
	for g := range appenders {
		n := 0
		for _, d := range collect(t, query.New(l.Reader()), query.Filter{Topics: []string{fmt.Sprintf("t%d", g)}}) {
			if d.Offset != int64(n) {
				t.Fatalf("decision %d of appender %d has offset %d", n, g, d.Offset)
			}
			n++
		}

		if n != each*20 {
			t.Fatalf("%d decisions of appender %d", n, g)
		}
	}
}

func TestInvalidEntriesAreRefused(t *testing.T) {
	l := mustOpen(t, t.TempDir(), audit.Options{})
	for name, change := range map[string]func(*audit.BatchEntry){
		"count":        func(e *audit.BatchEntry) { e.Records++ },
		"negative":     func(e *audit.BatchEntry) { e.Records = -1 },
		"module":       func(e *audit.BatchEntry) { e.Modules = e.Modules[:1] },
		"run":          func(e *audit.BatchEntry) { e.Runs[0].Ruling = 99 },
		"empty run":    func(e *audit.BatchEntry) { e.Runs[0].Count = 0 },
		"long string":  func(e *audit.BatchEntry) { e.ClientID = strings.Repeat("x", audit.MaxStringBytes+1) },
		"producer":     func(e *audit.BatchEntry) { e.ProducerID = -2 },
		"no runs":      func(e *audit.BatchEntry) { e.Runs = nil },
		"verdict":      func(e *audit.BatchEntry) { e.Rulings[0].Verdict = 9 },
		"many modules": func(e *audit.BatchEntry) { e.Modules = make([]audit.ModuleRef, 300) },
	} {
		e := batchOf("a", 0, 50)
		change(e)
		ticket := l.Append(e, nil)
		if err := ticket.Wait(t.Context()); !errors.Is(err, audit.ErrInvalidEntry) || ticket.Seq() != 0 {
			t.Errorf("%s: got %v, want ErrInvalidEntry", name, err)
		}
	}

	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindBatch}); !errors.Is(err, audit.ErrInvalidEntry) {
		t.Errorf("control entry of kind batch: %v", err)
	}
	mustAppend(t, l, batchOf("a", 0, 50), nil)
}

// TestNonceIsNeverUsedTwice: sequence numbers may come again after a crash,
// keys and nonces together may not.
func TestNonceIsNeverUsedTwice(t *testing.T) {
	d := newMemFiles()
	seen := map[string]bool{}
	for round := range 4 {
		l := openMem(t, d, audit.Options{})
		lost := l.Append(batchOf("a", 0, 3), []byte("same bytes")) // may be lost
		mustAppend(t, l, batchOf("a", 0, 3), []byte("same bytes"))

		for _, r := range l.Unplaced() {
			if r.Seq < lost.Seq() {
				continue
			}
			key := r.KeyAndNonce(testKey)
			if seen[key] {
				t.Fatalf("round %d: a nonce is used twice under one key", round)
			}

			seen[key] = true
			if !l.Matches(r, []byte("same bytes")) || l.Matches(r, []byte("some bytes")) {
				t.Fatal("MAC does not tell its batch")
			}
		}

		d = d.killed()
	}

	if len(seen) != 8 {
		t.Fatalf("%d MACs, want 8", len(seen))
	}
}

// TestNoRecordByteReachesTheDisk: of a batch there is its MAC alone.
func TestNoRecordByteReachesTheDisk(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{})
	secret := []byte("card number 4111111111111111")
	mustAppend(t, l, batchOf("a", 0, 3), secret)
	mustClose(t, l)

	for name, f := range d.live {
		for n := 8; n <= len(secret); n++ {
			if strings.Contains(string(f.cache), string(secret[:n])) {
				t.Fatalf("%s holds bytes of the batch", name)
			}
		}
	}
}
