package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/adopt"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
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

// serving is a gateway that serves one topic by a grant which ends in an hour, and its
// producer.
type serving struct {
	*producing
	server *Server
	yaml   string
	site   *site
	ends   func() // the producer and the gateway
}

func serve(t *testing.T, yaml string, s *site, clock *settableClock) *serving {
	t.Helper()
	cfg := must(config.Parse([]byte(yaml), filepath.Join(s.dir, "guardlock.yaml")))
	running := must(open(t.Context(), cfg, NewLogger(config.Log{}, s.log), startedWith{now: clock.now}))

	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{}, 1)
	var all sync.WaitGroup
	all.Go(func() {
		if err := running.Run(ctx, func(string) { ready <- struct{}{} }); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	<-ready

	c := must(kgo.NewClient(kgo.SeedBrokers(running.Addr(config.MainCluster)), kgo.ProducerLinger(0), kgo.RecordRetries(0), kgo.DisableIdempotentWrite()))
	p := &producing{}
	all.Go(func() { p.run(ctx, c) })
	end := sync.OnceFunc(func() {
		cancel()
		all.Wait()
		c.Close()
		if err := running.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if p.others != nil {
			t.Errorf("the producer saw %v", p.others)
		}
	})
	t.Cleanup(end)
	return &serving{p, running, yaml, s, end}
}

// newServing begins one, approved from an hour ago.
func newServing(t *testing.T, clock *settableClock) *serving {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "one")))
	t.Cleanup(kafka.Close)
	yaml := strings.Replace(oneModule, "broker: {embedded: {}}", "listen: {address: \"127.0.0.1:0\"}\nbroker: {upstream: {bootstrap: [\""+kafka.ListenAddrs()[0]+"\"]}}\nops: {address: \"127.0.0.1:0\"}", 1)
	return serve(t, yaml, newSite(t, yaml), clock)
}

// A grant ends for a producer that never pauses within a second of its end.
func TestGrantStopsARunningGatewayWithinASecondOfItsEnd(t *testing.T) {
	clock := &settableClock{}
	p := newServing(t, clock)
	p.await(t, "the first record", func(stored, _ time.Time) bool { return !stored.IsZero() })

	end := time.Now().Add(2 * time.Second)
	clock.set(p.site.clock.Add(time.Hour).Sub(end))
	p.stops(t, "the end comes by itself", end)
}

