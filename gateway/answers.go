package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/internal/meter"
)

// errProtocol means that the broker answered what was not asked. Nothing that
// follows on the connection can be matched to a request any more.
var errProtocol = errors.New("broker answered out of order")

// maxResponse bounds one answer of the broker, which comes whole: fetch.max.bytes
// is 55 MB in brokers by default and may be exceeded by one batch.
const maxResponse = 1<<maxBufferBits - 4

// ends are the two ends of a session, of which node is set before the first answer.
type ends struct {
	client *socket
	node   int32 // the broker that answers; -1 where that is any
}

// answers is what a client is owed, in request order, and the way to it. The
// reader adds to it, the writer takes from it, and both write to the client.
// writeMu is held before mu.
type answers struct {
	// Fixed after newSession.
	cluster *Cluster
	ends

	// writeMu serialises writes to the client, which the reader and the writer
	// both make. It is taken before mu.
	writeMu     sync.Mutex
	writesUntil meter.Moment // the write deadline that is set; guarded by writeMu
	gone        bool         // the client cannot be written to any more; guarded by writeMu

	begun atomic.Bool // the client has had an answer

	// blockedSince is the meter.Moment when the write to the client that is under way
	// began; 0 if there is none
	blockedSince atomic.Int64

	mu         sync.Mutex
	queue      queue
	reading    bool // the reader may still add to the queue
	draining   bool
	retirement retirement

	idle  chan struct{} // closed when reading is over and nothing is owed
	room  chan struct{} // told when answers have left the queue
	ended chan struct{} // closed when no more answers will come from upstream
}

// writer is the writer goroutine and its own state: it matches the broker's
// answers to the queue, rewrites what a client must not see, and sends them in
// request order.
type writer struct {
	cluster *Cluster
	answers *answers
	login   *login
	in      *inbox
	out     outbox
	strip   *recordbatch.Codec
	records []byte // scratch of stripped records
}

// newWriter makes the writer of a session whose connection to the broker is up.
// Its memory is that of answers, of which requests take nothing.
func newWriter(s *session, up net.Conn) *writer {
	cfg := &s.cluster.gw.cfg
	in := newInbox(up, s.cluster.gw.memory.answers, maxResponse, cfg.FrameTimeout)
	in.pipelined = s.answers.pipelined

	if !s.cluster.cfg.Access.Terminate {
		in.bounds.minFrame = 0 // an answer to a bare SASL token may be empty
	}
	return &writer{
		cluster: s.cluster,
		answers: &s.answers,
		login:   &s.login,
		in:      in,
		strip:   recordbatch.NewCodec(cfg.Batch),
	}
}

func (w *writer) run(ctx context.Context) error {
	defer w.in.release()
	defer func() { w.answers.told(&w.out, false) }() // what an error kept from being written
	for {
		if err := w.in.fill(ctx); err != nil {
			return err
		}
		if err := w.deliver(); err != nil {
			return err
		}
	}
}

// deliver sends every whole answer that has arrived, and after each the answers
// of our own that were waiting behind it.
func (w *writer) deliver() error {
	w.answers.writeMu.Lock()
	defer w.answers.writeMu.Unlock()
	for {
		frame, ok, err := w.in.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}

		w.answers.takeLocals(&w.out)
		if err := w.one(frame); err != nil {
			return err
		}
	}

	w.answers.takeLocals(&w.out)
	err := w.answers.send(&w.out)
	w.answers.checkIdle()
	return err
}

// one handles one answer of the broker: it finds the request that it answers,
// which is the oldest, and queues what the client is to see.
func (w *writer) one(frame []byte) error {
	w.answers.mu.Lock()
	if w.answers.queue.empty() || w.answers.queue.peek().local != nil {
		w.answers.mu.Unlock()
		return errProtocol
	}

	p := w.answers.queue.pop()
	w.answers.mu.Unlock()
	if !p.bare && (len(frame) < minFrame || int32(binary.BigEndian.Uint32(frame)) != p.correlation) {
		return fmt.Errorf("matching answer to request of %s: %w", wire.KeyName(p.key), errProtocol)
	}

	raw := w.in.buf[w.in.r-4-len(frame) : w.in.r]
	if p.sasl {
		w.out.add(raw)
		return w.login.reported(&p, frame)
	}

	out, changed, err := w.out.frame(func(dst []byte) ([]byte, bool, error) { return w.rewrite(dst, frame, &p) })
	if err != nil {
		return fmt.Errorf("rewriting answer of %s v%d: %w", wire.KeyName(p.key), p.version, err)
	}
	if changed {
		raw = out
	}
	if !p.swallow {
		w.out.add(raw)
	}

	return nil
}

