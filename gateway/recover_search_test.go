package gateway

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
)

// ledger is a decision log in memory that knows a batch by the one value in it.
type ledger struct {
	DecisionLog // none: the resolver only binds

	mu     sync.Mutex
	values map[uint64]string
	open   map[uint64]audit.BatchRef
	bound  map[uint64]audit.Placement
}

func newLedger() *ledger {
	return &ledger{values: map[uint64]string{}, open: map[uint64]audit.BatchRef{}, bound: map[uint64]audit.Placement{}}
}

// forwarded adds a decision whose answer is not known.
func (l *ledger) forwarded(seq uint64, value string) {
	l.values[seq] = value
	l.open[seq] = audit.BatchRef{Seq: seq, Time: time.Now(), Target: audit.Target{Cluster: "main", Topic: "t"},
		Producer: audit.Producer{ProducerID: -1}, Records: 1}
}

func (l *ledger) Place(seq uint64, b audit.Placement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[seq]; ok {
		l.bound[seq] = b
	}
	delete(l.open, seq)
}

func (l *ledger) Unplaced() []audit.BatchRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	refs := slices.Collect(maps.Values(l.open))
	slices.SortFunc(refs, func(a, b audit.BatchRef) int { return int(a.Seq) - int(b.Seq) })
	return refs
}

func (l *ledger) Matches(r audit.BatchRef, batch []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(batch, []byte(l.values[r.Seq]))
}

func (l *ledger) PlacedAt(_ context.Context, t audit.Target, offset int64) ([]audit.BatchRef, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var refs []audit.BatchRef
	for seq, b := range l.bound {
		if b.BaseOffset == offset && t.Topic == "t" && t.Cluster == "main" {
			refs = append(refs, audit.BatchRef{Seq: seq, Producer: audit.Producer{ProducerID: -1}, Records: 1})
		}
	}

	return refs, nil
}

// searched is a cluster whose topic holds some values, one batch each, from a
// producer without an id.
type searched struct {
	t *testing.T
	*ledger
	resolver *resolver
}

func newSearched(t *testing.T, values ...string) *searched {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(k.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.DisableIdempotentWrite(), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}

	defer producer.Close()
	for _, v := range values {
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	addr, err := broker.ParseHostPort(k.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}

	up, err := broker.NewCluster(broker.ClusterConfig{Bootstrap: []broker.HostPort{addr}})
	if err != nil {
		t.Fatal(err)
	}

	l := newLedger()
	g, err := New(Config{Decisions: l, Clusters: []ClusterConfig{{Name: "main", Upstream: up, Host: "127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}

	c := g.Cluster("main")
	t.Cleanup(c.admin.Close)
	return &searched{t, l, c.resolver}
}

// lost gives up the answers, so long ago.
func (s *searched) lost(age time.Duration, seqs ...uint64) {
	for _, seq := range seqs {
		s.resolver.seqs[seq] = time.Now().Add(-age)
	}
}

// says compares what the log knows with what it should: an offset, -1 for a
// batch that is not stored, nothing for one that is still open.
func (s *searched) says(what string, want map[uint64]int64) {
	s.t.Helper()
	got := map[uint64]int64{}
	for seq, b := range s.bound {
		got[seq] = b.BaseOffset
	}

	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%s: the log says %v, want %v", what, got, want)
	}
}

func TestLostAttemptDoesNotTakeTheOffsetOfItsAcknowledgedRetry(t *testing.T) {
	s := newSearched(t, "other", "payment", "other")
	s.forwarded(1, "payment")
	s.forwarded(2, "payment")
	s.Place(2, audit.Placement{BaseOffset: 1})
	s.lost(time.Second, 1)
	s.resolver.pass(t.Context())
	s.says("while the broker may still be working", map[uint64]int64{2: 1})
	s.lost(time.Minute, 1)
	s.resolver.pass(t.Context())
	s.says("afterwards", map[uint64]int64{1: -1, 2: 1})
}

func TestLostAttemptWaitsForARetryThatIsUnderWay(t *testing.T) {
	s := newSearched(t, "payment")
	s.forwarded(1, "payment")
	s.forwarded(2, "payment")
	s.lost(time.Minute, 1)
	s.resolver.pass(t.Context())
	s.says("before the retry is answered", map[uint64]int64{})
	s.Place(2, audit.Placement{BaseOffset: -1, ErrorCode: kerr.RequestTimedOut.Code}) // refused: the copy is not its
	s.resolver.pass(t.Context())
	s.says("after it was", map[uint64]int64{1: 0, 2: -1})
}

// Where a crash lost the answers of both, the copy is that of the retry, which
// may have been acknowledged.
func TestOneCopyOfTwoLostAttemptsIsThatOfTheSecond(t *testing.T) {
	s := newSearched(t, "payment")
	s.forwarded(1, "payment")
	s.forwarded(2, "payment")
	s.lost(time.Minute, 1)
	s.lost(time.Second, 2)
	s.resolver.pass(t.Context())
	s.says("while the second may still be stored", map[uint64]int64{})
	s.lost(time.Minute, 2)
	s.resolver.pass(t.Context())
	s.says("afterwards", map[uint64]int64{1: -1, 2: 0})
}

func TestEachCopyOfEqualBatchesBelongsToOneAttempt(t *testing.T) {
	s := newSearched(t, "payment", "other", "payment")
	for _, seq := range []uint64{1, 2, 3} {
		s.forwarded(seq, "payment")
	}

	s.forwarded(4, "other")
	s.forwarded(5, "nowhere")
	s.lost(time.Second, 1, 2, 3, 4, 5)
	s.resolver.pass(t.Context())
	s.says("at once", map[uint64]int64{4: 1})
	s.lost(time.Minute, 1, 2, 3, 5)
	s.resolver.pass(t.Context())
	s.says("afterwards", map[uint64]int64{1: -1, 2: 0, 3: 2, 4: 1, 5: -1})
}

func TestAsManyCopiesAsAttemptsAreBoundAtOnce(t *testing.T) {
	s := newSearched(t, "payment", "payment", "payment")
	s.forwarded(1, "payment")
	s.Place(1, audit.Placement{BaseOffset: 1}) // acknowledged
	s.forwarded(2, "payment")
	s.forwarded(3, "payment")
	s.lost(0, 2, 3)
	s.resolver.pass(t.Context())
	s.says("at once", map[uint64]int64{1: 1, 2: 0, 3: 2})
}