// A clock that is set forward over the end of a grant ends it within a second. One that is
// set back ends nothing, and brings nothing back to life, nor does a restart then. The log
// says what became of the clock.
func TestWhatHasEndedStaysEndedWhenTheClockIsSetBack(t *testing.T) {
	clock := &settableClock{}
	p := newServing(t, clock)
	p.await(t, "the first record", func(stored, _ time.Time) bool { return !stored.IsZero() })

	back := clock.set(-3 * time.Hour) // before the beginning
	p.await(t, "a record after the clock was set back", func(stored, _ time.Time) bool { return stored.After(back.Add(2 * time.Second)) })
	if _, refused := p.last(); !refused.IsZero() {
		t.Errorf("a record is refused, though the grant had begun: %v", p.cause)
	}

	p.stops(t, "the clock is set past the end", clock.set(2*time.Hour))
	p.stops(t, "it is set back", clock.set(0))
	status := (&view{p.server}).Status()
	if c := status.Clock; c.Forward != 1 || c.Back != 2 || c.Ahead < 7190 || c.Ahead > 7300 || status.Now.Sub(c.Wall) < 7190*time.Second {
		t.Errorf("the status has %+v at %s", c, status.Now)
	}
	samples := p.measured(t)
	for _, want := range []string{`guardlock_clock_steps_total{direction="forward"} 1`, `guardlock_clock_steps_total{direction="back"} 2`} {
		if !strings.Contains(samples, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	p.ends()

	again := serve(t, p.yaml, p.site, clock)
	again.stops(t, "it is started again", time.Now())
	if stored, _ := again.last(); !stored.IsZero() {
		t.Error("a record is stored after the restart")
	}
	again.ends()

	steps := stepsIn(t, again.server.cfg.File(again.server.cfg.Audit.Dir))
	want := []string{"clock_back running", "clock_forward running", "clock_back running", "clock_back start"}
	if !slices.Equal(steps, want) {
		t.Errorf("the log has %q, want %q", steps, want)
	}
	for _, message := range []string{"the wall clock was set back", "the wall clock was set forward"} {
		if !strings.Contains(p.site.log.String(), message) {
			t.Errorf("the gateway does not say %q", message)
		}
	}
}

// measured are the metrics of a gateway, as they are scraped.
func (s *serving) measured(t *testing.T) string {
	t.Helper()
	r := must(http.Get(s.server.OpsURL() + "/metrics"))
	defer r.Body.Close()
	return string(must(io.ReadAll(r.Body)))
}

// stepsIn are the steps of the clock in a log.
func stepsIn(t *testing.T, dir string) (steps []string) {
	r := must(query.Open(dir))
	defer r.Close()
	for d, err := range r.Query(t.Context(), query.Filter{Kinds: []audit.Kind{audit.KindClock}}) {
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, d.Outcome+" "+d.Control.Fact("seen"))
	}
	return steps
}

// TestClockNeverGoesBack by any reading, and goes on with the time that passes.
func TestClockNeverGoesBack(t *testing.T) {
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var off, passed time.Duration
	c := newClock(nil)
	c.read = func() (time.Time, time.Duration) { return began.Add(off + passed), passed }
	if step := c.goesOnFrom(time.Time{}); step != nil {
		t.Errorf("an empty log tells of %+v", step)
	}
	is := func(what string, want, ahead time.Duration) {
		t.Helper()
		if got := c.now().Sub(began); got != want || c.ahead() != ahead {
			t.Errorf("%s: it shows %s, want %s; it is ahead by %s, want %s", what, got, want, c.ahead(), ahead)
		}
	}

	is("at first", 0, 0)
	passed = time.Minute
	is("a minute later", time.Minute, 0)
	off = -time.Hour
	is("set back", time.Minute, time.Hour)
	passed = 2 * time.Minute
	is("a minute after that", 2*time.Minute, time.Hour)
	off = time.Hour
	is("set forward", time.Hour+2*time.Minute, 0)
	off = 0
	is("set right", time.Hour+2*time.Minute, time.Hour)

	if step := c.goesOnFrom(began.Add(48 * time.Hour)); step == nil || step.Forward() || !step.Start {
		t.Errorf("the log is two days ahead, and the step is %+v", step)
	}
	is("by the log", 48*time.Hour, 48*time.Hour-2*time.Minute)
}

// TestStepsOfTheClockAddUpUntilTheyAreTold, and the time that passes is none.
func TestStepsOfTheClockAddUpUntilTheyAreTold(t *testing.T) {
	began := time.Now()
	before := clockReading{began, 0}
	for _, c := range []struct {
		wall, passed time.Duration
		told         bool
	}{
		{time.Hour, time.Hour, false},
		{time.Hour + 900*time.Millisecond, time.Hour, false},
		{2*time.Hour + 1800*time.Millisecond, 2 * time.Hour, true},
		{time.Hour, 2 * time.Hour, true},
	} {
		now := clockReading{began.Add(c.wall), c.passed}
		step := now.step(before)
		if (step != nil) != c.told {
			t.Errorf("%s on the clock after %s: %+v", c.wall, c.passed, step)
		}
	}
}

// A clock that was in 2099 for a moment, by one bad answer of a time server, must not end a
// gateway for good: a new log is the cure, as docs/trust.md says.
func TestClockThatWasAheadByMistakeIsCuredByANewLog(t *testing.T) {
	clock := &settableClock{}
	p := newServing(t, clock)
	p.await(t, "the first record", func(stored, _ time.Time) bool { return !stored.IsZero() })
	p.stops(t, "the clock is set to 2099", clock.set(time.Until(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))))
	p.stops(t, "it is set right", clock.set(0))
	if c := (&view{p.server}).Status().Clock; c.Ahead < (10 * 365 * 24 * time.Hour).Seconds() {
		t.Errorf("the status has %+v", c)
	}
	p.ends()

	cfg := p.server.cfg
	_, err := adopt.Begin(t.Context(), adopt.Options{
		Dir:    cfg.File(cfg.Audit.Dir),
		LogKey: cfg.File(cfg.Audit.Evidence.KeyFile),
		Log:    audit.Options{Node: cfg.Node, Key: must(disk.ReadKey(cfg.File(cfg.Audit.KeyFile)))},
		By:     "ada",
		Reason: "the clock was in 2099",
	})
	if err != nil {
		t.Fatal(err)
	}
	again := serve(t, p.yaml, p.site, clock)
	again.await(t, "a record by the new log", func(stored, _ time.Time) bool { return !stored.IsZero() })
	if c := (&view{again.server}).Status().Clock; c.Ahead != 0 {
		t.Errorf("the status has %+v", c)
	}
}
