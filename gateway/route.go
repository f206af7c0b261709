package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms/record"
)

// routed are the records of one batch that go to one other topic. They are
// copies: the batch's memory is reused before they are sent.
type routed struct {
	topic   string
	records []byte // framed, deltas from 0
	count   int
	first   int64 // timestamps, milliseconds
	last    int64
}

// copies collects the routed records by destination.
func (r *rulings) copies(b *record.Batch) []routed {
	var out []routed
	at := map[string]int{}
	for i := range b.Records {
		rec := &b.Records[i]
		if rec.Verdict != record.Routed {
			continue
		}
		topic := catalogued(r.grant.Routes, rec.Module, int(rec.Route))
		n, ok := at[topic]
		if !ok {
			n = len(out)
			at[topic] = n
			out = append(out, routed{topic: topic, first: rec.Timestamp})
		}
		out[n].add(b, rec)
	}
	return out
}

func (d *routed) add(b *record.Batch, rec *record.Record) {
	var body []byte
	body = append(body, 0) // record attributes, unused
	body = binary.AppendVarint(body, rec.Timestamp-d.first)
	body = binary.AppendVarint(body, int64(d.count))
	body = appendField(body, b, rec.Key)
	body = appendField(body, b, rec.Value)
	body = append(body, b.Bytes(rec.Headers)...)
	d.records = binary.AppendVarint(d.records, int64(len(body)))
	d.records = append(d.records, body...)
	d.last = max(d.last, rec.Timestamp)
	d.count++
}

func appendField(dst []byte, b *record.Batch, s record.Span) []byte {
	if s.IsNull() {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(s.Len))
	return append(dst, b.Bytes(s)...)
}

// routeAttempts bounds how often a copy is tried before the producer is told
// to try again.
const routeAttempts = 3

// sendRoutes stores the copies with acks=all and binds each, before the batch
// that they came with goes its way.
func (c *Cluster) sendRoutes(ctx context.Context, d *decided) error {
	ctx, cancel := context.WithTimeout(ctx, 2*c.gw.cfg.DialTimeout)
	defer cancel()
	for i := range d.routes {
		partition, offset, err := c.sendRoute(ctx, &d.routes[i], d.key)
		if err != nil {
			return err
		}
		c.gw.cfg.Journal.Bind(d.ticket.Seq(), audit.Binding{Route: d.routes[i].topic, Partition: partition, BaseOffset: offset})
	}
	return nil
}

func (c *Cluster) sendRoute(ctx context.Context, r *routed, from guardKey) (partition int32, offset int64, err error) {
	for attempt := range routeAttempts {
		if attempt > 0 && !sleep(ctx, 100*time.Millisecond) {
			return 0, 0, ctx.Err()
		}
		if partition, offset, err = c.trySendRoute(ctx, r, from); err == nil {
			return partition, offset, nil
		}
	}
	return 0, 0, fmt.Errorf("sending copies to topic %s: %w", r.topic, err)
}

// trySendRoute keeps the order of one source partition by sending all of it to
// one partition of the destination.
func (c *Cluster) trySendRoute(ctx context.Context, r *routed, from guardKey) (int32, int64, error) {
	n, err := c.partitionsOf(ctx, r.topic)
	if err != nil {
		return 0, 0, err
	}
	k := partitionKey{r.topic, int32(crc32.ChecksumIEEE([]byte(from.topic))+uint32(from.partition)) & 0x7fffffff % n}
	leader, err := c.leaderOf(ctx, k)
	if err != nil {
		return 0, 0, err
	}
	req := kmsg.NewPtrProduceRequest()
	// The client sets the acks of whatever it sends to its own, which are all too.
	req.Acks, req.TimeoutMillis = -1, int32(c.gw.cfg.DialTimeout.Milliseconds())
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = r.topic, leader.topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = k.partition, r.batch()
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
	return k.partition, got.BaseOffset, nil
}

func (c *Cluster) partitionsOf(ctx context.Context, topic string) (int32, error) {
	t, err := c.topicMetadata(ctx, topic)
	if err != nil {
		return 0, err
	}
	if t.ErrorCode != 0 || len(t.Partitions) == 0 {
		return 0, fmt.Errorf("topic %s is not there; create it", topic)
	}
	return int32(len(t.Partitions)), nil
}

// batch frames the copies as a batch of nobody: no producer id, no codec.
func (r *routed) batch() []byte {
	return recordbatch.Append(nil, recordbatch.Header{
		PartitionLeaderEpoch: -1,
		LastOffsetDelta:      int32(r.count - 1),
		BaseTimestamp:        r.first,
		MaxTimestamp:         r.last,
		ProducerID:           -1,
		ProducerEpoch:        -1,
		BaseSequence:         -1,
		NumRecords:           int32(r.count),
	}, r.records)
}
