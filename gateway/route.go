package gateway

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// routeAttempts bounds how often a copy is tried before the producer is told
// to try again.
const routeAttempts = 3

// Send implements pipeline.Router: it stores a batch of routed records in topic
// and waits until all replicas in sync have it.
func (c *Cluster) Send(ctx context.Context, topic string, from pipeline.Partition, batch []byte) (partition int32, offset int64, err error) {
	for attempt := range routeAttempts {
		if attempt > 0 && !sleep(ctx, 100*time.Millisecond) {
			return 0, 0, ctx.Err()
		}
		if partition, offset, err = c.trySend(ctx, topic, from, batch); err == nil {
			return partition, offset, nil
		}
	}
	return 0, 0, fmt.Errorf("sending copies to topic %s: %w", topic, err)
}

// trySend keeps the order of one source partition by sending all of it to
// one partition of the destination.
func (c *Cluster) trySend(ctx context.Context, topic string, from pipeline.Partition, batch []byte) (int32, int64, error) {
	n, err := c.partitionsOf(ctx, topic)
	if err != nil {
		return 0, 0, err
	}

	k := pipeline.Partition{Topic: topic, Number: int32(crc32.ChecksumIEEE([]byte(from.Topic))+uint32(from.Number)) & 0x7fffffff % n}
	leader, err := c.leaderOf(ctx, k)
	if err != nil {
		return 0, 0, err
	}

	if err := c.eras.Begin(ctx, k, leader.topic); err != nil {
		return 0, 0, err
	}

	req := kmsg.NewPtrProduceRequest()
	// The client sets the acks of whatever it sends to its own, which are all too.
	req.Acks = -1
	req.TimeoutMillis = int32(c.gw.cfg.DialTimeout.Milliseconds())
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	t.TopicID = leader.topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition = k.Number
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)

	resp, err := req.RequestWith(ctx, c.admin.Broker(int(leader.node)))
	if err != nil {
		return 0, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, 0, errProtocol
	}

	got := resp.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return 0, 0, fmt.Errorf("storing the copies: %w", kerr.ErrorForCode(got.ErrorCode))
	}

	return k.Number, got.BaseOffset, nil
}

func (c *Cluster) partitionsOf(ctx context.Context, topic string) (int32, error) {
	t, err := c.topicMetadata(ctx, topic)
	if err != nil {
		return 0, err
	}
	if t.Err != nil || len(t.Partitions) == 0 {
		return 0, fmt.Errorf("topic %s is not there; create it", topic)
	}

	return int32(len(t.Partitions)), nil
}
