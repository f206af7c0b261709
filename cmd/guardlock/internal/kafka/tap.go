package kafka

import (
	"context"
	"encoding/binary"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Tap reads along on the client's own connections and keeps what a
// Produce response says about refused records (KIP-467: an error message per
// batch and per record). kgo reports the error code alone, and the message is
// what carries the reason and the decision id.
//
// One tap serves one topic. It is safe for concurrent use.
type Tap struct {
	mu     sync.Mutex
	failed map[int32]FailedBatch // by partition: its last answer, if an error
}

// FailedBatch is one partition's answer to a batch that was not stored, with
// more than the client library tells.
type FailedBatch struct {
	records int              // how many the batch held
	Message string           // about the batch; may be empty
	Named   map[int32]string // messages by the record's index in the batch
}

// NewTap makes a Tap that knows of no answer yet.
func NewTap() *Tap {
	return &Tap{failed: make(map[int32]FailedBatch)}
}

// Failure returns the last answer of a partition, if that was an error.
func (t *Tap) Failure(partition int32) (FailedBatch, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.failed[partition]
	return f, ok
}

// Wrap taps every connection that dial makes, above TLS. The Tap reads along
// and changes nothing.
func (t *Tap) Wrap(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}

		c := &tappedConn{Conn: conn, tap: t, pending: make(map[int32]produceShape)}
		c.requests.done = c.request
		c.responses.done = c.response
		return c, nil
	}
}

// answer keeps what a response says of partitions that failed, and clears what
// was known of others.
func (t *Tap) answer(shape produceShape, resp *kmsg.ProduceResponse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode == 0 {
				delete(t.failed, p.Partition)
				continue
			}

			f := FailedBatch{records: shape.records[p.Partition], Named: make(map[int32]string)}
			if p.ErrorMessage != nil {
				f.Message = *p.ErrorMessage
			}

			for _, r := range p.ErrorRecords {
				f.Named[r.RelativeOffset] = ""
				if r.ErrorMessage != nil {
					f.Named[r.RelativeOffset] = *r.ErrorMessage
				}
			}

			t.failed[p.Partition] = f
		}
	}
}

// produceShape is what is needed of a request to read its response.
type produceShape struct {
	version int16
	records map[int32]int // by partition
}

// tappedConn follows both directions of a connection frame by frame. kgo has
// one writer and one reader per connection; mu guards what they share.
type tappedConn struct {
	net.Conn
	tap       *Tap
	requests  frameSplitter // owned by the writer
	responses frameSplitter // owned by the reader
	mu        sync.Mutex
	pending   map[int32]produceShape // by correlation id
}

// Write notes the requests that it hands on.
func (c *tappedConn) Write(p []byte) (int, error) {
	// The request is noted before the write, since its answer may come while
	// Write returns.
	c.requests.feed(p)
	return c.Conn.Write(p)
}

// Read looks at the answers that it hands on.
func (c *tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.responses.feed(p[:n])
	return n, err
}

// request notes a Produce request: api key, version, correlation id, client
// id, tags where the version is flexible, then the body.
func (c *tappedConn) request(frame []byte) {
	if len(frame) < 10 || binary.BigEndian.Uint16(frame) != uint16(kmsg.Produce) {
		return
	}
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(int16(binary.BigEndian.Uint16(frame[2:])))
	correlation := int32(binary.BigEndian.Uint32(frame[4:]))

	body := frame[10:]
	if n := int16(binary.BigEndian.Uint16(frame[8:])); n > 0 && int(n) <= len(body) {
		body = body[n:]
	}
	if req.IsFlexible() && len(body) > 0 {
		body = body[1:] // kgo sends no header tags: the count is one zero byte
	}
	if req.ReadFrom(body) != nil {
		return
	}

	shape := produceShape{version: req.Version, records: make(map[int32]int)}
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			shape.records[p.Partition] = recordCount(p.Records)
		}
	}

	c.mu.Lock()
	c.pending[correlation] = shape
	c.mu.Unlock()
}

// recordCount reads the count in a v2 batch header (bytes 57 to 60), and 0
// where there is none.
func recordCount(batch []byte) int {
	if len(batch) < 61 {
		return 0
	}
	return int(int32(binary.BigEndian.Uint32(batch[57:])))
}

// response hands the answer to a noted request to the tap, and passes over all
// others.
func (c *tappedConn) response(frame []byte) {
	if len(frame) < 4 {
		return
	}
	correlation := int32(binary.BigEndian.Uint32(frame))
	c.mu.Lock()
	shape, ok := c.pending[correlation]
	delete(c.pending, correlation)
	c.mu.Unlock()

	if !ok {
		return
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(shape.version)

	body := frame[4:]
	if resp.IsFlexible() && len(body) > 0 {
		body = body[1:]
	}
	if resp.ReadFrom(body) == nil {
		c.tap.answer(shape, resp)
	}
}

// frameSplitter cuts a byte stream at Kafka's four-byte lengths. A frame above
// maxTapped is let through unread: messages are lost then, records are not.
type frameSplitter struct {
	done func(frame []byte)
	buf  []byte
	skip int
}

const maxTapped = 64 << 20

func (s *frameSplitter) feed(p []byte) {
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			s.skip -= n
			p = p[n:]
			continue
		}

		want := 4
		if len(s.buf) >= 4 {
			want = 4 + int(binary.BigEndian.Uint32(s.buf))
		}

		n := min(want-len(s.buf), len(p))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		s.complete()
	}
}

// complete hands over the frame in buf if it is whole, and begins the next.
func (s *frameSplitter) complete() {
	if len(s.buf) < 4 {
		return
	}
	length := int(binary.BigEndian.Uint32(s.buf))
	switch {
	case length > maxTapped:
		s.skip = length
		s.buf = s.buf[:0]
	case len(s.buf) == 4+length:
		s.done(s.buf[4:])
		s.buf = s.buf[:0]
	}
}
