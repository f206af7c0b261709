package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms/record"
)

// frame is a Produce request ready to send, and the raw record bytes in it.
type frame struct {
	bytes []byte
	raw   int
}

// makeFrame builds a Produce v9 request of n JSON-like records of 1 KiB in one
// batch, compressed with codec, of an idempotent producer, as the Java client and
// franz-go are by default. Its sequence is the same in every request: the null broker does
// not look at it, and the gateway only records it.
func makeFrame(n int, codec recordbatch.Compression) (frame, error) {
	r := rand.New(rand.NewPCG(7, 7))
	var b record.Batch
	var plain []byte
	for i := range n {
		plain = appendRecord(plain, i, jsonValue(r))
	}

	kb := kmsg.RecordBatch{
		Magic:                2,
		LastOffsetDelta:      int32(n - 1),
		ProducerID:           4000,
		ProducerEpoch:        0,
		FirstSequence:        0,
		NumRecords:           int32(n),
		Records:              plain,
		PartitionLeaderEpoch: -1,
		FirstTimestamp:       1_700_000_000_000,
		MaxTimestamp:         1_700_000_000_000,
	}

	raw := seal(kb.AppendTo(nil))
	c := recordbatch.NewCodec(recordbatch.Limits{})
	h, err := c.Decode(raw, &b)
	if err != nil {
		return frame{}, fmt.Errorf("building batch: %w", err)
	}

	batch, err := c.Encode(nil, h, &b, recordbatch.EncodeOptions{Compression: codec})
	if err != nil {
		return frame{}, fmt.Errorf("building batch: %w", err)
	}

	return frame{bytes: produceFrame(batch), raw: len(plain)}, nil
}

// seal sets the length and CRC of a batch.
func seal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func produceFrame(batch []byte) []byte { return produceFrameTo(benchTopic, batch) }

func produceFrameTo(topic string, batch []byte) []byte {
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

// jsonValue makes about 1 KiB of JSON that compresses about 2:1.
func jsonValue(r *rand.Rand) []byte {
	v := fmt.Appendf(nil, `{"id":"%016x","customer":{"name":"%08x %08x","email":"user%d@example.com"},"amount":%d.%02d,"tags":[`,
		r.Uint64(), r.Uint32(), r.Uint32(), r.IntN(1e6), r.IntN(1e4), r.IntN(100))
	for len(v) < 1000 {
		v = fmt.Appendf(v, `{"k":"%08x","v":%d},`, r.Uint32(), r.IntN(1000))
	}
	return append(v[:len(v)-1], "]}"...)
}

func appendRecord(dst []byte, i int, value []byte) []byte {
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

// loader sends frames over some connections, a few in flight on each.
type loader struct {
	conns    []net.Conn
	inFlight int
}

func newLoader(addr string, conns, inFlight int) (*loader, error) {
	l := &loader{inFlight: inFlight}
	for range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("connecting load: %w", err)
		}
		l.conns = append(l.conns, c)
	}

	return l, nil
}

func (l *loader) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// send sends n frames in all and returns when every one is acknowledged.
func (l *loader) send(f frame, n int) error {
	errs := make(chan error, len(l.conns))
	for i, c := range l.conns {
		share := n / len(l.conns)
		if i < n%len(l.conns) {
			share++
		}
		go func() { errs <- l.drive(c, f, share) }()
	}

	var first error
	for range l.conns {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}

	return first
}

// drive keeps inFlight requests outstanding on one connection.
func (l *loader) drive(c net.Conn, f frame, n int) error {
	own := append([]byte(nil), f.bytes...)
	window := make(chan struct{}, l.inFlight)
	sent := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for i := range n {
			select {
			case window <- struct{}{}:
			case <-stop:
				return
			}

			binary.BigEndian.PutUint32(own[8:], uint32(i))
			if _, err := c.Write(own); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()

	r := bufio.NewReader(c)
	for i := range n {
		if err := readAck(r, uint32(i)); err != nil {
			return err
		}
		<-window
	}

	return <-sent
}

// readAck reads one Produce v9 answer and checks that it is a success.
func readAck(r *bufio.Reader, correlation uint32) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}

	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	if got := binary.BigEndian.Uint32(body); got != correlation {
		return fmt.Errorf("answer %d where %d is due", got, correlation)
	}

	return wire.ProduceResults(9, body, func(a *wire.ProduceAnswer) error {
		if a.ErrorCode != 0 {
			return fmt.Errorf("a batch was refused with code %d", a.ErrorCode)
		}
		return nil
	})
}

// closedLoop measures one request at a time on one connection.
func (l *loader) closedLoop(f frame, n int) ([]time.Duration, error) {
	c := l.conns[0]
	own := append([]byte(nil), f.bytes...)
	r := bufio.NewReader(c)
	took := make([]time.Duration, 0, n)
	for i := range n {
		binary.BigEndian.PutUint32(own[8:], uint32(i))
		start := time.Now()
		if _, err := c.Write(own); err != nil {
			return nil, err
		}
		if err := readAck(r, uint32(i)); err != nil {
			return nil, err
		}

		took = append(took, time.Since(start))
	}

	return took, nil
}
