package e2e

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms/record"
)

// entry is one record in its place.
type entry struct {
	offset     int64
	key, value string // "" where null
	headers    string // as they are framed
	producer   producer
}

// stored is what a topic holds, read from the cluster itself.
func (w *world) stored(topic string, partition int32) []entry {
	w.t.Helper()
	return readAll(w.t, w.kafka.ListenAddrs()[0], topic, partition)
}

// readAll reads a partition from its beginning to its end, committed or not,
// without what transactions left behind to mark their end.
func readAll(t *testing.T, addr, topic string, partition int32) []entry {
	t.Helper()
	codec := recordbatch.NewCodec(recordbatch.Limits{})
	var out []entry
	for _, raw := range batchesAt(t, addr, topic, partition) {
		var b record.Batch
		h, err := codec.Decode(raw, &b)
		if h.Attributes&controlBit != 0 {
			continue
		}
		if err != nil {
			t.Fatalf("reading %s/%d: %v", topic, partition, err)
		}

		for i, r := range b.Records {
			out = append(out, entry{offset: h.BaseOffset + int64(r.OffsetDelta), key: text(&b, r.Key), value: text(&b, r.Value),
				headers: text(&b, r.Headers), producer: producer{h.ProducerID, h.ProducerEpoch, h.BaseSequence + int32(i)}})
		}
	}

	return out
}

// controlBit of a batch's attributes (KIP-98).
const controlBit = 1 << 5

func text(b *record.Batch, s record.Span) string {
	if s.IsNull() {
		return ""
	}
	return string(b.Bytes(s))
}

func values(records []entry) []string {
	out := []string{}
	for _, r := range records {
		out = append(out, r.value)
	}
	return out
}

// rawBatches are the batches of a partition as the cluster stores them.
func (w *world) rawBatches(topic string, partition int32) [][]byte {
	w.t.Helper()
	return batchesAt(w.t, w.kafka.ListenAddrs()[0], topic, partition)
}

func batchesAt(t *testing.T, addr, topic string, partition int32) [][]byte {
	t.Helper()
	c := client(t, addr)
	defer c.Close()

	var out [][]byte
	for next, end := int64(0), endOffset(t, c, topic, partition); next < end; {
		before := next
		for b, err := range recordbatch.SplitBatches(fetchRaw(t, c, topic, partition, next)) {
			if errors.Is(err, recordbatch.ErrTruncated) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}

			h := must(recordbatch.ParseHeader(b))(t)
			out = append(out, slices.Clone(b))
			next = h.BaseOffset + int64(h.LastOffsetDelta) + 1
		}

		if next == before {
			t.Fatalf("reading %s/%d: nothing at %d, but the end is %d", topic, partition, next, end)
		}
	}

	return out
}

func endOffset(t *testing.T, c *kgo.Client, topic string, partition int32) int64 {
	t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition = partition
	rp.Timestamp = -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	resp := must(req.RequestWith(testContext(t), c))(t)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("asking for the end of %s/%d: error %d", topic, partition, code)
	}

	return resp.Topics[0].Partitions[0].Offset
}

func fetchRaw(t *testing.T, c *kgo.Client, topic string, partition int32, offset int64) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	meta := must(metadataRequest(topic).RequestWith(ctx, c))(t)
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 100
	req.MaxBytes = 4 << 20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	rt.TopicID = meta.Topics[0].TopicID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition = partition
	rp.FetchOffset = offset
	rp.PartitionMaxBytes = 4 << 20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	resp := must(req.RequestWith(ctx, c.Broker(leaderIn(meta, partition))))(t)
	if len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("fetching %s/%d at %d: %+v", topic, partition, offset, resp)
	}

	return resp.Topics[0].Partitions[0].RecordBatches
}

func leaderIn(meta *kmsg.MetadataResponse, partition int32) int {
	for _, p := range meta.Topics[0].Partitions {
		if p.Partition == partition {
			return int(p.Leader)
		}
	}
	return -1
}
