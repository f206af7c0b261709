package e2e

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
)

// fragile loses the broker's answers, and the connection with them, while lose
// is set: what a network does when a broker dies in mid-request.
type fragile struct {
	gateway.Upstream
	lose atomic.Bool
}

type fragileConn struct {
	net.Conn
	lose *atomic.Bool
}

func (f *fragile) DialNode(ctx context.Context, addr broker.HostPort) (net.Conn, error) {
	c, err := f.Upstream.DialNode(ctx, addr)
	if err != nil {
		return nil, err
	}
	return fragileConn{c, &f.lose}, nil
}

func (c fragileConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.lose.Load() {
		c.Close()
		return 0, errors.New("the network is gone")
	}
	return n, err
}

// A record whose answer was lost is found again in the topic itself.
func TestLostAnswerIsFoundAgainInTheTopic(t *testing.T) {
	var f fragile
	w := newWorld(t, judgeSetup(1, func(c *gateway.Config) { f.Upstream = c.Clusters[0].Upstream; c.Clusters[0].Upstream = &f }))
	c := dial(t, w.addr())
	p := c.newProducer()
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(p, "a")})))[0], 0)

	for i, who := range []producer{{p.id, p.epoch, 1}, nobody} {
		c := dial(t, w.addr())
		c.request(metadataRequest())
		f.lose.Store(true)
		c.send(produceOf(-1, part{"in", 0, batchOf(who, "m", "b")}))

		if !c.closed() {
			t.Fatal("a request is answered whose answer was lost")
		}
		f.lose.Store(false)
		first := int64(1 + 2*i)
		w.decided("in", 0, first, "modified", "unspecified")

		if d := w.at("in", 0, first+1); !d.Batch.Recovered || d.Batch.State != query.StateStored {
			t.Errorf("the log says: %+v", d.Batch)
		}
	}

	equal(t, "stored", values(w.stored("in", 0)), []string{"a", "M", "b", "M", "b"})
}

// Clients take an orderly end before the first answer for a port that wants TLS,
// and some then give up for good, where a reset makes them try again.
func TestClientIsResetWhereTheBrokerEndsBeforeItsFirstAnswer(t *testing.T) {
	var f fragile
	w := newWorld(t, judgeSetup(1, func(c *gateway.Config) { f.Upstream = c.Clusters[0].Upstream; c.Clusters[0].Upstream = &f }))
	c := dial(t, w.addr())
	f.lose.Store(true)
	c.send(metadataRequest())

	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the client saw %v, want a reset", err)
	}
	f.lose.Store(false)
}

// A request that the broker died over, and never stored, is settled too.
func TestBatchThatTheBrokerNeverStoredIsSettled(t *testing.T) {
	w := judged(t, 1)
	w.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("the broker dies"), true
	})

	c := dial(t, w.addr())
	c.send(produceOf(-1, part{"in", 0, batchOf(nobody, "a")}))
	if !c.closed() {
		t.Fatal("a request is answered that nobody has taken")
	}

	eventually(t, "the decision is settled", func() bool {
		d := decisions(t, w.logDir, query.Filter{Topics: []string{"in"}, ByBatch: true})
		return len(d) == 1 && d[0].Batch.State == query.StateRefused
	})

	w.holdsNothing("in")
	w.taken(w.produce(dial(t, w.addr()), "in", "next"), 0)
}

// A producer without an id sends the same bytes again. The copy is that of the
// attempt that was acknowledged, and of no other.
func TestRetryOfAPlainProducerKeepsItsOffsetFromTheLostAttempt(t *testing.T) {
	w := judged(t, 1)
	w.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("the broker dies"), true
	})

	again := produceOf(-1, part{"in", 0, batchOf(nobody, "a")})
	c := dial(t, w.addr())
	c.send(again)

	if !c.closed() {
		t.Fatal("a request is answered that nobody has taken")
	}
	w.taken(results(dial(t, w.addr()).request(again))[0], 0)
	eventually(t, "the lost attempt is settled", func() bool {
		d := decisions(t, w.logDir, query.Filter{Topics: []string{"in"}, ByBatch: true})
		return len(d) == 2 && d[0].Batch.State == query.StateRefused
	})

	partition := int32(0)
	offset := int64(0)
	if there := decisions(t, w.logDir, query.Filter{Topics: []string{"in"}, Partition: &partition, Offset: &offset}); len(there) != 1 || there[0].Batch.Recovered {
		t.Errorf("at the offset stand %d decisions: %+v", len(there), there)
	}
}

// One connection's slow request keeps its own answers waiting, in order, and
// nobody else's.
func TestSlowBrokerDelaysOnlyWhoAsked(t *testing.T) {
	w := judged(t, 1)
	arrived, release := slowly(w.kafka, kmsg.Produce)
	slow := dial(t, w.addr())
	reqs := []*produceRequest{produceOf(-1, part{"in", 0, batchOf(nobody, "a")}), produceOf(-1, part{"in", 0, batchOf(nobody, "r")})}
	slow.pipeline(reqs...)
	<-arrived
	other := dial(t, w.addr())
	other.request(metadataRequest("in"))
	w.refused(w.produce(other, "in", "r"), refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})
	release()
	w.taken(results(slow.receive(reqs[0], 1))[0], 0)
	w.refused(results(slow.receive(reqs[1], 2))[0], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})
}

// Answers of our own wait behind a broker's; a client that asks for more and
// more of them meanwhile is slowed down, not remembered without end.
func TestAnswersThatWaitBehindASlowBrokerAreBounded(t *testing.T) {
	w := judged(t, 1)
	arrived, release := slowly(w.kafka, kmsg.Metadata)
	defer release()
	c := dial(t, w.addr())
	c.send(metadataRequest("in"))
	<-arrived
	frame := c.frame(produceOf(-1, part{"in", 0, batchOf(nobody, "r")}))
	many := make([]byte, 0, 100*len(frame))
	for range 100 {
		many = append(many, frame...)
	}

	sent := 0
	for sent < 16<<20 {
		c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Write(many)
		if sent += n; err != nil {
			return // the gateway does not read on
		}
	}

	t.Errorf("%d requests were taken behind one that is not answered", sent/len(frame))
}
