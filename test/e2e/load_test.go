package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// load is a producer that sends numbered records until it is stopped, and
// remembers which were acknowledged.
type load struct {
	client *kgo.Client
	topic  string
	stop   context.CancelFunc
	ended  chan struct{}

	mu           sync.Mutex
	acknowledged map[string]int32 // value → partition
	failed       error
	took         []span // of what was acknowledged
}

const loadPartitions = 2

// startLoad produces "a…" and "m…" in turn, which the judge passes and changes,
// over both partitions. Retries have no end: only what can never work fails.
func startLoad(t *testing.T, topic string, addrs []string, opts ...kgo.Opt) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &load{topic: topic, stop: stop, ended: make(chan struct{}), acknowledged: map[string]int32{}}
	l.client = client(t, addrs[0], append([]kgo.Opt{kgo.SeedBrokers(addrs...), kgo.AllowAutoTopicCreation(), kgo.MaxBufferedRecords(300),
		kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(2000), kgo.UnknownTopicRetries(-1), kgo.DialTimeout(2 * time.Second),
		kgo.ProduceRequestTimeout(5 * time.Second)}, opts...)...)

	go l.run(ctx)
	t.Cleanup(func() { stop(); l.client.Close(); <-l.ended }) // a full buffer holds Produce up until the client ends
	return l
}

func (l *load) run(ctx context.Context) {
	defer close(l.ended)
	tick := time.NewTicker(2 * time.Millisecond) // a load, not a flood: what is stored is read again at every start
	defer tick.Stop()

	for i := 0; ctx.Err() == nil; i++ {
		if i%4 == 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}

		r := &kgo.Record{Topic: l.topic, Partition: int32(i % loadPartitions), Value: fmt.Appendf(nil, "%c%d", "am"[i%2], i)}
		began := time.Now()
		l.client.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) { l.landed(began, r, err) })
	}
}

func (l *load) landed(began time.Time, r *kgo.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ended *kgo.ErrFirstReadEOF // the connection ended before its first answer: this client gives up

	if err != nil {
		if !errors.As(err, &ended) {
			l.failed = fmt.Errorf("%s: %w", r.Value, err)
		}
		return
	}

	l.acknowledged[string(r.Value)] = r.Partition
	l.took = append(l.took, span{began, time.Now()})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged)
}

// more waits until n further records have been acknowledged.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	n += l.count()
	if !within(testTimeout, func() bool { return l.count() >= n }) {
		t.Fatalf("%s: %d records are acknowledged, and no %d after %s (last error: %v)", l.topic, l.count(), n, testTimeout, l.error())
	}
}

func (l *load) error() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// finish stops producing and waits for every acknowledgement that is owed.
func (l *load) finish(t *testing.T) {
	t.Helper()
	l.stop()
	<-l.ended

	if err := l.client.Flush(testContext(t)); err != nil {
		t.Fatalf("%s: waiting for the last acknowledgements: %v", l.topic, err)
	}
	if err := l.error(); err != nil {
		t.Errorf("%s: a record failed for good: %v", l.topic, err)
	}
}

// compare fails unless every acknowledged record is stored, as the module made
// it, and, where once says so, nothing is stored twice.
func (l *load) compare(t *testing.T, stored map[int32][]entry, once bool) {
	t.Helper()
	seen := map[string]int{}
	places := map[string][]entry{}
	for _, records := range stored {
		for _, r := range records {
			seen[r.value]++
			places[r.value] = append(places[r.value], r)
		}
	}

	lost := 0
	twice := 0
	for v := range l.acknowledged {
		if seen[afterJudge(v)] == 0 {
			lost++
		}
	}

	for v, n := range seen {
		if n > 1 {
			twice++
		}
		if n > 1 && l.topic == "idempotent" {
			t.Logf("%s is stored at %+v", v, places[v])
		}
	}

	if lost > 0 || once && twice > 0 {
		t.Errorf("%s: of %d acknowledged records %d are lost; %d are stored twice", l.topic, len(l.acknowledged), lost, twice)
	}
	t.Logf("%s: %d acknowledged, %d stored, %d twice", l.topic, len(l.acknowledged), len(seen), twice)
}

func afterJudge(v string) string {
	if v[0] == 'm' {
		return "M" + v[1:]
	}
	return v
}

// span is a while.
type span struct{ from, to time.Time }

func (s span) overlaps(o span) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

// logLatency tells how long acknowledgements took before the first of some whiles,
// during them, and apart from them. It is a figure for people: how quick a machine is
// decides nothing.
func (l *load) logLatency(t *testing.T, whiles []span) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var before, during, apart []time.Duration
	for _, s := range l.took {
		d := s.to.Sub(s.from)
		switch {
		case slices.ContainsFunc(whiles, s.overlaps):
			during = append(during, d)
			continue
		case s.to.Before(whiles[0].from):
			before = append(before, d)
		}
		apart = append(apart, d)
	}

	t.Logf("%s: p99 %s before, %s while gateways restart, %s apart from that", l.topic, highest99(before), highest99(during), highest99(apart))
}

func highest99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100].Round(100 * time.Microsecond)
}
