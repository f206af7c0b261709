package load

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms/record"
)

// Frame is a Produce request ready to send.
type Frame struct {
	Bytes   []byte
	Raw     int // bytes of its records, before compression
	Records int
}

// NewFrame builds a Produce v9 request of one batch with these values, compressed
// with codec, of an idempotent producer, as the Java client and franz-go are by
// default. Its sequence is the same in every request: Broker does not look at it, and
// the gateway only records it.
func NewFrame(topic string, values [][]byte, codec recordbatch.Compression) (Frame, error) {
	return newFrame(topic, values, codec, sequence{producer: 4000})
}

// NewPlainFrame is NewFrame of a producer that is not idempotent: a real broker
// stores each request, where it would take the same sequence for one sent again.
func NewPlainFrame(topic string, values [][]byte, codec recordbatch.Compression) (Frame, error) {
	return newFrame(topic, values, codec, sequence{producer: -1, epoch: -1, first: -1})
}

// sequence is what an idempotent producer's batch is known by.
type sequence struct {
	producer int64
	epoch    int16
	first    int32
}

func newFrame(topic string, values [][]byte, codec recordbatch.Compression, of sequence) (Frame, error) {
	var b record.Batch
	var plain []byte
	for i, value := range values {
		plain = AppendRecord(plain, i, value)
	}

	kb := kmsg.RecordBatch{
		Magic:                2,
		LastOffsetDelta:      int32(len(values) - 1),
		ProducerID:           of.producer,
		ProducerEpoch:        of.epoch,
		FirstSequence:        of.first,
		NumRecords:           int32(len(values)),
		Records:              plain,
		PartitionLeaderEpoch: -1,
		FirstTimestamp:       1_700_000_000_000,
		MaxTimestamp:         1_700_000_000_000,
	}

	raw := Seal(kb.AppendTo(nil))
	c := recordbatch.NewCodec(recordbatch.Limits{})
	h, err := c.Decode(raw, &b)
	if err != nil {
		return Frame{}, fmt.Errorf("building batch: %w", err)
	}

	batch, err := c.Encode(nil, h, &b, recordbatch.EncodeOptions{Compression: codec})
	if err != nil {
		return Frame{}, fmt.Errorf("building batch: %w", err)
	}

	return Frame{Bytes: ProduceTo(topic, batch), Raw: len(plain), Records: len(values)}, nil
}

// Samples are n values of about 1 KiB, JSON that compresses about 2:1, the same in
// every run.
func Samples(n int) [][]byte {
	r := rand.New(rand.NewPCG(7, 7))
	values := make([][]byte, n)
	for i := range values {
		values[i] = jsonValue(r)
	}
	return values
}

// Seal sets the length and CRC of a batch.
func Seal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// ProduceTo is a Produce v9 request with one batch.
func ProduceTo(topic string, batch []byte) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version = 9
	req.Acks = -1
	req.TimeoutMillis = 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	out := wire.AppendRequestHeader(make([]byte, 4), 0, 9, 0, []byte("bench"))
	out = req.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))

	return out
}

func jsonValue(r *rand.Rand) []byte {
	v := fmt.Appendf(nil, `{"id":"%016x","customer":{"name":"%08x %08x","email":"user%d@example.com"},"amount":%d.%02d,"tags":[`,
		r.Uint64(), r.Uint32(), r.Uint32(), r.IntN(1e6), r.IntN(1e4), r.IntN(100))
	for len(v) < 1000 {
		v = fmt.Appendf(v, `{"k":"%08x","v":%d},`, r.Uint32(), r.IntN(1000))
	}
	return append(v[:len(v)-1], "]}"...)
}

// AppendRecord appends a record with a key of 16 bytes.
func AppendRecord(dst []byte, i int, value []byte) []byte {
	body := []byte{0, 0}
	body = binary.AppendVarint(body, int64(i))
	body = binary.AppendVarint(body, 16)
	body = fmt.Appendf(body, "key-%012d", i)
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(body, value...)
	body = binary.AppendVarint(body, 0)
	dst = binary.AppendVarint(dst, int64(len(body)))

	return append(dst, body...)
}
