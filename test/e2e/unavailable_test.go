package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
)

// unrecorded fails unless a batch was refused because its decision cannot be
// kept.
func (w *world) unrecorded(got kmsgPartition) {
	w.t.Helper()
	if got.ErrorCode != codeNotEnough || !strings.Contains(deref(got.ErrorMessage), "audit_unavailable") {
		w.t.Fatalf("the answer is code %d (%s), want NOT_ENOUGH_REPLICAS", got.ErrorCode, deref(got.ErrorMessage))
	}
}

func TestNothingIsStoredWhenTheLogHasFailed(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	w.taken(w.produce(c, "in", "before"), 0)
	w.decided("in", 0, 0, "passed", "")

	if err := w.journal.Close(); err != nil {
		t.Fatal(err)
	}
	w.unrecorded(w.produce(c, "in", "after"))
	w.unrecorded(w.produce(c, "in", "quarantine"))
	w.unrecorded(w.produce(c, "in", "reject"))
	equal(t, "stored", values(w.stored("in", 0)), []string{"before"})
	w.holdsNothing("quarantine")
}

// fullDisk makes every write to a file beyond limit bytes fail, for this whole
// process, until the test ends.
func fullDisk(t *testing.T, limit uint64) {
	t.Helper()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGXFSZ) // else it ends the process

	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Stop(signals)
	})
}

func TestNothingIsStoredOnceTheDiskOfTheLogIsFull(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	w.taken(w.produce(c, "in", "before"), 0)
	fullDisk(t, 16<<10)
	var acknowledged = 1
	var got kmsgPartition
	for got.ErrorCode == codeNone {
		if got = w.produce(c, "in", strings.Repeat("x", 100)); got.ErrorCode == codeNone {
			acknowledged++
		}
		if acknowledged > 10_000 {
			t.Fatal("the disk does not fill up")
		}
	}

	w.unrecorded(got)
	w.unrecorded(w.produce(c, "in", "after"))
	if n := len(w.stored("in", 0)); n != acknowledged {
		t.Errorf("%d records are stored, %d were acknowledged", n, acknowledged)
	}
	if err := w.journal.Err(); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("the log says %v", err)
	}
}

// overloaded refuses the first decisions for a while, as the log does when the
// disk is slower than the producers.
type overloaded struct {
	gateway.DecisionLog
	closed *audit.Log // stands for the refusal
	refuse func(*audit.BatchEntry) bool
}

func (o *overloaded) Append(e *audit.BatchEntry, batch []byte) audit.Ticket {
	if o.refuse(e) {
		return o.closed.Append(e, batch)
	}
	return o.DecisionLog.Append(e, batch)
}

func closedLog(t *testing.T) *audit.Log {
	t.Helper()
	l := must(audit.Open(filepath.Join(t.TempDir(), "closed"), audit.Options{Node: "closed"}))(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestProducersRetryWhileTheLogIsUnavailable(t *testing.T) {
	refusals := 3
	w := newWorld(t, judgeSetup(1, func(c *gateway.Config) {
		c.Decisions = &overloaded{c.Decisions, closedLog(t), func(*audit.BatchEntry) bool { refusals--; return refusals >= 0 }}
	}))
	c := client(t, w.addr(), kgo.MaxProduceRequestsInflightPerBroker(1))
	mustSend(t, c, "in", 0, "a")
	equal(t, "stored", values(w.stored("in", 0)), []string{"a"})
}

func TestNothingBehindAnUnrecordedBatchIsStored(t *testing.T) {
	w := newWorld(t, judgeSetup(1, func(c *gateway.Config) {
		c.Decisions = &overloaded{c.Decisions, closedLog(t), func(e *audit.BatchEntry) bool { return e.ProducerID >= 0 && e.BaseSequence == 0 }}
	}))
	c := dial(t, w.addr())
	p := c.newProducer()
	// Both requests arrive in one read, so that they are decided together.
	second := p
	second.sequence = 1
	reqs := []*produceRequest{produceOf(-1, part{"in", 0, batchOf(p, "a")}), produceOf(-1, part{"in", 0, batchOf(second, "b")})}
	c.pipeline(reqs...)
	w.unrecorded(results(c.receive(reqs[0], c.last-1))[0])

	// A broker without state for the producer would take any sequence number.
	if got := results(c.receive(reqs[1], c.last))[0]; got.ErrorCode != codeOutOfOrder || !strings.Contains(deref(got.ErrorMessage), "guardlock") {
		t.Errorf("the batch behind it was answered with code %d (%q), want our own OUT_OF_ORDER_SEQUENCE_NUMBER", got.ErrorCode, deref(got.ErrorMessage))
	}
	w.holdsNothing("in")
}

func TestBrokerThatIsGoneIsAnErrorAndNeverAnAcknowledgement(t *testing.T) {
	w := judged(t, 1)
	c := client(t, w.addr(), kgo.DisableIdempotentWrite(), kgo.RecordDeliveryTimeout(time.Second))
	mustSend(t, c, "in", 0, "before")
	w.kafka.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()

	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "in", Value: []byte("after")}).FirstErr(); err == nil {
		t.Fatal("a record was acknowledged without a broker")
	}
	if raw, err := net.Dial("tcp", w.addr()); err == nil { // else it was reset at once
		c := &wire{Conn: raw, t: t}
		c.Write(c.frame(produceOf(-1, part{"in", 0, batchOf(nobody, "a")})))
		if !c.closed() {
			t.Error("a connection without a broker was answered")
		}
		c.Close()
	}

	w.decided("in", 0, 0, "passed", "")
}
