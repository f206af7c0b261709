package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
)

// TestBatchWhoseDecisionWasNotAwaitedIsNotLookedFor: the request ended before
// its decision was durable, and nothing was forwarded. The decision becomes
// durable all the same, and must then say so.
func TestBatchWhoseDecisionWasNotAwaitedIsNotLookedFor(t *testing.T) {
	l, err := audit.Open(t.TempDir(), audit.Options{Linger: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := &audit.BatchEntry{Target: audit.Target{Cluster: "main", Topic: "in"}, Producer: audit.Producer{ProducerID: -1},
		Payload: audit.Payload{Records: 1}}
	d := decided{key: guardKey{"in", 0}, header: recordbatch.Header{ProducerID: -1}, ticket: l.Append(e, []byte("batch"))}
	p := &produce{req: wire.Produce{Topics: []wire.ProduceTopic{{Partitions: make([]wire.ProducePartition, 1)}}}}
	c := &conn{cluster: &Cluster{gw: &Gateway{cfg: Config{Journal: l}}}}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c.settlePart(ended, p, &d)
	if q := p.req.Topics[0].Partitions[0]; !q.Skip || q.Result.ErrorCode != refuseUnavailable.code {
		t.Fatalf("skipped: %v, answered with code %d", q.Skip, q.Result.ErrorCode)
	}
	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Outcome: "applied"}); err != nil {
		t.Fatal(err)
	}
	if open := l.Unbound(); len(open) != 0 {
		t.Errorf("still to be looked for: %+v", open)
	}
	found, err := l.Lookup(t.Context(), l.ID(d.ticket.Seq(), 0).String())
	if err != nil || found.Offset != -1 || found.Batch.State != audit.StateRefused || found.Batch.ErrorCode != refuseUnavailable.code {
		t.Errorf("the log says %+v, %v", found.Batch, err)
	}
}
