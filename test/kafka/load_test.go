//go:build kafka

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// load is a producer and a consumer of one topic that work on while things happen.
type load struct {
	t     *testing.T
	topic string
	parts int32
	acked atomic.Int64
	read  atomic.Int64

	ctx    context.Context
	stop   func()
	client *kgo.Client // the producer
	done   sync.WaitGroup

	mu     sync.Mutex
	stored map[string]int // acknowledged values
	failed []error
	seen   map[string]int
}

// startLoad produces numbered values to every partition, a few requests ahead of their acknowledgements, until finish.
func startLoad(t *testing.T, w way, topic string, parts int32, opts ...kgo.Opt) *load {
	t.Helper()
	l := &load{t: t, topic: topic, parts: parts, stored: map[string]int{}, seen: map[string]int{}}
	l.ctx, l.stop = context.WithCancel(t.Context())
	t.Cleanup(l.stop)
	all := append([]kgo.Opt{kgo.MaxBufferedRecords(60), kgo.ProducerBatchMaxBytes(2000), kgo.UnknownTopicRetries(-1)}, opts...)
	l.client = w.client(t, all...)
	consumer := w.client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500*time.Millisecond))
	l.done.Go(func() { l.produce(l.client) })
	l.done.Go(func() { l.consume(consumer) })
	l.advance(30)

	return l
}

func (l *load) produce(c *kgo.Client) {
	pace := time.NewTicker(2 * time.Millisecond) // the machine has other things to do
	defer pace.Stop()
	for i := 0; l.ctx.Err() == nil; i++ {
		<-pace.C
		r := &kgo.Record{Topic: l.topic, Partition: int32(i) % l.parts, Value: fmt.Appendf(nil, "%06d", i)}
		c.Produce(context.WithoutCancel(l.ctx), r, func(r *kgo.Record, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil {
				l.failed = append(l.failed, err)
				return
			}

			l.stored[string(r.Value)]++
			l.acked.Add(1)
		})
	}

	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := c.Flush(ctx); err != nil && !errors.Is(err, kgo.ErrClientClosed) {
		l.t.Errorf("%s: producing to the end: %v", l.topic, err)
	}
}

func (l *load) consume(c *kgo.Client) {
	for l.ctx.Err() == nil {
		c.PollFetches(l.ctx).EachRecord(func(r *kgo.Record) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.seen[string(r.Value)]++
			l.read.Add(1)
		})
	}
}

// advance waits until n more records are acknowledged, and n more are read.
func (l *load) advance(n int64) {
	l.t.Helper()
	acked := l.acked.Load()
	read := l.read.Load()
	eventually(l.t, fmt.Sprintf("clients of %s go on", l.topic), func() bool {
		return l.acked.Load() >= acked+n && l.read.Load() >= read+n
	})
}

// abandon ends the load, whatever is still to be acknowledged.
func (l *load) abandon() {
	l.stop()
	l.client.Close()
	l.done.Wait()
}

// finish ends the load and compares what was acknowledged with what is stored: all of it, in order, and once where the
// producer is idempotent.
func (l *load) finish(idempotent bool) {
	l.t.Helper()
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()

	for _, err := range l.failed {
		l.t.Errorf("%s: a record failed: %v", l.topic, err)
	}
	stored := storedIn(l.t, l.topic)
	count := map[string]int{}
	last := map[int32]string{}
	for _, at := range places(stored) {
		value := string(stored[at].Value)
		count[value]++
		if idempotent && value <= last[at.partition] {
			l.t.Errorf("%s/%d: %s comes after %s", l.topic, at.partition, value, last[at.partition])
		}
		last[at.partition] = value
	}

	var lost, doubled []string
	for value := range l.stored {
		if count[value] == 0 {
			lost = append(lost, value)
		}
	}

	for value, n := range count {
		if n > 1 && idempotent {
			doubled = append(doubled, value)
		}
	}

	slices.Sort(lost)
	slices.Sort(doubled)
	if len(lost) > 0 || len(doubled) > 0 {
		l.t.Errorf("%s: of %d acknowledged records %d are lost %.10q; %d are stored twice %.10q", l.topic, len(l.stored), len(lost), lost, len(doubled), doubled)
	}

	l.t.Logf("%s: %d records acknowledged, %d stored, %d read meanwhile", l.topic, len(l.stored), len(stored), len(l.seen))
}
