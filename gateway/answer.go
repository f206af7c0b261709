package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
)

// errProtocol: the broker answered what was not asked. Nothing that follows on
// the connection can be matched to a request any more.
var errProtocol = errors.New("broker answered out of order")

// maxResponse bounds one answer of the broker, which comes whole: fetch.max.bytes
// is 55 MB in brokers by default and may be exceeded by one batch.
const maxResponse = 1<<maxBufferBits - 4

// write is the writer goroutine: it matches the broker's answers to the queue,
// rewrites what a client must not see, and sends them in request order.
func (c *conn) write(ctx context.Context) error {
	cfg := &c.cluster.gw.cfg
	in := newInbox(c.upstream, c.cluster.gw.memory.answers, maxResponse, cfg.FrameTimeout)
	defer in.release()
	in.crowded = c.pipelined
	if !c.cluster.cfg.Access.Terminate {
		in.minFrame = 0 // an answer to a bare SASL token may be empty
	}
	a := answers{conn: c, in: in, strip: recordbatch.NewCodec(cfg.Batch)}
	for {
		if err := in.fill(ctx); err != nil {
			return err
		}
		if err := a.deliver(); err != nil {
			return err
		}
	}
}

// answers is the writer's own state.
type answers struct {
	conn    *conn
	in      *inbox
	out     outbox
	strip   *recordbatch.Codec
	records []byte // scratch of stripped records
}

// deliver sends every whole answer that has arrived, and after each the answers
// of our own that were waiting behind it.
func (a *answers) deliver() error {
	c := a.conn
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	for {
		frame, ok, err := a.in.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		c.takeLocals(&a.out)
		if err := a.one(frame); err != nil {
			return err
		}
	}
	c.takeLocals(&a.out)
	err := c.send(&a.out)
	c.checkIdle()
	return err
}

// one handles one answer of the broker.
func (a *answers) one(frame []byte) error {
	c := a.conn
	c.mu.Lock()
	if c.queue.empty() || c.queue.peek().local != nil {
		c.mu.Unlock()
		return errProtocol
	}
	p := c.queue.pop()
	c.mu.Unlock()
	if !p.bare && (len(frame) < minFrame || int32(binary.BigEndian.Uint32(frame)) != p.correlation) {
		return fmt.Errorf("matching answer to request of %s: %w", wire.KeyName(p.key), errProtocol)
	}
	raw := a.in.buf[a.in.r-4-len(frame) : a.in.r]
	if p.sasl {
		a.out.add(raw)
		return c.brokerSaid(&p, frame)
	}
	out, changed, err := a.out.frame(func(dst []byte) ([]byte, bool, error) { return a.rewrite(dst, frame, &p) })
	if err != nil {
		return fmt.Errorf("rewriting answer of %s v%d: %w", wire.KeyName(p.key), p.version, err)
	}
	if changed {
		raw = out
	}
	if !p.swallow {
		a.out.add(raw)
	}
	return nil
}

// rewrite appends the answer that the client is to see, if it differs.
func (a *answers) rewrite(dst, frame []byte, p *pending) (out []byte, changed bool, err error) {
	c := a.conn
	switch {
	case p.produce != nil:
		return c.answerProduce(dst, frame, p)
	case p.key == kmsg.ApiVersions:
		dst, err := wire.RewriteApiVersions(dst, p.version, frame, c.cluster.api)
		return dst, true, err
	case p.key == kmsg.Fetch || p.key == kmsg.ShareFetch:
		return a.rewriteFetch(dst, frame, p)
	}
	return wire.RewriteResponse(dst, p.key, p.version, frame, c.cluster, c.cluster.topics)
}

