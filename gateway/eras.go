package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// eras makes sure that the log says where the record of a partition begins before the
// first batch for it goes upstream. It implements pipeline.Eras, and is safe for
// concurrent use.
type eras struct {
	cluster *Cluster
	topics  atomic.Pointer[map[string]*topicEras] // replaced whole, so that looking takes no lock
	told    atomic.Int64                          // when the operator last was, in nanoseconds since the epoch

	mu     sync.Mutex // of those who replace topics
	asking map[wantedEra]*asking
}

// topicEras are those of one topic that the log is known to have.
type topicEras struct {
	id      [16]byte
	begun   []atomic.Bool  // by partition
	leaders []atomic.Int64 // by partition; see leaderAt
	doubted atomic.Bool    // there may be another topic of that name now
}

// leaderAt is a node and its epoch in one number, so that both change at once; zero is
// none that is known.
func leaderAt(node, epoch int32) int64 {
	if node < 0 || epoch < 0 {
		return 0
	}
	return int64(node)<<32 | int64(audit.LeaderEpochOf(epoch))
}

type wantedEra struct {
	at    pipeline.Partition
	topic [16]byte // as the client names it; zero if it does not
}

// asking is one look into the cluster, for all who wait for it.
type asking struct {
	done chan struct{}
	err  error // valid once done is closed
}

func newEras(c *Cluster) *eras {
	e := &eras{cluster: c, asking: map[wantedEra]*asking{}}
	e.topics.Store(&map[string]*topicEras{})
	return e
}

// Begin implements pipeline.Eras. Only the first call for a partition asks anybody.
func (e *eras) Begin(ctx context.Context, at pipeline.Partition, topic [16]byte) error {
	if e.known(at, topic) {
		return nil
	}

	want := wantedEra{at, topic}
	a, mine := e.join(want)
	if mine {
		a.err = e.ask(ctx, want)
		e.mu.Lock()
		delete(e.asking, want)
		e.mu.Unlock()
		close(a.done)
	}

	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *eras) known(at pipeline.Partition, topic [16]byte) bool {
	t := (*e.topics.Load())[at.Topic]
	return t != nil && !t.doubted.Load() &&
		(topic == t.id || topic == [16]byte{}) &&
		at.Number >= 0 && int(at.Number) < len(t.begun) && t.begun[at.Number].Load()
}

// join finds who asks already; mine says that nobody does, and that the caller must.
func (e *eras) join(want wantedEra) (a *asking, mine bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a = e.asking[want]; a != nil {
		return a, false
	}

	a = &asking{done: make(chan struct{})}
	e.asking[want] = a
	return a, true
}

// ask finds the topic and, unless the log has the era of the partition, where the
// partition ends, and records that.
func (e *eras) ask(ctx context.Context, want wantedEra) error {
	led, partitions, err := e.cluster.leaderNow(ctx, want.at)
	if err != nil {
		return e.failed(want, err)
	}
	if want.topic != ([16]byte{}) && want.topic != led.topic {
		return fmt.Errorf("finding where the record of %s/%d begins: %w", want.at.Topic, want.at.Number, pipeline.ErrOtherTopic)
	}

	begins := audit.Era{
		Target: audit.Target{
			Cluster:   e.cluster.cfg.Name,
			Topic:     want.at.Topic,
			TopicID:   led.topic,
			Partition: want.at.Number,
		},
		LeaderEpoch: led.epoch,
		Began:       e.cluster.gw.cfg.now(),
	}

	log := e.cluster.gw.cfg.Decisions
	begun, err := log.HasEra(ctx, begins.Target)
	if err == nil && !begun {
		if begins.Offset, err = e.cluster.endOf(ctx, want.at, led); err != nil {
			return e.failed(want, err)
		}
		err = log.Record(ctx, audit.NewEra(begins))
	}

	if err != nil {
		return err // the log tells of itself
	}

	e.note(want.at, led, partitions)
	return nil
}

// failed tells the operator, now and then, that the cluster could not be asked: clients
// try again and again.
func (e *eras) failed(want wantedEra, err error) error {
	err = fmt.Errorf("finding where the record of %s/%d begins: %w", want.at.Topic, want.at.Number, err)
	now := time.Now().UnixNano()
	last := e.told.Load()
	if errors.Is(err, pipeline.ErrNoPartition) || now-last < int64(tellEvery) || !e.told.CompareAndSwap(last, now) {
		return err
	}

	e.cluster.log.Warn("batches are refused: where their partition ends is recorded before the first of them, and the cluster does not say it; has the gateway's own identity the right to describe the topic?",
		zap.Error(err))
	return err
}

