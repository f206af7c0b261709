//go:build kafka

package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{"acks=0": kgo.NoAck(), "acks=1": kgo.LeaderAck(), "acks=all": kgo.AllISRAcks()}

// TestEveryCodecAtEveryAcks: the batch arrives as it was sent, and under a module in the same codec.
func TestEveryCodecAtEveryAcks(t *testing.T) {
	sent := numbered(strings.Repeat("round trip ", 8), 25)
	for codec, compress := range codecs {
		for acks, required := range acks {
			t.Run(codec+" "+acks, func(t *testing.T) {
				opts := []kgo.Opt{kgo.ProducerBatchCompression(compress), kgo.RequiredAcks(required), kgo.DisableIdempotentWrite()}
				same(t, func(t *testing.T, w way) [][]string {
					to := topic(t, w, "plain", 1)
					mustSend(t, w.client(t, opts...), records(to, 0, sent...)...)
					awaitEnd(t, to, 0, 25)
					return consume(t, w, to)
				})
			})
		}
	}
}

// awaitEnd waits for records that nobody acknowledged.
func awaitEnd(t *testing.T, topic string, partition int32, end int64) {
	t.Helper()
	admin := direct().admin(t)
	eventually(t, "what was sent is stored", func() bool {
		o, _ := must(admin.ListEndOffsets(patient(t), topic))(t).Lookup(topic, partition)
		return o.Offset >= end
	})
}

// TestModulesActAtEveryCodecAndAcks: a transformed batch is stored in the codec that it came in, at every acks.
func TestModulesActAtEveryCodecAndAcks(t *testing.T) {
	sent := numbered(strings.Repeat("make this loud ", 8), 25)
	w := through(shared)
	to := topic(t, w, "upper", 1)
	var want []string
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for j, acks := range []kgo.Acks{kgo.NoAck(), kgo.LeaderAck(), kgo.AllISRAcks()} {
			mustSend(t, w.client(t, kgo.ProducerBatchCompression(codecs[codec]), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()),
				records(to, 0, sent...)...)
			want = append(want, upperCase(sent)...)
			awaitEnd(t, to, 0, int64(len(want)))

			first := (3*i + j) * len(sent)
			if r := storedIn(t, to)[position{0, int64(first)}]; int(r.Attrs.CompressionType()) != i {
				t.Errorf("%s is stored in codec %d", codec, r.Attrs.CompressionType())
			}
		}
	}

	if got := consume(t, w, to)[0]; !slices.Equal(got, want) {
		t.Errorf("%d records are read, %d were sent, or they differ", len(got), len(want))
	}
	everyRecordIsDecided(t, to, shared)
}

// TestFiveBatchesInFlightKeepTheirOrder: an idempotent producer has up to five requests under way; its batches are small.
func TestFiveBatchesInFlightKeepTheirOrder(t *testing.T) {
	same(t, func(t *testing.T, w way) []string {
		to := topic(t, w, "plain", 1)
		c := w.client(t, kgo.ProducerBatchMaxBytes(512), kgo.ProducerLinger(0))
		sendAll(t, c, records(to, 0, numbered("in order", 500)...))
		if w.name == "gateway" {
			everyRecordIsDecided(t, to, shared)
		}
		return consume(t, w, to)[0]
	})
}

// sendAll produces without waiting between records.
func sendAll(t *testing.T, c *kgo.Client, all []*kgo.Record) {
	t.Helper()
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Add(1)
		c.Produce(patient(t), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("producing: %v", err)
			}
			wg.Done()
		})
	}

	wg.Wait()
}