// rewrite appends the answer that the client is to see to dst, if it differs
// from what the broker sent.
func (w *writer) rewrite(dst, frame []byte, p *pending) (out []byte, changed bool, err error) {
	switch {
	case p.produce != nil:
		return w.answers.answerProduce(dst, frame, p, &w.out)
	case p.key == kmsg.ApiVersions:
		dst, err := wire.RewriteApiVersions(dst, p.version, frame, w.cluster.api)
		return dst, true, err
	case p.key == kmsg.Fetch || p.key == kmsg.ShareFetch:
		return w.rewriteFetch(dst, frame, p)
	}
	return wire.RewriteResponse(dst, p.key, p.version, frame, w.cluster, w.cluster.topics)
}

// rewriteFetch takes the placeholders of dropped records out of what a consumer
// reads, unless it asks for what is stored, then replaces addresses.
func (w *writer) rewriteFetch(dst, frame []byte, p *pending) ([]byte, bool, error) {
	bindings := w.cluster.bindings.Load()
	if !bindings.modules || p.asStored {
		return wire.RewriteResponse(dst, p.key, p.version, frame, w.cluster, w.cluster.topics)
	}

	stripped, changed, err := wire.WalkFetchRecords(nil, p.key, p.version, frame, func(fp *wire.FetchPartition) ([]byte, bool, error) {
		if !bindings.mayDrop(fetchTopic(w.cluster.topics, fp)) {
			return nil, false, nil
		}
		out, n, err := w.stripped(fp.Records)
		w.records = out[:0]
		return out, n > 0, err
	})
	if err != nil {
		return dst, false, err
	}
	if !changed {
		return wire.RewriteResponse(dst, p.key, p.version, frame, w.cluster, w.cluster.topics)
	}

	out, rewritten, err := wire.RewriteResponse(dst, p.key, p.version, stripped, w.cluster, w.cluster.topics)
	if err != nil || rewritten {
		return out, rewritten, err
	}

	return append(dst, stripped...), true, nil
}

