package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// client is a stock franz-go client of addr.
func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c := must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.ClientID("e2e"),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.MetadataMinAge(20 * time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...))(t)
	t.Cleanup(c.Close)
	return c
}

// send produces values to one partition, as one batch where the client's
// settings allow, and returns each record's error.
func send(t *testing.T, c *kgo.Client, topic string, partition int32, values ...string) []error {
	t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}
	}

	var errs []error
	for _, r := range c.ProduceSync(testContext(t), records...) {
		errs = append(errs, r.Err)
	}
	return errs
}

func mustSend(t *testing.T, c *kgo.Client, topic string, partition int32, values ...string) {
	t.Helper()
	if err := errors.Join(send(t, c, topic, partition, values...)...); err != nil {
		t.Fatalf("producing to %s/%d: %v", topic, partition, err)
	}
}

// wire is a connection that speaks Kafka frame by frame, for what no client
// library would send.
type wire struct {
	net.Conn
	t    *testing.T
	last int32
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	c := must(net.Dial("tcp", addr))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testTimeout))
	return &wire{Conn: c, t: t}
}

// frame is a request as it goes over the wire.
func (w *wire) frame(req kmsg.Request) []byte {
	w.last++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("e2e")).AppendRequest(nil, req, w.last)
}

func (w *wire) send(req kmsg.Request) {
	w.t.Helper()
	if _, err := w.Write(w.frame(req)); err != nil {
		w.t.Fatalf("sending %s: %v", kmsg.NameForKey(req.Key()), err)
	}
}

// answer reads one frame.
func (w *wire) answer() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(w, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(w, frame)
	return frame, err
}

// receive reads the answer to req, which was the correlation-th request.
func (w *wire) receive(req kmsg.Request, correlation int32) kmsg.Response {
	w.t.Helper()
	frame, err := w.answer()
	if err != nil {
		w.t.Fatalf("receiving %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	if got := int32(binary.BigEndian.Uint32(frame)); got != correlation {
		w.t.Fatalf("answer %d came where %d was due", got, correlation)
	}

	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	rest := frame[4:]

	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		rest = rest[1:] // no tags
	}
	if err := resp.ReadFrom(rest); err != nil {
		w.t.Fatalf("reading %s: %v", kmsg.NameForKey(req.Key()), err)
	}

	return resp
}

func (w *wire) request(req kmsg.Request) kmsg.Response {
	w.t.Helper()
	w.send(req)
	return w.receive(req, w.last)
}

// part is one partition of a Produce request.
type part struct {
	topic     string
	partition int32
	batch     []byte
}

// produceOf is a Produce request by topic name, old enough to need no topic id
// and new enough for KIP-467.
func produceOf(acks int16, parts ...part) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version = 11
	req.Acks = acks
	req.TimeoutMillis = 10_000

	for _, p := range parts {
		n := len(req.Topics)
		if n == 0 || req.Topics[n-1].Topic != p.topic {
			t := kmsg.NewProduceRequestTopic()
			t.Topic = p.topic
			req.Topics = append(req.Topics, t)
			n++
		}

		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = p.partition
		rp.Records = p.batch
		req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
	}

	return req
}

// results are the partitions of an answer to Produce, in its order.
func results(resp kmsg.Response) []kmsgPartition {
	var out []kmsgPartition
	for _, t := range resp.(*kmsg.ProduceResponse).Topics {
		out = append(out, t.Partitions...)
	}
	return out
}

// producer are the producer fields of a batch.
type producer struct {
	id       int64
	epoch    int16
	sequence int32
}

var nobody = producer{-1, -1, -1}

// batchOf frames values as one uncompressed batch.
func batchOf(p producer, values ...string) []byte {
	b := kmsg.RecordBatch{Magic: 2, LastOffsetDelta: int32(len(values) - 1), PartitionLeaderEpoch: -1, NumRecords: int32(len(values)),
		ProducerID: p.id, ProducerEpoch: p.epoch, FirstSequence: p.sequence, FirstTimestamp: time.Now().UnixMilli()}
	b.MaxTimestamp = b.FirstTimestamp
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

// newProducer asks for a producer id.
func (w *wire) newProducer() producer {
	w.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version = 4
	req.TransactionTimeoutMillis = 60_000

	resp := w.request(req).(*kmsg.InitProducerIDResponse)
	if resp.ErrorCode != 0 {
		w.t.Fatalf("asking for a producer id: error %d", resp.ErrorCode)
	}
	return producer{id: resp.ProducerID, epoch: resp.ProducerEpoch}
}

// closed reports whether the other side has ended the connection, without
// another byte.
func (w *wire) closed() bool {
	n, err := io.Copy(io.Discard, w)
	var timeout net.Error
	return n == 0 && !(errors.As(err, &timeout) && timeout.Timeout())
}

func metadataRequest(topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}

	return req
}

type kmsgPartition = kmsg.ProduceResponseTopicPartition

type produceRequest = kmsg.ProduceRequest

// pipeline sends requests in one write.
func (w *wire) pipeline(reqs ...*produceRequest) {
	w.t.Helper()
	var all []byte
	for _, r := range reqs {
		all = append(all, w.frame(r)...)
	}

	if _, err := w.Write(all); err != nil {
		w.t.Fatalf("sending %d requests: %v", len(reqs), err)
	}
}

// refusedNow reports whether nobody listens at addr.
func refusedNow(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		c.Close()
	}
	return err != nil
}

func contains(frame []byte, text string) bool { return bytes.Contains(frame, []byte(text)) }
