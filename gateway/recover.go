package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// resolver finds out what became of batches that were forwarded but whose
// answer was lost, in a crash or with a connection. The topic itself knows: a
// batch is recognised by its producer's sequence numbers, or by its MAC where
// it has none. One that is not there after settleAge never will be, since its
// connection is gone.
type resolver struct {
	cluster *Cluster
	wake    chan struct{}

	mu   sync.Mutex
	seqs map[uint64]time.Time // when the answer was given up
}

// settleAge is how long a broker may still be working on a request whose
// connection was lost.
const settleAge = 5 * time.Second

func newResolver(c *Cluster) *resolver {
	return &resolver{cluster: c, wake: make(chan struct{}, 1), seqs: map[uint64]time.Time{}}
}

func (r *resolver) add(seqs []uint64) {
	if len(seqs) == 0 {
		return
	}
	r.mu.Lock()
	for _, s := range seqs {
		r.seqs[s] = time.Now()
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *resolver) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seqs)
}

// run resolves until ctx ends. What is left then is found again after the next
// start, because it is still unbound.
func (r *resolver) run(ctx context.Context) {
	for {
		if r.len() == 0 {
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			}
		}

		r.pass(ctx)
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// pass looks once at every partition that has open decisions of lost
// connections.
func (r *resolver) pass(ctx context.Context) {
	groups := map[pipeline.Partition][]audit.BatchRef{}
	open := map[uint64]bool{}
	for _, ref := range r.cluster.gw.cfg.Decisions.Unplaced() {
		if !r.cluster.owns(ref) {
			continue
		}
		open[ref.Seq] = true
		if _, ours := r.givenUp(ref.Seq); ours {
			k := pipeline.Partition{Topic: ref.Topic, Number: ref.Partition}
			groups[k] = append(groups[k], ref)
		}
	}

	r.forgetExcept(open)
	for k, refs := range groups {
		if err := r.partition(ctx, k, refs); err != nil && ctx.Err() == nil {
			r.cluster.log.Warn("looking for batches without an answer failed; trying again",
				zap.String("topic", k.Topic), zap.Int32("partition", k.Number), zap.Error(err))
		}
	}
}

func (r *resolver) givenUp(seq uint64) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.seqs[seq]
	return t, ok
}

func (r *resolver) forgetExcept(open map[uint64]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.seqs {
		if !open[s] {
			delete(r.seqs, s)
		}
	}
}

// partition reads the end of one partition and binds what it finds. The search
// starts a while before the oldest decision by record time; producers set those
// times, so what is not found there is looked for from the beginning.
func (r *resolver) partition(ctx context.Context, k pipeline.Partition, refs []audit.BatchRef) error {
	refs, err := r.ofThisTopic(ctx, k, refs)
	if err != nil || len(refs) == 0 {
		return err
	}

	admin := kadm.NewClient(r.cluster.admin)
	oldest := refs[0].Time
	for _, ref := range refs {
		if ref.Time.Before(oldest) {
			oldest = ref.Time
		}
	}

	// Asked before looking: everything up to here must have been seen before a
	// batch counts as not stored.
	end, err := r.cluster.logEnd(ctx, k)
	if err != nil {
		return err
	}

	near, err := offsetOf(admin.ListOffsetsAfterMilli(ctx, oldest.Add(-10*time.Minute).UnixMilli(), k.Topic))(k)
	if err != nil {
		return err
	}

	s := newSearch(r, k, refs)
	seen, err := s.scan(ctx, near)
	if err != nil || len(s.left) == 0 {
		return err
	}

	start, err := offsetOf(admin.ListStartOffsets(ctx, k.Topic))(k)
	if err != nil {
		return err
	}

	if start < near {
		if seen, err = s.scan(ctx, start); err != nil {
			return err
		}
	}

	if seen < end {
		// While a replica that died still counts as in sync, what its leader has
		// is shown to nobody, yet may be later. Look again.
		return nil
	}

	s.conclude()
	return nil
}

// logEnd returns where the leader's log ends, which is beyond what consumers are
// shown while replicas lag: the end of its current epoch (KIP-101, KIP-320). The
// request is written by hand since kadm's says no current epoch, and a broker that
// leads no more would then answer for the log that it had.
func (c *Cluster) logEnd(ctx context.Context, k pipeline.Partition) (int64, error) {
	leader, err := c.leaderOf(ctx, k)
	if err != nil {
		return 0, err
	}
	return c.endOf(ctx, k, leader)
}

// endOf asks the leader of a partition where its log ends.
func (c *Cluster) endOf(ctx context.Context, k pipeline.Partition, leader leadership) (int64, error) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = k.Topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition = k.Number
	p.CurrentLeaderEpoch = leader.epoch
	p.LeaderEpoch = leader.epoch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(ctx, c.gw.cfg.DialTimeout)
	defer cancel()

	resp, err := req.RequestWith(ctx, c.admin.Broker(int(leader.node)))
	if err != nil {
		return 0, fmt.Errorf("asking for the log's end: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("asking for the log's end: %w", errProtocol)
	}

	got := resp.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return 0, fmt.Errorf("asking for the log's end: %w", kerr.ErrorForCode(got.ErrorCode))
	}

	return got.EndOffset, nil
}

