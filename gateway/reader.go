package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway/pipeline"
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

// reader is the reader goroutine and its own state: it takes requests from the
// client, has batches decided, and forwards.
type reader struct {
	// Fixed once it runs.
	cluster  *Cluster
	log      *zap.Logger
	client   net.Conn
	upstream *socket
	peer     *peer
	login    *login
	answers  *answers

	in      *inbox
	guard   pipeline.Guard
	steps   []step
	out     outbox
	cuts    []wire.Cut
	encodes encodeMemory
	known   Known // the client, as the snapshot that was asked last sees it

	bareTokens bool // SASL tokens come without Kafka's headers
}

// read takes every request that is ready, has it decided, makes the decisions
// durable, and forwards, until the client ends.
func (r *reader) read(ctx context.Context) error {
	for !r.answers.isDraining() {
		if r.in.isEmpty() && r.answers.isDue() {
			return errAged
		}
		if streamed, err := r.streamAhead(ctx); streamed || err != nil {
			if err != nil {
				return err
			}
			continue
		}

		if err := r.in.fill(ctx); err != nil {
			return r.brokenOff(err)
		}

		err := r.takeReady(ctx)
		// What was decided before the bad request still goes its way, since its
		// decision may be in the log.
		if flushErr := r.flush(ctx); flushErr != nil {
			return flushErr
		}
		if err == nil {
			err = r.stream(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// brokenOff is what the read ended with, or why we have broken it off.
func (r *reader) brokenOff(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case r.answers.isDraining():
		return nil
	case r.in.isEmpty() && r.answers.isDue():
		return errAged
	}
	return err
}

// maxReady bounds the requests that one flush waits for together, so that the
// first is not held up without end.
const maxReady = 64

// takeReady dispatches every whole request that has arrived, up to maxReady at
// a time, so that they share one wait for the log.
func (r *reader) takeReady(ctx context.Context) error {
	for {
		r.limitFrames()
		frame, ok, err := r.in.next()
		if err != nil || !ok {
			return err
		}
		if err := r.dispatch(ctx, frame); err != nil {
			return err
		}

		if len(r.steps) == maxReady {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// isClientFault reports whether the peer sent what no stock client sends, or
// what is not served. That is worth a warning, and no alarm.
func isClientFault(err error) bool {
	return errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrRefused) || errors.Is(err, wire.ErrUnsupportedVersion) ||
		errors.Is(err, wire.ErrDuplicate) || errors.Is(err, wire.ErrTooLarge)
}

// dispatch decides what one request needs. An error closes the connection, as a
// Kafka broker does for requests that it cannot read.
func (r *reader) dispatch(ctx context.Context, frame []byte) error {
	if r.bareTokens {
		if taken, err := r.bareToken(ctx, frame); taken {
			return err
		}
	}

	h, err := wire.ParseRequestHeader(frame)
	if h.Key == kmsg.ApiVersions && errors.Is(err, wire.ErrUnsupportedVersion) {
		r.answerLocally(h, func(dst []byte) []byte { return wire.UnsupportedApiVersions(dst, h.CorrelationID) })
		return nil
	}

	if err != nil {
		return err
	}
	if err := r.serveRequest(ctx, h, frame); isClientFault(err) {
		// Whoever runs that client finds it by these three.
		return fmt.Errorf("serving %s v%d of client id %q: %w", wire.KeyName(h.Key), h.Version, h.ClientID[:min(len(h.ClientID), maxLoggedID)], err)
	} else if err != nil {
		return err
	}

	return nil
}

// maxLoggedID bounds in bytes what a log line repeats of a client's own name
// for itself.
const maxLoggedID = 100

// serveRequest does with a request what its API and the client's login allow.
// Whatever is not told apart here passes as bytes, since the table lets it.
func (r *reader) serveRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	if !r.cluster.api.Serves(h.Key, h.Version) {
		return wire.ErrRefused
	}
	if err := r.login.allows(h.Key); err != nil {
		return err
	}

	body := frame[h.BodyOffset:]
	if err := r.checkBody(h, body); err != nil {
		return err
	}

	switch h.Key {
	case kmsg.Produce:
		return r.produceRequest(ctx, h, frame)
	case kmsg.ApiVersions:
		return r.apiVersions(h, frame)
	case kmsg.SASLHandshake, kmsg.SASLAuthenticate:
		return r.saslRequest(ctx, h, frame)
	case kmsg.Metadata:
		return r.metadata(h, frame)
	}

	if r.judged(h.Key) {
		return r.changesEvidence(ctx, h, frame)
	}
	r.forward(h, frame)
	return nil
}

// checkBody holds what is refused whatever it says: requests that speak as
// replicas, and bytes that the embedded broker might not survive.
func (r *reader) checkBody(h wire.RequestHeader, body []byte) error {
	switch h.Key {
	case kmsg.Fetch, kmsg.ListOffsets, kmsg.OffsetForLeaderEpoch:
		if err := wire.SpeakAsConsumer(h.Key, h.Version, body); err != nil {
			return err
		}
	case kmsg.Produce:
		return nil // parsed in full
	}

	if r.cluster.cfg.Embedded {
		return wire.CheckRequest(h.Key, h.Version, body)
	}
	return nil
}

// withLength returns the frame with its four length bytes, which lie before it
// in the inbox.
func (r *reader) withLength(frame []byte) []byte {
	return r.in.buf[r.in.r-4-len(frame) : r.in.r]
}

// AuditClientID is what a client calls itself that compares batches with their
// decisions: what it fetches comes as it is stored, with the placeholders of
// dropped records. They hold nothing of a record, so the name needs no proof.
const AuditClientID = "guardlock-audit"

func pendingFor(h wire.RequestHeader) pending {
	return pending{
		key:         h.Key,
		version:     h.Version,
		correlation: h.CorrelationID,
		asStored:    h.Key == kmsg.Fetch && string(h.ClientID) == AuditClientID,
	}
}

func (r *reader) forward(h wire.RequestHeader, frame []byte) {
	r.steps = append(r.steps, step{pend: pendingFor(h), owed: true, raw: r.withLength(frame)})
}

// answerLocally queues an answer of our own behind everything that was asked
// before, since answers leave in the order of requests.
func (r *reader) answerLocally(h wire.RequestHeader, build func(dst []byte) []byte) {
	p := pendingFor(h)
	p.local = ownFrame(build)
	r.steps = append(r.steps, step{pend: p, owed: true})
}

// ownFrame builds a frame in memory of its own, since it may wait in the queue.
func ownFrame(build func(dst []byte) []byte) []byte {
	var o outbox
	f, _, _ := o.frame(func(dst []byte) ([]byte, bool, error) { return build(dst), true, nil })
	return f
}

// apiVersions forwards the request. From v5 on it takes out which broker the
// client believes to talk to, since that is this gateway.
func (r *reader) apiVersions(h wire.RequestHeader, frame []byte) error {
	if h.Version < 5 {
		r.forward(h, frame)
		return nil
	}

	out, _, err := r.out.frame(func(dst []byte) ([]byte, bool, error) {
		dst, err := wire.RewriteApiVersionsRequest(dst, h, frame)
		return dst, true, err
	})
	if err != nil {
		return err
	}

	r.steps = append(r.steps, step{pend: pendingFor(h), owed: true, raw: out})
	return nil
}

// flush makes the decisions of all steps durable, queues what is owed to the
// client in request order, and forwards what may go upstream.
func (r *reader) flush(ctx context.Context) error {
	if len(r.steps) == 0 {
		return nil
	}
	var closing error
	for i := range r.steps {
		if s := &r.steps[i]; s.produce != nil {
			if err := r.settle(ctx, s); err != nil && closing == nil {
				closing = err
			}
		}
	}

	// The request is queued before it is written, since its answer may be back
	// before Write returns.
	r.answers.mu.Lock()
	for i := range r.steps {
		if r.steps[i].owed {
			r.answers.queue.push(r.steps[i].pend)
		}
	}
	r.answers.mu.Unlock()

	for i := range r.steps {
		if raw := r.steps[i].raw; raw != nil {
			r.out.add(raw)
		}
		for _, p := range r.steps[i].pieces {
			r.out.add(p)
		}
	}

	err := r.out.flush(r.upstream)
	r.releaseSteps()
	if err != nil {
		return err
	}
	if err := r.answers.deliverLocals(); err != nil {
		return err
	}
	if closing != nil {
		return closing
	}

	return r.answers.awaitRoom(ctx)
}

func (r *reader) releaseSteps() {
	clear(r.steps)
	r.steps = r.steps[:0]
	r.encodes.release()
}

// limitFrames sets how large the next frame may be, and how small: bare SASL tokens
// may be empty.
func (r *reader) limitFrames() {
	r.in.bounds.maxFrame = r.cluster.gw.cfg.MaxFrame
	r.in.bounds.minFrame = minFrame
	if r.login.proof.Load() == nil {
		r.in.bounds.maxFrame = min(r.in.bounds.maxFrame, maxUnauthenticatedFrame)
	}
	if r.bareTokens {
		r.in.bounds.minFrame = 0
	}
}