// note remembers that the log has an era.
func (e *eras) note(at pipeline.Partition, led leadership, partitions int) {
	topic := led.topic
	e.mu.Lock()
	defer e.mu.Unlock()
	known := *e.topics.Load()

	t := known[at.Topic]
	if t == nil || t.id != topic || len(t.begun) < partitions {
		fresh := &topicEras{id: topic, begun: make([]atomic.Bool, partitions), leaders: make([]atomic.Int64, partitions)}
		if t != nil && t.id == topic {
			for i := range t.begun {
				fresh.begun[i].Store(t.begun[i].Load())
				fresh.leaders[i].Store(t.leaders[i].Load())
			}
		}

		t = fresh
		all := maps.Clone(known)
		all[at.Topic] = t
		e.topics.Store(&all)
	}

	t.begun[at.Number].Store(true)
	t.leaders[at.Number].Store(leaderAt(led.node, led.epoch))
	t.doubted.Store(false)
}

// led takes note of who leads a partition.
func (e *eras) led(topic []byte, partition, node, epoch int32) {
	t := (*e.topics.Load())[string(topic)]
	if t != nil && partition >= 0 && int(partition) < len(t.leaders) {
		t.leaders[partition].Store(leaderAt(node, epoch))
	}
}

// answered gives the epoch in which a broker stored a batch. It is not known where the
// cluster did not say, by its metadata, that just this broker leads. A broker that says
// itself that it does not makes what was known nothing.
func (e *eras) answered(at pipeline.Partition, node int32, code int16) audit.LeaderEpoch {
	t := (*e.topics.Load())[at.Topic]
	if t == nil || int(at.Number) >= len(t.leaders) {
		return 0
	}

	leader := t.leaders[at.Number].Load()
	switch {
	case code == kerr.NotLeaderForPartition.Code || code == kerr.KafkaStorageError.Code:
		t.leaders[at.Number].CompareAndSwap(leader, 0)
		return 0
	case node != int32(leader>>32):
		return 0
	}
	return audit.LeaderEpoch(uint32(leader))
}

// learned takes note of a topic's id. Where it is another one, the topic was made anew.
func (e *eras) learned(id [16]byte, topic string) {
	if t := (*e.topics.Load())[topic]; t != nil && t.id != id {
		t.doubted.Store(true)
	}
}

// doubt makes the next batch for a topic ask again, since a broker says that the topic
// is not there.
func (e *eras) doubt(topic string) {
	if t := (*e.topics.Load())[topic]; t != nil {
		t.doubted.Store(true)
	}
}

// leaderNow asks who leads a partition, and how many the topic has, past what the
// gateway's own client remembers. It returns pipeline.ErrNoPartition, wrapped, where the
// cluster has no such partition.
func (c *Cluster) leaderNow(ctx context.Context, at pipeline.Partition) (led leadership, partitions int, err error) {
	req := kmsg.NewPtrMetadataRequest()
	wanted := kmsg.NewMetadataRequestTopic()
	wanted.Topic = &at.Topic
	req.Topics = append(req.Topics, wanted)

	resp, err := c.metadata(ctx, req)
	if err != nil {
		return led, 0, err
	}
	if len(resp.Topics) != 1 {
		return led, 0, errProtocol
	}

	t := &resp.Topics[0]
	for i := range t.Partitions {
		partitions = max(partitions, int(t.Partitions[i].Partition)+1)
	}

	switch {
	case t.ErrorCode == kerr.UnknownTopicOrPartition.Code:
		return led, 0, pipeline.ErrNoPartition
	case t.ErrorCode != 0:
		return led, 0, kerr.ErrorForCode(t.ErrorCode)
	}

	for i := range t.Partitions {
		p := &t.Partitions[i]
		switch {
		case p.Partition != at.Number:
		case p.ErrorCode != 0 && p.Leader < 0:
			return led, 0, kerr.ErrorForCode(p.ErrorCode)
		default:
			return leadership{p.Leader, p.LeaderEpoch, t.TopicID}, partitions, nil
		}
	}

	return led, 0, pipeline.ErrNoPartition
}

// now is the time that grants end by.
func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