// settle writes down that batches are nowhere, once nothing can still be on its
// way.
func (r *resolver) settle(refs []audit.BatchRef, code int16) {
	for _, ref := range refs {
		if r.over(ref) {
			r.cluster.gw.cfg.Decisions.Place(ref.Seq, audit.Placement{BaseOffset: -1, ErrorCode: code, Recovered: true})
		}
	}
}

// over reports whether no broker can still be working on a batch, so that what
// is not in the topic never will be.
func (r *resolver) over(ref audit.BatchRef) bool {
	since, ok := r.givenUp(ref.Seq)
	return ok && time.Since(since) > settleAge
}

// ofThisTopic leaves out batches whose topic was deleted, and maybe made again
// under its name: their records went with it. It returns the others.
func (r *resolver) ofThisTopic(ctx context.Context, k pipeline.Partition, refs []audit.BatchRef) ([]audit.BatchRef, error) {
	leader, err := r.cluster.leaderOf(ctx, k)
	if errors.Is(err, errNoTopic) {
		r.settle(refs, kerr.UnknownTopicOrPartition.Code)
		return nil, nil
	}

	if err != nil {
		return nil, err
	}
	var here, gone []audit.BatchRef
	for _, ref := range refs {
		if ref.TopicID == leader.topic || ref.TopicID == ([16]byte{}) { // versions before 13 say no id
			here = append(here, ref)
		} else {
			gone = append(gone, ref)
		}
	}

	r.settle(gone, kerr.UnknownTopicID.Code)
	return here, nil
}

// offsetOf picks one partition out of what kadm lists. It takes both results of
// the call, so that calls can be written in one line.
func offsetOf(l kadm.ListedOffsets, err error) func(pipeline.Partition) (int64, error) {
	return func(k pipeline.Partition) (int64, error) {
		if err != nil {
			return 0, fmt.Errorf("listing offsets: %w", err)
		}
		o, ok := l.Lookup(k.Topic, k.Number)
		if !ok {
			return 0, fmt.Errorf("listing offsets: the partition is not there")
		}
		if o.Err != nil {
			return 0, fmt.Errorf("listing offsets: %w", o.Err)
		}

		return o.Offset, nil
	}
}

// fetch reads one chunk of a partition as it is stored, from offset on, and
// says where the records that consumers are shown end.
func (r *resolver) fetch(ctx context.Context, k pipeline.Partition, leader leadership, offset int64) (records []byte, end int64, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 100
	req.MinBytes = 0
	req.MaxBytes = 4 << 20
	t := kmsg.NewFetchRequestTopic()
	t.Topic = k.Topic
	t.TopicID = leader.topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition = k.Number
	p.FetchOffset = offset
	p.PartitionMaxBytes = 4 << 20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(ctx, r.cluster.gw.cfg.DialTimeout)
	defer cancel()

	resp, err := req.RequestWith(ctx, r.cluster.admin.Broker(int(leader.node)))
	if err != nil {
		return nil, 0, fmt.Errorf("fetching: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, 0, fmt.Errorf("fetching: %w", kerr.ErrorForCode(resp.ErrorCode))
	}

	got := resp.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return nil, 0, fmt.Errorf("fetching: %w", kerr.ErrorForCode(got.ErrorCode))
	}

	return got.RecordBatches, got.HighWatermark, nil
}

var errNoTopic = errors.New("the topic is not there")

// leadership is who leads a partition, in which epoch, and of which topic,
// since names are used again.
type leadership struct {
	node, epoch int32
	topic       [16]byte
}

// leaderOf asks who leads a partition. It returns errNoTopic, wrapped, where
// the topic is not there.
func (c *Cluster) leaderOf(ctx context.Context, k pipeline.Partition) (leadership, error) {
	t, err := c.topicMetadata(ctx, k.Topic)
	if err != nil {
		return leadership{}, fmt.Errorf("finding the leader: %w", err)
	}

	p, ok := t.Partitions[k.Number]
	if !ok || p.Err != nil {
		return leadership{}, errors.New("finding the leader: the partition is not there")
	}

	return leadership{p.Leader, p.LeaderEpoch, t.ID}, nil
}

// topicMetadata asks about one topic, and returns errNoTopic if the cluster has none
// of that name. What it says may be as old as the client's MetadataMinAge.
func (c *Cluster) topicMetadata(ctx context.Context, topic string) (kadm.TopicDetail, error) {
	ctx, cancel := context.WithTimeout(ctx, c.gw.cfg.DialTimeout)
	defer cancel()

	found, err := kadm.NewClient(c.admin).Metadata(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("asking for metadata: %w", err)
	}

	t := found.Topics[topic]
	if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
		return t, errNoTopic
	}

	c.topics.Learn(t.ID, t.Topic)
	return t, nil
}
