package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTicketResolvesOnlyWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, Options{})
		release := d.hang()
		defer release()
		ticket := l.Append(batchOf("a", 0, 3), nil)
		synctest.Wait() // the committer hangs in its flush
		select {
		case <-ticket.Done():
			t.Fatal("resolved before the flush returned")
		default:
		}

		if n := len(collect(t, l, Filter{Topic: "a"})); n != 0 {
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
		if n := len(collect(t, l, Filter{Topic: "a"})); n != 3 {
			t.Fatalf("%d decisions, want 3", n)
		}

		mustClose(t, l)
	})
}

func TestManyAppendsShareOneFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, Options{})
		release := d.hang()
		first := l.Append(batchOf("a", 0, 3), nil)
		synctest.Wait()
		before := d.flushes()

		var rest []Ticket
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
		l := openMem(t, d, Options{Linger: time.Millisecond})
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
		l := openMem(t, d, Options{})
		seq := mustAppend(t, l, batchOf("a", 0, 3), nil)
		before := d.flushes()
		l.Bind(seq, Binding{BaseOffset: 7})
		synctest.Wait()

		if d.flushes() != before {
			t.Fatal("the binding had a flush of its own at once")
		}
		time.Sleep(bindDelay) // of the bubble's clock
		synctest.Wait()

		crashed := d.powerCut(nil)
		if u := openMem(t, crashed, Options{}).Unbound(); len(u) != 0 {
			t.Fatalf("binding not durable: %+v", u)
		}

		mustClose(t, l)
	})
}

func TestWaitingStartsOneFlushForAllThatWasAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, Options{})
		before := d.flushes()

		var last Ticket
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
		time.Sleep(bindDelay) // of the bubble's clock
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
		l := openMem(t, d, Options{})
		release := d.hang()
		l.Append(batchOf("a", 0, 3), nil)
		synctest.Wait()
		big := batchOf("a", 0, 1)
		big.Principal = strings.Repeat("x", maxStringBytes) // too long for the dictionary

		var last Ticket
		for range 2 * maxPendingBytes / maxStringBytes {
			if last = l.Append(big, nil); last.Seq() == 0 {
				break
			}
		}

		if err := last.Wait(t.Context()); !errors.Is(err, ErrOverloaded) || errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v, want ErrOverloaded", err)
		}
		release()
		synctest.Wait()
		mustAppend(t, l, batchOf("a", 0, 3), nil)
		mustClose(t, l)
	})
}

func TestConcurrentUseKeepsEveryDecision(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{SegmentBytes: 64 << 10})
	const appenders, each = 16, 60
	var wg sync.WaitGroup
	for g := range appenders {
		wg.Go(func() {
			for i := range each {
				ticket := l.Append(batchOf(fmt.Sprintf("t%d", g), 0, 20), []byte{1})
				if err := ticket.Wait(context.Background()); err != nil {
					t.Error(err)
				}

				l.Bind(ticket.Seq(), Binding{BaseOffset: int64(i) * 20})
				if i%10 == 0 {
					l.Unbound()
				}
			}
		})
	}

	wg.Go(func() {
		for range 50 {
			if _, err := l.Summarize(context.Background(), Filter{}); err != nil {
				t.Error(err)
			}
		}
	})

	wg.Wait()
	flushed(t, l)
	for g := range appenders {
		n := 0
		for _, d := range collect(t, l, Filter{Topic: fmt.Sprintf("t%d", g)}) {
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
	l := mustOpen(t, t.TempDir(), Options{})
	for name, change := range map[string]func(*BatchEntry){
		"count":        func(e *BatchEntry) { e.Records++ },
		"negative":     func(e *BatchEntry) { e.Records = -1 },
		"module":       func(e *BatchEntry) { e.Modules = e.Modules[:1] },
		"run":          func(e *BatchEntry) { e.Runs[0].Ruling = 99 },
		"empty run":    func(e *BatchEntry) { e.Runs[0].Count = 0 },
		"long string":  func(e *BatchEntry) { e.ClientID = strings.Repeat("x", maxStringBytes+1) },
		"producer":     func(e *BatchEntry) { e.ProducerID = -2 },
		"no runs":      func(e *BatchEntry) { e.Runs = nil },
		"verdict":      func(e *BatchEntry) { e.Rulings[0].Verdict = 9 },
		"many modules": func(e *BatchEntry) { e.Modules = make([]ModuleRef, 300) },
	} {
		e := batchOf("a", 0, 50)
		change(e)
		ticket := l.Append(e, nil)
		if err := ticket.Wait(t.Context()); !errors.Is(err, ErrInvalidEntry) || ticket.Seq() != 0 {
			t.Errorf("%s: got %v, want ErrInvalidEntry", name, err)
		}
	}

	if err := l.Record(t.Context(), ControlEntry{Kind: KindBatch}); !errors.Is(err, ErrInvalidEntry) {
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
		l := openMem(t, d, Options{})
		lost := l.Append(batchOf("a", 0, 3), []byte("same bytes")) // may be lost
		mustAppend(t, l, batchOf("a", 0, 3), []byte("same bytes"))

		for _, r := range l.Unbound() {
			if r.Seq < lost.Seq() {
				continue
			}
			key := string(deriveKey(testKey, "guardlock audit batch mac v1", r.mac.epoch[:])) + fmt.Sprint(r.mac.nonce)
			if seen[key] {
				t.Fatalf("round %d: nonce %d used twice under one key", round, r.mac.nonce)
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

func TestAnotherKeyOpensTheLogButMatchesNothingOld(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, batchOf("a", 0, 3), []byte("bytes"))
	mustClose(t, l)

	l2, err := Open(dir, Options{Key: [32]byte{7}})
	if err != nil {
		t.Fatal(err)
	}

	defer l2.Close()
	if u := l2.Unbound(); len(u) != 1 || l2.Matches(u[0], []byte("bytes")) {
		t.Fatalf("matched under another key: %+v", u)
	}
}

// TestNoRecordByteReachesTheDisk: of a batch there is its MAC alone.
func TestNoRecordByteReachesTheDisk(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, Options{})
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

func TestClientsCannotOutgrowTheDictionary(t *testing.T) {
	d := newDict()
	e := encoder{dict: d}
	for i := range maxDictStrings + 100 {
		e.out = e.out[:0]
		e.defs = e.defs[:0]
		e.str(roleClient, fmt.Sprintf("client-%d", i))
	}

	if len(d.strs) > maxDictStrings || d.bytes > maxDictBytes || d.overflow&roleClient == 0 {
		t.Fatalf("%d strings, %d bytes, overflow %b", len(d.strs), d.bytes, d.overflow)
	}
	if s := newSummary(1, d); !s.has(roleClient, "never seen") || s.has(rolePrincipal, "never seen") {
		t.Fatal("a seal must not deny strings that it does not list")
	}

	c := cursor{b: e.out, strs: d.strs}
	if got := c.str(roleClient); got != fmt.Sprintf("client-%d", maxDictStrings+99) {
		t.Fatalf("got %q", got)
	}
}
