package audit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
)

// follow collects what a follower gets until the test ends.
func follow(ctx context.Context, r *audit.Reader, f query.Filter) chan query.Decision {
	out := make(chan query.Decision, 1000)
	go func() {
		defer close(out)
		for d, err := range query.New(r).Follow(ctx, f) {
			if err != nil {
				return
			}
			out <- d
		}
	}()

	return out
}

func TestFollowGivesWhatIsNewWithItsOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openMem(t, newMemFiles(), audit.Options{SegmentBytes: audit.MinSegmentBytes})
		mustAppend(t, l, batchOf("old", 0, 2), nil)
		ctx, cancel := context.WithCancel(t.Context())
		out := follow(ctx, l.Reader(), query.Filter{Kinds: []audit.Kind{audit.KindBatch}})
		synctest.Wait()

		for i := range 30 { // over several segments
			seq := mustAppend(t, l, batchOf("new", int32(i), 2), nil)
			time.Sleep(time.Second)
			if len(out) != 0 {
				t.Fatal("given out before its offset was known")
			}

			l.Place(seq, audit.Placement{BaseOffset: 70})
			if d := <-out; d.Topic != "new" || d.Partition != int32(i) || d.Offset != 70 {
				t.Fatalf("got %+v", d)
			}
			if d := <-out; d.Offset != 71 {
				t.Fatalf("got %+v", d)
			}
		}

		cancel()
		<-out
		mustClose(t, l)
	})
}

func TestFollowDoesNotWaitForEverForAnOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openMem(t, newMemFiles(), audit.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		out := follow(ctx, l.Reader(), query.Filter{Limit: 3})
		synctest.Wait()
		mustAppend(t, l, batchOf("lost", 0, 1), nil)
		e := batchOf("refused", 0, 2)
		e.Outcome = audit.OutcomeTimeout
		mustAppend(t, l, e, nil)

		if d := <-out; d.Topic != "lost" || d.Offset != -1 || d.Batch.State != query.StateUnknown {
			t.Fatalf("got %+v", d)
		}
		<-out
		<-out

		if _, more := <-out; more {
			t.Fatal("gave more than its limit")
		}
		cancel()
		mustClose(t, l)
	})
}

func TestFollowBeginsWhereAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openMem(t, newMemFiles(), audit.Options{SegmentBytes: audit.MinSegmentBytes})
		for i := range 40 {
			l.Place(mustAppend(t, l, batchOf("t", int32(i), 1), nil), audit.Placement{BaseOffset: 0})
			time.Sleep(time.Second)
		}

		from := time.Now().Add(-5*time.Second - time.Millisecond)
		n := 0
		for d, err := range query.New(l.Reader()).Follow(t.Context(), query.Filter{From: from, Limit: 5}) {
			if err != nil || d.Partition != int32(35+n) {
				t.Fatalf("got %+v, %v", d, err)
			}
			n++
		}

		if n != 5 {
			t.Fatalf("%d decisions", n)
		}
		mustClose(t, l)
	})
}

// TestReaderBesideAGatewaySeesWhatIsDurable: and no frame before its flush.
func TestReaderBesideAGatewaySeesWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes})
		r := audit.NewReader(d, func() (*segment.Mark, error) { return audit.CommittedMark(d) })
		want := 0
		for range 40 {
			mustAppend(t, l, batchOf("t", 0, 4), nil)
			want += 4
			if n := len(collect(t, query.New(r), query.Filter{Topics: []string{"t"}})); n != want {
				t.Fatalf("%d decisions, want %d", n, want)
			}
			if _, err := verifyMem(d); err != nil {
				t.Fatal(err)
			}
		}

		release := d.hang()
		ticket := l.Append(batchOf("t", 0, 4), nil)
		synctest.Wait()

		if n := len(collect(t, query.New(r), query.Filter{Topics: []string{"t"}})); n != want {
			t.Fatalf("%d decisions before the flush, want %d", n, want)
		}
		release()
		if err := ticket.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}

		mustClose(t, l)
		if n := len(collect(t, query.New(r), query.Filter{Topics: []string{"t"}})); n != want+4 {
			t.Fatalf("%d decisions after the end, want %d", n, want+4)
		}
	})
}

func TestQueryEndsWithItsContext(t *testing.T) {
	l := mustOpen(t, t.TempDir(), audit.Options{})
	mustAppend(t, l, batchOf("t", 0, 4), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	for _, err := range query.New(l.Reader()).Query(ctx, query.Filter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestReaderOfNoDirectoryFails(t *testing.T) {
	if _, err := audit.OpenReader(t.TempDir() + "/none"); err == nil {
		t.Fatal("opened")
	}
	r, err := audit.OpenReader(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(collect(t, query.New(r), query.Filter{})); n != 0 {
		t.Fatalf("%d decisions in an empty directory", n)
	}
}
