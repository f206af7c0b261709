package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
)

// realCluster is a cluster that several gateways can stand in front of.
func realCluster(t *testing.T, topics ...string) (*kfake.Cluster, string) {
	t.Helper()
	s := setup{topics: map[string]int32{}}
	for _, topic := range topics {
		s.topics[topic] = loadPartitions
	}
	k := startKafka(t, s)
	return k, fmt.Sprintf("  upstream: {bootstrap: [%q]}\n", k.ListenAddrs()[0])
}

// slowly makes the cluster answer nothing of kind until the returned function
// is called.
func slowly(k *kfake.Cluster, kind kmsg.Key) (arrived chan struct{}, release func()) {
	arrived = make(chan struct{}, 1000)
	gate := make(chan struct{})
	k.ControlKey(int16(kind), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		arrived <- struct{}{}
		k.SleepControl(func() { <-gate })
		return nil, nil, false
	})

	return arrived, func() { close(gate) }
}

// What was read before SIGTERM is produced and answered; nobody new is let in.
func TestTerminatedGatewayAnswersWhatIsInFlight(t *testing.T) {
	kafka, upstream := realCluster(t, "in")
	d := deploy(t, plan{modules: []module{judgeModule("in")}, bindings: map[string]string{"in": "judge"}, broker: upstream})
	gateway := serve(t, d)
	c := dial(t, d.address)
	c.request(metadataRequest("in"))
	arrived, release := slowly(kafka, kmsg.Produce)
	req := produceOf(-1, part{"in", 0, batchOf(nobody, "a")})
	c.send(req)
	<-arrived
	go gateway.terminate()
	eventually(t, "the listener closes", func() bool { return refusedNow(d.address) })
	release()

	if got := results(c.receive(req, c.last))[0]; got.ErrorCode != codeNone || got.BaseOffset != 0 {
		t.Errorf("the answer is code %d at offset %d", got.ErrorCode, got.BaseOffset)
	}
	if !c.closed() {
		t.Error("the connection stays open after the drain")
	}

	<-gateway.ended
	if got := decisionAt(t, d.audit(), "in", 0, 0); got.Outcome != "passed" || got.Batch.Recovered {
		t.Errorf("the log says: %+v", got)
	}
	if stops := decisions(t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindStop}}); len(stops) != 1 {
		t.Errorf("the log has %d orderly ends, want one", len(stops))
	}
}

// endsWithin fails unless the gateway ends well before its drain deadline.
func (w *world) endsWithin(d time.Duration) {
	w.t.Helper()
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > d {
		w.t.Errorf("the gateway took %s to end", took)
	}
}

// The gateway's own requests hang with the broker; its clients' end does not
// wait for them.
func TestHangingBrokerDoesNotDelayTheEnd(t *testing.T) {
	addr, open := startSink(t)
	w := newWorld(t, setup{configure: func(c *gateway.Config) { c.Clusters[0].Upstream = upstreamAt(t, addr); c.DrainTimeout = testTimeout }})
	c := dial(t, w.addr())
	eventually(t, "client and gateway wait for the broker", func() bool { return open() >= 2 })
	w.endsWithin(5 * time.Second)

	if !c.closed() {
		t.Error("a connection outlives its gateway")
	}
}

// Nobody waits for the answers of a broker that is gone.
func TestDeadBrokerDoesNotDelayTheEnd(t *testing.T) {
	w := newWorld(t, judgeSetup(1, func(c *gateway.Config) { c.DrainTimeout = testTimeout }))
	arrived, release := slowly(w.kafka, kmsg.Produce)
	c := dial(t, w.addr())
	c.send(produceOf(-1, part{"in", 0, batchOf(nobody, "a")}))
	<-arrived
	go w.kafka.Close()
	release()
	c.answer() // or its end: whichever was first
	w.endsWithin(5 * time.Second)
}

// SIGTERM under load, again and again: each time the program ends in order,
// and nothing is lost or, with a producer id, stored twice.
func TestDrainUnderLoadLosesAndDuplicatesNothing(t *testing.T) {
	d := deploy(t, crashPlan())
	gateway := serve(t, d)
	idempotent, plain := startLoads(t, d.address)
	for range 3 {
		idempotent.more(t, 100)
		plain.more(t, 100)
		gateway.terminate()
		gateway = serve(t, d)
	}

	idempotent.finish(t)
	plain.finish(t)
	idempotent.compare(t, d.everyRecordHasItsDecision("idempotent"), true)
	plain.compare(t, d.everyRecordHasItsDecision("plain"), false)
	gateway.terminate()
}

// Two gateways, and three, in front of one cluster are restarted in turn under load.
// Clients know all of them.
func TestRollingRestartLosesAndDuplicatesNothing(t *testing.T) {
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprintf("%d gateways", n), func(t *testing.T) { rollUnderLoad(t, n) })
	}
}

func rollUnderLoad(t *testing.T, n int) {
	kafka, upstream := realCluster(t, "idempotent", "plain")
	who := newPeople(t)
	ds := make([]*deployment, n)
	gateways := make([]*process, n)
	var addrs []string
	for i := range ds {
		p := crashPlan()
		p.node = fmt.Sprintf("node%d", i)
		p.people = &who
		p.broker = upstream
		ds[i] = deploy(t, p)
		gateways[i] = serve(t, ds[i])
		addrs = append(addrs, ds[i].address)
	}

	// A client sees the nodes of the gateway that it asked last: it must be able
	// to go to either.
	idempotent, plain := startLoads(t, addrs...)
	idempotent.more(t, 500)
	var rolls []span
	for range 2 {
		for i := range gateways {
			idempotent.more(t, 100)
			plain.more(t, 100)

			began := time.Now()
			gateways[i].terminate()
			gateways[i] = serve(t, ds[i])
			rolls = append(rolls, span{began, time.Now()})
		}
	}
	idempotent.more(t, 500)

	idempotent.finish(t)
	plain.finish(t)
	for _, l := range []*load{idempotent, plain} {
		stored := map[int32][]entry{}
		for p := range int32(loadPartitions) {
			stored[p] = readAll(t, kafka.ListenAddrs()[0], l.topic, p)
		}
		l.compare(t, stored, l == idempotent)
		everyRecordHasADecisionIn(t, ds, l.topic, stored)
		l.logLatency(t, rolls)
	}

	for _, g := range gateways {
		g.terminate()
	}
}

// everyRecordHasADecisionIn asks the logs of several gateways.
func everyRecordHasADecisionIn(t *testing.T, ds []*deployment, topic string, stored map[int32][]entry) {
	t.Helper()
	for partition, records := range stored {
		known := map[int64]bool{}
		eventually(t, "every stored record has its decision", func() bool {
			for _, d := range ds {
				for _, got := range decisions(t, d.audit(), query.Filter{Topics: []string{topic}, Partition: &partition}) {
					known[got.Offset] = true
				}
			}

			for _, r := range records {
				if !known[r.offset] {
					return false
				}
			}

			return true
		})
	}
}