// rewriteFetch takes the placeholders of dropped records out of what a consumer
// reads, unless it asks for what is stored, then replaces addresses.
func (a *answers) rewriteFetch(dst, frame []byte, p *pending) ([]byte, bool, error) {
	c := a.conn
	bindings := c.cluster.bindings.Load()
	if !bindings.modules || p.asStored {
		return wire.RewriteResponse(dst, p.key, p.version, frame, c.cluster, c.cluster.topics)
	}
	stripped, changed, err := wire.WalkFetchRecords(nil, p.key, p.version, frame, func(fp *wire.FetchPartition) ([]byte, bool, error) {
		if !bindings.mayDrop(fetchTopic(c.cluster.topics, fp)) {
			return nil, false, nil
		}
		out, n, err := a.stripped(fp.Records)
		a.records = out[:0]
		return out, n > 0, err
	})
	if err != nil {
		return dst, false, err
	}
	if !changed {
		return wire.RewriteResponse(dst, p.key, p.version, frame, c.cluster, c.cluster.topics)
	}
	out, rewritten, err := wire.RewriteResponse(dst, p.key, p.version, stripped, c.cluster, c.cluster.topics)
	if err != nil || rewritten {
		return out, rewritten, err
	}
	return append(dst, stripped...), true, nil
}

// stripped takes placeholders out of every batch of a records field.
func (a *answers) stripped(records []byte) (out []byte, n int, err error) {
	out = a.records[:0]
	for batch, err := range recordbatch.SplitBatches(records) {
		if errors.Is(err, recordbatch.ErrTruncated) {
			// Brokers cut the last batch to size, and consumers expect that.
			out = append(out, batch...)
			continue
		}
		if err != nil {
			return out, 0, err
		}
		var gone int
		out, gone, err = a.strip.Strip(out, batch)
		if errors.Is(err, recordbatch.ErrUnsupportedMagic) { // older than us
			out = append(out, batch...)
			continue
		}
		if err != nil {
			return out, 0, err
		}
		n += gone
	}
	return out, n, nil
}

// fetchTopic names the topic, or returns "" for an id that is not in the cache:
// mayDrop then errs on the side of looking.
func fetchTopic(t *topicNames, fp *wire.FetchPartition) string {
	if fp.Topic != nil {
		return string(fp.Topic)
	}
	name, _ := t.Name(fp.TopicID)
	return name
}

// deliverLocals sends answers of our own that nothing upstream stands before.
// The writer sends the others when the answers before them have come.
func (c *conn) deliverLocals() error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	var out outbox
	c.takeLocals(&out)
	return c.send(&out)
}

// takeLocals moves the local answers at the head of the queue to out. Called
// with writeMu held, which keeps their order on the wire.
func (c *conn) takeLocals(out *outbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.queue.empty() && c.queue.peek().local != nil {
		out.add(c.queue.pop().local)
	}
}

// send writes to the client. When the client has gone, answers are still read
// from the broker, because they say where its records are.
func (c *conn) send(out *outbox) error {
	if c.gone {
		out.reset()
		return nil
	}
	if len(out.bufs) == 0 {
		out.reset()
		return nil
	}
	if err := c.armWrites(); err != nil {
		c.gone = true
	}
	c.blockedSince.Store(time.Now().UnixNano())
	err := out.flush(c.client)
	c.blockedSince.Store(0)
	if err != nil {
		c.gone = true
		c.client.Close() // ends the reader
		return nil
	}
	c.spoken.Store(true)
	return nil
}

// armWrites keeps a deadline ahead of every write. It is moved only now and
// then, because moving it costs more than a small write.
func (c *conn) armWrites() error {
	patience := c.cluster.gw.cfg.WriteTimeout
	now := time.Now()
	if c.writesUntil.Sub(now) > patience/2 {
		return nil
	}
	c.writesUntil = now.Add(patience)
	return c.client.SetWriteDeadline(c.writesUntil)
}

// checkIdle wakes whoever waits for the last answer, or for any.
func (c *conn) checkIdle() {
	select {
	case c.room <- struct{}{}:
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled() {
		select {
		case <-c.idle:
		default:
			close(c.idle)
		}
	}
}
