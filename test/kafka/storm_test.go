//go:build kafka

package kafka

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// storm is testdata/Storm.java at work: what it is told of each value.
type storm struct {
	count    int           // values to be sent
	answered atomic.Int64  // those that have an answer
	ended    chan struct{} // closed when all have, or it died

	// read when ended is closed
	err    error
	acked  map[string]bool
	failed map[string]string // value, and why
}

// startStorm produces count values with Kafka's own idempotent producer, of which one in 25 is refused.
func startStorm(t *testing.T, addr, topic string, partitions, count int) *storm {
	t.Helper()
	cmd := cluster.Java(t.Context(), "testdata/Storm.java", addr, topic, strconv.Itoa(partitions), strconv.Itoa(count))
	out := must(cmd.StdoutPipe())(t)

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	s := &storm{count: count, ended: make(chan struct{}), acked: map[string]bool{}, failed: map[string]string{}}
	go func() {
		defer close(s.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if value, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
				s.acked[value] = true
				s.answered.Add(1)
			} else if told, ok := strings.CutPrefix(lines.Text(), "failed "); ok {
				value, why, _ := strings.Cut(told, ": ")
				s.failed[value] = why
				s.answered.Add(1)
			}
		}

		s.err = cmd.Wait()
	}()

	return s
}

// advance waits until n more values have an answer, and reports false where there are no more.
func (s *storm) advance(t *testing.T, n int64) bool {
	t.Helper()
	before := s.answered.Load()
	eventually(t, "the producer goes on", func() bool { return s.answered.Load() >= min(before+n, int64(s.count)) })
	return s.answered.Load() < int64(s.count)
}

// finish compares what the producer was told with what is stored, by value: of all that it sent, what holds a capital letter is
// refused, and the rest is stored once.
func (s *storm) finish(t *testing.T, stored map[string]int) {
	t.Helper()
	<-s.ended
	if s.err != nil || len(s.acked)+len(s.failed) != s.count {
		t.Errorf("%d of %d values have an answer, %v", len(s.acked)+len(s.failed), s.count, s.err)
	}

	wrong := map[string][]string{}
	for value, why := range s.failed {
		if value[0] != 'R' || !strings.Contains(why, "InvalidRecord") {
			wrong["failed: "+why] = append(wrong["failed: "+why], value[:7])
		}
	}

	for value := range s.acked {
		if value[0] != 'r' {
			wrong["was taken"] = append(wrong["was taken"], value[:7])
		}
		if stored[value] == 0 {
			wrong["is lost"] = append(wrong["is lost"], value[:7])
		}
	}

	for value, n := range stored {
		if n > 1 {
			wrong["is stored more than once"] = append(wrong["is stored more than once"], value[:7])
		}
		if !s.acked[value] {
			wrong["is stored and was not acknowledged"] = append(wrong["is stored and was not acknowledged"], value[:7])
		}
	}

	for what, values := range wrong {
		slices.Sort(values)
		t.Errorf("of %d acknowledged and %d stored values, %d: %s: %.10q", len(s.acked), len(stored), len(values), what, values)
	}
}

// TestJavaStoresNothingTwiceBehindARefusal: a broker stores batches and answers that it does not lead, as when a leader moves,
// while the gateway refuses one in 25 behind them. Kafka's own client sends what may be stored again under a new epoch, if it is
// told a final error before.
func TestJavaStoresNothingTwiceBehindARefusal(t *testing.T) {
	const topic = "strict-storm"
	k := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic)))(t)
	defer k.Close()
	unsure := answerUnsurely(t, k)
	g := start(t, options{node: "storm", upstream: k.ListenAddrs(), brokers: "0-0"})

	s := startStorm(t, g.addr, topic, 1, 700)
	for s.advance(t, 100) {
	}

	c := must(kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(t)
	defer c.Close()
	ends := must(kadm.NewClient(c).ListEndOffsets(patient(t), topic))(t)
	end, _ := ends.Lookup(topic, 0)
	count := map[string]int{}
	for n := int64(0); n < end.Offset; {
		fetches := c.PollFetches(patient(t))
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { n++; count[string(r.Value)]++ })
	}

	s.finish(t, count)
	if n := unsure(); n < 50 {
		t.Errorf("only %d batches were left open", n)
	}
}

// TestJavaLosesNothingBehindRefusalsWhenLeadersMove: every leader moves again and again under Kafka's own idempotent producer, of
// which the gateway refuses one batch in 25.
func TestJavaLosesNothingBehindRefusalsWhenLeadersMove(t *testing.T) {
	w := through(shared)
	const parts = 6
	to := topic(t, w, "strict", parts)
	s := startStorm(t, shared.addr, to, parts, 2500)
	moved := 0
	for s.advance(t, 250) {
		moveLeaders(t, to, parts)
		moved++
	}

	count := map[string]int{}
	for _, r := range storedIn(t, to) {
		count[string(r.Value)]++
	}

	s.finish(t, count)
	t.Logf("leaders moved %d times", moved)
	everyRecordIsDecided(t, to, shared)
}

// answerUnsurely makes the broker store four of nine batches and answer that it does not lead.
func answerUnsurely(t *testing.T, k *kfake.Cluster) (count func() int) {
	t.Helper()
	const ours = 4242 // the time-out of requests that are handled as they are
	side := must(kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...)))(t)
	t.Cleanup(side.Close)
	asked := 0
	unsure := make(chan struct{}, 1<<16)
	k.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		p := req.(*kmsg.ProduceRequest)
		if p.TimeoutMillis == ours {
			return nil, nil, false
		}
		if asked++; asked%9 >= 4 {
			return nil, nil, false
		}

		again := *p
		again.TimeoutMillis = ours
		var err error
		k.SleepControl(func() { _, err = side.Broker(0).Request(t.Context(), &again) })

		if err != nil {
			return nil, fmt.Errorf("storing aside: %w", err), true
		}
		unsure <- struct{}{}
		return doesNotLead(p), nil, true
	})

	return func() int { return len(unsure) }
}

func doesNotLead(p *kmsg.ProduceRequest) kmsg.Response {
	resp := p.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range p.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = topic.Topic
		rt.TopicID = topic.TopicID

		for _, partition := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = partition.Partition
			rp.ErrorCode = kerr.NotLeaderForPartition.Code
			rt.Partitions = append(rt.Partitions, rp)
		}

		resp.Topics = append(resp.Topics, rt)
	}

	return resp
}