// TestARejectedPartitionLeavesTheOthersOfItsRequest: one request with four partitions of two topics, one of them with a bad
// record; the others are stored and answered with their offsets, the bad one with its record's index and decision.
func TestARejectedPartitionLeavesTheOthersOfItsRequest(t *testing.T) {
	w := through(shared)
	plain := name(w, "plain")
	strict := name(w, "strict")
	for _, n := range []string{plain, strict} {
		onOneNode(t, n, 2, 2)
	}

	cl := w.client(t)
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = 10_000

	for _, part := range []struct {
		topic  string
		values [][]string
	}{
		{plain, [][]string{{"Fine Here"}, {"too"}}},
		{strict, [][]string{{"fine", "Bad", "fine"}, {"good"}}},
	} {
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic, rt.TopicID = part.topic, metadataOf(t, cl, part.topic).TopicID
		for i, values := range part.values {
			rp := kmsg.NewProduceRequestTopicPartition()
			rp.Partition, rp.Records = int32(i), batchOf(values...)
			rt.Partitions = append(rt.Partitions, rp)
		}

		req.Topics = append(req.Topics, rt)
	}

	resp := must(req.RequestWith(patient(t), cl.Broker(2)))(t)
	if resp.Version < 13 {
		t.Errorf("the request went at version %d, without topic ids", resp.Version)
	}

	for i, rt := range resp.Topics {
		for j, p := range rt.Partitions {
			bad := i == 1 && j == 0
			if !bad && (p.ErrorCode != 0 || p.BaseOffset != 0) {
				t.Errorf("topic %d partition %d: error %d at offset %d", i, j, p.ErrorCode, p.BaseOffset)
			}
			if bad && (p.ErrorCode != kerr.InvalidRecord.Code || len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 1 ||
				!strings.Contains(*p.ErrorRecords[0].ErrorMessage, "decision gl-")) {
				t.Errorf("the bad batch: %+v", p)
			}
		}
	}

	if got := append(consume(t, direct(), plain), consume(t, direct(), strict)...); fmt.Sprint(got) != "[[Fine Here] [too] [] [good]]" {
		t.Errorf("stored: %q", got)
	}
}

// onOneNode makes a topic whose only replicas are on one node, so that one request can name all its partitions.
func onOneNode(t *testing.T, topic string, partitions, node int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic = topic
	rt.NumPartitions = -1
	rt.ReplicationFactor = -1

	for p := range partitions {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition = p
		a.Replicas = []int32{node}
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	}

	one := kmsg.NewCreateTopicsRequestTopicConfig()
	one.Name, one.Value = "min.insync.replicas", kadm.StringPtr("1")
	rt.Configs = append(rt.Configs, one)
	req.Topics = append(req.Topics, rt)
	cl := direct().client(t)

	resp := must(req.RequestWith(patient(t), cl))(t)
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatalf("making %s: %v", topic, err)
	}

	eventually(t, "the node knows "+topic, func() bool {
		m := metadataOf(t, cl.Broker(int(node)), topic)
		return len(m.Partitions) == int(partitions) && m.Partitions[0].Leader == node
	})

	// A node knows of a partition a moment before it leads it.
	eventually(t, "the leader serves "+topic, func() bool {
		ends, err := direct().admin(t).ListEndOffsets(patient(t), topic)
		return err == nil && ends.Error() == nil && len(ends[topic]) == int(partitions)
	})
}

// batchOf frames values as one batch of a producer without an id.
func batchOf(values ...string) []byte {
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{Magic: 2, LastOffsetDelta: int32(len(values) - 1), PartitionLeaderEpoch: -1, NumRecords: int32(len(values)),
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, FirstTimestamp: now, MaxTimestamp: now}
	for i, v := range values {
		r := kmsg.Record{OffsetDelta: int32(i), Value: []byte(v)}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		b.Records = r.AppendTo(b.Records)
	}

	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// TestRejectedBatchesAreNotRetriedAndOthersGoOn: an idempotent producer meets rejections between good batches.
func TestRejectedBatchesAreNotRetriedAndOthersGoOn(t *testing.T) {
	w := through(shared)
	to := topic(t, w, "strict", 1)
	c := w.client(t)
	var want []string
	for i := range 40 {
		value := fmt.Sprintf("good %d", i)
		expected := "ok"
		if i%4 == 1 {
			value = fmt.Sprintf("Bad %d", i)
			expected = kerr.InvalidRecord.Message
		} else {
			want = append(want, value)
		}

		if got := send(t, c, records(to, 0, value)...); got[0] != expected {
			t.Fatalf("%s: %s", value, got[0])
		}
	}

	if got := consume(t, w, to)[0]; !slices.Equal(got, want) {
		t.Errorf("stored %q", got)
	}
	everyRecordIsDecided(t, to, shared)
}
