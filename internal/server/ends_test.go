package server

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/config"
)

// settableClock is the wall clock of a machine that somebody sets.
type settableClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *settableClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *settableClock) set(off time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
	return time.Now()
}

// producing sends records one after the other, without a pause.
type producing struct {
	mu      sync.Mutex
	stored  time.Time // when the last record was acknowledged
	refused time.Time // when the last record was refused
	cause   error     // of that
	others  error     // what is no refusal
}

func (p *producing) run(ctx context.Context, c *kgo.Client) {
	for ctx.Err() == nil {
		err := c.ProduceSync(ctx, &kgo.Record{Topic: "one", Value: []byte("a")}).FirstErr()

		p.mu.Lock()
		switch {
		case err == nil:
			p.stored = time.Now()
		case errors.Is(err, kerr.PolicyViolation), errors.Is(err, kerr.NotEnoughReplicas):
			p.refused = time.Now()
			p.cause = err
		case ctx.Err() == nil:
			p.others = err
		}
		p.mu.Unlock()
	}
}

// last is when a record was stored and when one was refused.
func (p *producing) last() (stored, refused time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stored, p.refused
}

// await waits until done is true of the last record stored and the last refused.
func (p *producing) await(t *testing.T, what string, done func(stored, refused time.Time) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; <-tick.C {
		if done(p.last()) {
			return
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("%s does not come: %v, %v", what, p.cause, p.others)
		}
	}
}

// flows waits until records are stored again after a change. How soon is nobody's
// promise: the module is judged again first, which takes a busy machine a while.
func (p *producing) flows(t *testing.T, what string, changed time.Time) {
	t.Helper()
	p.await(t, what, func(stored, _ time.Time) bool { return stored.After(changed) })
	stored, _ := p.last()
	t.Logf("%s: records flow after %s", what, stored.Sub(changed))
}

// stops wants the last record to be stored a second after a change at most. What is
// refused two seconds after it shows that no more come.
func (p *producing) stops(t *testing.T, what string, changed time.Time) {
	t.Helper()
	p.await(t, what, func(_, refused time.Time) bool { return refused.After(changed.Add(2 * time.Second)) })

	stored, _ := p.last()
	t.Logf("%s: the last record is stored %s later", what, stored.Sub(changed))
	if stored.Sub(changed) > time.Second {
		t.Errorf("%s: records flow for %s", what, stored.Sub(changed))
	}
}

// A grant ends for a producer that never pauses within a second of its end, and of
// a clock that is set forward over it or back before its beginning; and it holds
// again when it is its time.
func TestGrantStopsARunningGatewayWithinASecondOfItsEnd(t *testing.T) {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "one")))
	defer kafka.Close()

	yaml := strings.Replace(oneModule, "broker: {embedded: {}}", "listen: {address: \"127.0.0.1:0\"}\nbroker: {upstream: {bootstrap: [\""+kafka.ListenAddrs()[0]+"\"]}}", 1)
	s := newSite(t, yaml) // approved from an hour ago, for an hour
	clock := &settableClock{}
	cfg := must(config.Parse([]byte(yaml), filepath.Join(s.dir, "guardlock.yaml")))
	running := must(open(t.Context(), cfg, NewLogger(config.Log{}, s.log), startedWith{now: clock.now}))
	defer running.Close(context.WithoutCancel(t.Context()))

	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{}, 1)
	var ends sync.WaitGroup
	defer ends.Wait()
	defer cancel()
	ends.Go(func() {
		if err := running.Run(ctx, func(string) { ready <- struct{}{} }); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	<-ready

	c := must(kgo.NewClient(kgo.SeedBrokers(running.Addr(config.MainCluster)), kgo.ProducerLinger(0), kgo.RecordRetries(0), kgo.DisableIdempotentWrite()))
	defer c.Close()
	p := &producing{}
	ends.Go(func() { p.run(ctx, c) })
	p.await(t, "the first record", func(stored, _ time.Time) bool { return !stored.IsZero() })

	p.stops(t, "the clock is set past the end", clock.set(2*time.Hour))
	p.flows(t, "it is set back", clock.set(0))
	p.stops(t, "it is set before the beginning", clock.set(-3*time.Hour))
	p.flows(t, "it is set forward again", clock.set(0))

	end := time.Now().Add(2 * time.Second)
	clock.set(s.clock.Add(time.Hour).Sub(end))
	p.stops(t, "the end comes by itself", end)

	if p.others != nil {
		t.Errorf("the producer saw %v", p.others)
	}
}