// stripped takes placeholders out of every batch of a records field, and counts
// them. The result is scratch, which the next call overwrites.
func (w *writer) stripped(records []byte) (out []byte, n int, err error) {
	out = w.records[:0]
	for batch, err := range recordbatch.SplitBatches(records) {
		if errors.Is(err, recordbatch.ErrTruncated) {
			// Brokers cut the last batch to size, and consumers expect that, so
			// that the rest of one passes as it is.
			out = append(out, batch...)
			continue
		}

		if err != nil {
			return out, 0, err
		}
		var gone int
		out, gone, err = w.strip.Strip(out, batch)
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
func (a *answers) deliverLocals() error {
	a.writeMu.Lock()
	defer a.writeMu.Unlock()
	var out outbox
	a.takeLocals(&out)
	return a.send(&out)
}

// takeLocals moves the local answers at the head of the queue to out. Called
// with writeMu held, which keeps their order on the wire.
func (a *answers) takeLocals(out *outbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.queue.empty() && a.queue.peek().local != nil {
		p := a.queue.pop()
		if p.refused != nil {
			a.reconsider(&p, out)
		}
		out.add(p.local)
	}
}

// send writes to the client. When the client has gone, answers are still read
// from the broker, because they say where its records are.
func (a *answers) send(out *outbox) error {
	defer func() { a.told(out, !a.gone) }()
	if a.gone {
		out.reset()
		return nil
	}

	if len(out.bufs) == 0 {
		out.reset()
		return nil
	}

	began := meter.Now()
	if err := a.armWrites(began); err != nil {
		a.gone = true
	}
	a.blockedSince.Store(int64(began))
	err := out.flush(a.client)
	a.blockedSince.Store(0)
	a.cluster.counts.answers.Observe(meter.Mark().Since(began))

	if err != nil {
		a.gone = true
		a.client.Close() // ends the reader
		return nil
	}

	a.begun.Store(true)
	return nil
}

// told ends the traces of what was written, or could not be.
func (a *answers) told(out *outbox, written bool) {
	for _, t := range out.traces {
		a.cluster.pipeline.Told(t, written)
	}
	clear(out.traces)
	out.traces = out.traces[:0]
}

// armWrites keeps a deadline ahead of every write. It is moved only now and
// then, because moving it costs more than a small write.
func (a *answers) armWrites(now meter.Moment) error {
	timeout := a.cluster.gw.cfg.WriteTimeout
	if a.writesUntil.Since(now) > timeout/2 {
		return nil
	}
	a.writesUntil = now + meter.Moment(timeout)
	return a.client.SetWriteDeadline(time.Now().Add(timeout))
}

// checkIdle wakes whoever waits for the last answer, or for room in the queue.
func (a *answers) checkIdle() {
	select {
	case a.room <- struct{}{}:
	default:
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	a.restIfQuiet()
	if a.nothingOwed() {
		select {
		case <-a.idle:
		default:
			close(a.idle)
		}
	}
}

// endReading says that nothing will be added to the queue any more, so that an
// empty queue is the end.
func (a *answers) endReading() {
	a.mu.Lock()
	a.reading = false
	a.mu.Unlock()
	a.checkIdle()
}

// nothingOwed reports whether nothing is owed that is worth waiting for. While
// draining that is every answer; once the client has gone, only those that say
// where its records are. The caller holds mu.
func (a *answers) nothingOwed() bool {
	return !a.reading && (a.queue.empty() || !a.draining && a.queue.produces == 0)
}

// lingerForAnswers waits until what was forwarded has been answered, at most
// for limit.
func (a *answers) lingerForAnswers(ctx context.Context, limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-a.idle:
	case <-a.ended:
	case <-t.C:
	case <-ctx.Done():
	}
}

// abandoned lists the decisions that will get no answer any more. Both
// goroutines have ended.
func (a *answers) abandoned() []uint64 {
	var seqs []uint64
	for !a.queue.empty() {
		p := a.queue.pop()
		if p.produce != nil {
			seqs = append(seqs, p.produce.unanswered()...)
			a.abandon(p.produce)
		}
		if p.refused != nil {
			a.abandon(p.refused)
		}
	}
	return seqs
}

// abandon ends the traces of a request's batches.
func (a *answers) abandon(p *produce) {
	for i := range p.parts {
		a.cluster.pipeline.Abandoned(&p.parts[i].decided)
	}
}

// untold ends the traces of a request that asks for no answer.
func (a *answers) untold(p *produce) {
	for i := range p.parts {
		a.cluster.pipeline.Untold(&p.parts[i].decided)
	}
}

func (a *answers) isDraining() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.draining
}

// isOver reports whether the reader has ended, so that the end of the answers
// follows from that.
func (a *answers) isOver() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.reading
}

// pipelined reports whether the client asks on before it is answered. Whoever
// has one request under way waits for its answer, and is never made to wait for
// the company of others.
func (a *answers) pipelined() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queue.count > 1
}

// drain makes the reader end once it has asked for what it has read. It takes
// no new requests.
func (a *answers) drain() {
	a.mu.Lock()
	a.draining = true
	a.mu.Unlock()
}

// maxOwed bounds the answers that one connection waits for. Brokers take one
// request at a time, so that no client is faster for having more under way; but
// answers of our own pile up here while the broker is slow.
const maxOwed = 1024

// awaitRoom returns when the client may ask for more, since its queue has room
// again. It returns the error of ctx if that ends first.
func (a *answers) awaitRoom(ctx context.Context) error {
	for {
		a.mu.Lock()
		full := a.queue.count >= maxOwed
		a.mu.Unlock()

		if !full {
			return nil
		}
		select {
		case <-a.room:
		case <-a.ended:
			return io.EOF
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
