//go:build kafka

package kafka

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestARollingRestartOfTwoGatewaysLosesNothing: each in turn is told to end, drains, and starts again while idempotent
// producers go on; one of them under a module.
func TestARollingRestartOfTwoGatewaysLosesNothing(t *testing.T) {
	gateways := []*gateway{start(t, options{node: "left", upstream: cluster.Bootstrap()}), start(t, options{node: "right", upstream: cluster.Bootstrap()})}
	w := way{name: "gateway", seeds: []string{gateways[0].addr, gateways[1].addr}}
	all := []*load{startLoad(t, w, topic(t, w, "plain", 3), 3), startLoad(t, w, topic(t, w, "dropping", 3), 3)}
	for i, g := range gateways {
		if err := g.stop(); err != nil {
			t.Fatalf("ending %s: %v", g.node, err)
		}
		advance(all, 100)
		gateways[i] = start(t, g.options)
		advance(all, 100)
	}

	for _, l := range all {
		l.finish(true)
		everyRecordIsDecided(t, l.topic, gateways...)
	}
}

// TestADrainedGatewayHasAnsweredWhatItTook: a producer that is not idempotent and never retries meets a gateway that is told
// to end; each of its records is either acknowledged and stored, or neither.
func TestADrainedGatewayHasAnsweredWhatItTook(t *testing.T) {
	g := start(t, options{node: "drained", upstream: cluster.Bootstrap()})
	w := through(g)
	to := topic(t, w, "plain", 1)
	c := w.client(t, kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.MaxProduceRequestsInflightPerBroker(5), kgo.ProducerBatchMaxBytes(1000))
	acked := 0
	failed := 0
	results := make(chan error, 1000)
	for i := 0; failed == 0; i++ {
		for _, r := range records(to, 0, numbered("drained", 5)...) {
			c.Produce(context.WithoutCancel(t.Context()), r, func(_ *kgo.Record, err error) { results <- err })
		}
		if i == 40 {
			g.terminate()
		}

		for range 5 {
			if err := <-results; err != nil {
				failed++
			} else {
				acked++
			}
		}
	}

	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(storedIn(t, to)); n != acked {
		t.Errorf("%d records are acknowledged, %d failed, %d are stored", acked, failed, n)
	}

	everyRecordIsDecided(t, to, g)
}
