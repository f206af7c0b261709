package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway/wire"
)

// step is what one request became: something for upstream, an answer of our
// own, or both to come once its decisions are durable.
type step struct {
	pend    pending
	owed    bool     // pend goes into the queue
	raw     []byte   // for upstream, length included
	pieces  [][]byte // the same in pieces, instead of raw
	header  wire.RequestHeader
	produce *produce
}

// read is the reader goroutine: it takes every request that is ready, decides,
// makes the decisions durable, and forwards, until the client ends.
func (c *conn) read(ctx context.Context) error {
	for !c.isDraining() {
		if streamed, err := c.streamAhead(ctx); streamed || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := c.in.fill(ctx); err != nil {
			return err
		}
		err := c.takeReady(ctx)
		// What was decided before the bad request still goes its way.
		if flushErr := c.flush(ctx); flushErr != nil {
			return flushErr
		}
		if err == nil {
			err = c.stream(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxReady bounds the requests that one flush waits for together.
const maxReady = 64

func (c *conn) takeReady(ctx context.Context) error {
	for {
		c.bound()
		frame, ok, err := c.in.next()
		if err != nil || !ok {
			return err
		}
		if err := c.dispatch(ctx, frame); err != nil {
			return err
		}
		if len(c.steps) == maxReady {
			if err := c.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// isClientFault: the peer sent what no stock client sends, or what is not
// served; worth a warning, not an alarm.
func isClientFault(err error) bool {
	return errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrRefused) || errors.Is(err, wire.ErrUnsupportedVersion) ||
		errors.Is(err, wire.ErrDuplicate) || errors.Is(err, wire.ErrTooLarge)
}

// dispatch decides what one request needs. An error closes the connection, as a
// Kafka broker does for requests that it cannot read.
func (c *conn) dispatch(ctx context.Context, frame []byte) error {
	if c.bareTokens {
		if taken, err := c.bareToken(ctx, frame); taken {
			return err
		}
	}
	h, err := wire.ParseRequestHeader(frame)
	if h.Key == kmsg.ApiVersions && errors.Is(err, wire.ErrUnsupportedVersion) {
		c.answerLocally(h, func(dst []byte) []byte { return wire.UnsupportedApiVersions(dst, h.CorrelationID) })
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.serveRequest(ctx, h, frame); isClientFault(err) {
		// Whoever runs that client finds it by these three.
		return fmt.Errorf("serving %s v%d of client id %q: %w", wire.KeyName(h.Key), h.Version, h.ClientID[:min(len(h.ClientID), maxLoggedID)], err)
	} else if err != nil {
		return err
	}
	return nil
}

// maxLoggedID bounds what a log line repeats of a client's own name.
const maxLoggedID = 100

func (c *conn) serveRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	if !c.cluster.api.Serves(h.Key, h.Version) {
		return wire.ErrRefused
	}
	if err := c.admit(h.Key); err != nil {
		return err
	}
	body := frame[h.BodyOffset:]
	if err := c.checkBody(h, body); err != nil {
		return err
	}
	switch h.Key {
	case kmsg.Produce:
		return c.produceRequest(ctx, h, frame)
	case kmsg.ApiVersions:
		return c.apiVersions(h, frame)
	case kmsg.SASLHandshake, kmsg.SASLAuthenticate:
		return c.saslRequest(ctx, h, frame)
	}

	if c.cluster.cfg.Embedded && broker.Judges(h.Key) {
		return c.judgeForEmbedded(h, frame)
	}
	c.forward(h, frame)
	return nil
}

// checkBody holds what is refused whatever it says: requests that speak as
// replicas, and bytes that the embedded broker might not survive.
func (c *conn) checkBody(h wire.RequestHeader, body []byte) error {
	switch h.Key {
	case kmsg.Fetch, kmsg.ListOffsets, kmsg.OffsetForLeaderEpoch:
		if err := wire.SpeakAsConsumer(h.Key, h.Version, body); err != nil {
			return err
		}
	case kmsg.Produce:
		return nil // parsed in full
	}
	if c.cluster.cfg.Embedded {
		return wire.CheckRequest(h.Key, h.Version, body)
	}
	return nil
}

// withLength returns the frame with its four length bytes, which lie before it
// in the inbox.
func (c *conn) withLength(frame []byte) []byte {
	return c.in.buf[c.in.r-4-len(frame) : c.in.r]
}

// AuditClientID is what a client calls itself that compares batches with their
// decisions: what it fetches comes as it is stored, with the placeholders of
// dropped records. They hold nothing of a record, so the name needs no proof.
const AuditClientID = "guardlock-audit"

func pendingFor(h wire.RequestHeader) pending {
	return pending{key: h.Key, version: h.Version, correlation: h.CorrelationID, asStored: h.Key == kmsg.Fetch && string(h.ClientID) == AuditClientID}
}

func (c *conn) forward(h wire.RequestHeader, frame []byte) {
	c.steps = append(c.steps, step{pend: pendingFor(h), owed: true, raw: c.withLength(frame)})
}

// answerLocally queues an answer of our own behind everything asked before.
func (c *conn) answerLocally(h wire.RequestHeader, build func(dst []byte) []byte) {
	p := pendingFor(h)
	p.local = ownFrame(build)
	c.steps = append(c.steps, step{pend: p, owed: true})
}

// ownFrame builds a frame in memory of its own, since it may wait in the queue.
func ownFrame(build func(dst []byte) []byte) []byte {
	var o outbox
	f, _, _ := o.frame(func(dst []byte) ([]byte, bool, error) { return build(dst), true, nil })
	return f
}

func (c *conn) apiVersions(h wire.RequestHeader, frame []byte) error {
	if h.Version < 5 {
		c.forward(h, frame)
		return nil
	}
	out, _, err := c.out.frame(func(dst []byte) ([]byte, bool, error) {
		dst, err := wire.RewriteApiVersionsRequest(dst, h, frame)
		return dst, true, err
	})
	if err != nil {
		return err
	}
	c.steps = append(c.steps, step{pend: pendingFor(h), owed: true, raw: out})
	return nil
}

// judgeForEmbedded answers what would harm the embedded broker, and forwards the
// rest.
func (c *conn) judgeForEmbedded(h wire.RequestHeader, frame []byte) error {
	body := frame[h.BodyOffset:]
	req, err := wire.DecodeRequest(h, body)
	if err != nil {
		return err
	}

	no := broker.Judge(req)
	if no == nil {
		c.forward(h, frame)
		return nil
	}

	c.answerLocally(h, func(dst []byte) []byte {
		dst, err = wire.ErrorResponse(dst, h, body, no.Code, no.Reason)
		return dst
	})
	return err
}

// flush makes the decisions of all steps durable, queues what is owed to the
// client in request order, and forwards what may go upstream.
func (c *conn) flush(ctx context.Context) error {
	if len(c.steps) == 0 {
		return nil
	}
	var closing error
	for i := range c.steps {
		if s := &c.steps[i]; s.produce != nil {
			if err := c.settle(ctx, s); err != nil && closing == nil {
				closing = err
			}
		}
	}
	// Queued before written: the answer may be back before Write returns.
	c.mu.Lock()
	for i := range c.steps {
		if c.steps[i].owed {
			c.queue.push(c.steps[i].pend)
		}
	}
	c.mu.Unlock()
	for i := range c.steps {
		if raw := c.steps[i].raw; raw != nil {
			c.out.add(raw)
		}
		for _, p := range c.steps[i].pieces {
			c.out.add(p)
		}
	}
	err := c.out.flush(c.upstream)
	c.releaseSteps()
	if err != nil {
		return err
	}
	if err := c.deliverLocals(); err != nil {
		return err
	}
	if closing != nil {
		return closing
	}
	return c.awaitRoom(ctx)
}

// maxOwed bounds the answers that one connection waits for. Brokers take one
// request at a time, so that no client is faster for having more under way; but
// answers of our own pile up here while the broker is slow.
const maxOwed = 1024

// awaitRoom returns when the client may ask for more.
func (c *conn) awaitRoom(ctx context.Context) error {
	for {
		c.mu.Lock()
		full := c.queue.count >= maxOwed
		c.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-c.room:
		case <-c.ended:
			return io.EOF
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *conn) releaseSteps() {
	clear(c.steps)
	c.steps = c.steps[:0]
	c.encodes.release()
}
