package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

// produce is one Produce request on its way: parsed, decided partition by
// partition, then waiting for the broker's answer. It is owned by the reader
// until it is queued, then by the writer.
type produce struct {
	req     wire.Produce
	parts   []decided
	names   []byte // topic names that outlive the frame
	acks0   bool
	rebuilt bool // some partition's records differ from the client's
}

// decided is the decision on one partition's batch.
type decided struct {
	topic, part int // indices in req
	key         guardKey
	header      recordbatch.Header
	ticket      audit.Ticket
	refused     bool
	why         refusal
	rejects     []wire.RecordError
	routes      []routed
	bound       bool
}

var producePool = sync.Pool{New: func() any { return new(produce) }}

func newProduce() *produce { return producePool.Get().(*produce) }

func (p *produce) free() {
	clear(p.parts)
	p.parts, p.names = p.parts[:0], p.names[:0]
	p.acks0, p.rebuilt = false, false
	producePool.Put(p)
}

// errAcks0: with acks=0 there is no answer that could say no, so Kafka closes
// the connection, and so do we.
var errAcks0 = errors.New("a batch sent with acks=0 was refused")

// produceRequest decides every partition of one Produce request.
func (c *conn) produceRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	p := newProduce()
	if err := wire.ParseProduce(h.Version, frame[h.BodyOffset:], &p.req); err != nil {
		p.free()
		return err
	}
	p.acks0 = p.req.Acks == 0
	bindings, principal := c.cluster.bindings.Load(), *c.principal.Load()
	audited := false
	for i := range p.req.Topics {
		name, g := c.grantFor(ctx, &p.req.Topics[i], bindings, principal)
		if g.Unaudited {
			continue
		}
		audited = true
		for j := range p.req.Topics[i].Partitions {
			if err := c.decide(ctx, p, decided{topic: i, part: j, key: guardKey{name, p.req.Topics[i].Partitions[j].Index}}, g, h); err != nil {
				p.free()
				return err
			}
		}
	}
	s := step{pend: pendingFor(h), owed: !p.acks0, raw: c.withLength(frame), header: h}
	if audited {
		s.produce = p
	} else {
		p.free()
	}
	c.steps = append(c.steps, s)
	return nil
}

// unknownTopicID is the grant of a topic id that nobody can name: policy is by
// name, so nothing may pass.
var unknownTopicID = &Grant{Refusal: audit.OutcomeInvalid, Why: refuseUnknownTopic.reason}

// grantFor names the topic and looks its grant up.
func (c *conn) grantFor(ctx context.Context, t *wire.ProduceTopic, b *Bindings, principal string) (string, *Grant) {
	if t.Name != nil || t.ID == ([16]byte{}) {
		name := c.cluster.topics.intern(t.Name)
		return name, b.Lookup(name, principal)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cluster.gw.cfg.DialTimeout)
	defer cancel()
	name, err := c.cluster.topicName(ctx, t.ID)
	if err != nil {
		return "", unknownTopicID
	}
	return name, b.Lookup(name, principal)
}

// worker is what deciding one batch needs; its memory is reused.
type worker struct {
	codec *recordbatch.Codec
	batch record.Batch
	entry audit.BatchEntry
}

// workers bounds the batches that are decided at one time, and so the memory
// of decompressed records.
type workers struct {
	free chan *worker
}

func newWorkers(n int, limits recordbatch.Limits) *workers {
	w := &workers{free: make(chan *worker, n)}
	for range n {
		w.free <- &worker{codec: recordbatch.NewCodec(limits)}
	}
	return w
}

// decide judges one partition's batch and hands the decision to the journal. An
// error closes the connection.
func (c *conn) decide(ctx context.Context, p *produce, d decided, g *Grant, h wire.RequestHeader) error {
	q := &p.req.Topics[d.topic].Partitions[d.part]
	w := <-c.cluster.gw.workers.free
	defer func() { c.cluster.gw.workers.free <- w }()
	c.describe(&w.entry, &d, g, p.req.Topics[d.topic].ID, h)

	in := q.Records
	d.why, d.refused = c.judge(ctx, w, q, &d, g)
	out := q.Records
	if d.refused {
		q.Skip, out = true, nil
		w.entry.Outcome, w.entry.Reason = d.why.outcome, d.why.reason
		if !c.guard.refuse(d.key, d.header.ProducerID, d.header.ProducerEpoch, d.header.BaseSequence) {
			return errTooManyHoles
		}
	} else if len(out) != len(in) || &out[0] != &in[0] {
		p.rebuilt = true
	}
	w.entry.BytesIn, w.entry.BytesOut = len(in), len(out)
	d.ticket = c.cluster.gw.cfg.Journal.Append(&w.entry, brokerInvariant(out))
	p.parts = append(p.parts, d)
	return nil
}

// brokerInvariant is the part of a batch that is the same in the topic later:
// what the decision's MAC covers.
func brokerInvariant(batch []byte) []byte {
	if len(batch) < attributesAt {
		return nil
	}
	return batch[attributesAt:]
}

// firstIndex is the record that a decision id names: the first rejected one, or
// the batch.
func firstIndex(d *decided) int {
	if len(d.rejects) > 0 {
		return int(d.rejects[0].Index)
	}
	return -1
}

var errTooManyHoles = errors.New("too many partitions with refused batches on one connection")

// describe fills in who, where and by what authority.
func (c *conn) describe(e *audit.BatchEntry, d *decided, g *Grant, id [16]byte, h wire.RequestHeader) {
	e.Reset()
	e.ConnID, e.Principal, e.Source = c.id, *c.principal.Load(), c.source
	e.ClientID = c.cluster.topics.intern(h.ClientID)
	e.Cluster, e.Topic, e.TopicID, e.Partition = c.cluster.cfg.Name, d.key.topic, id, d.key.partition
	e.Modules = append(e.Modules, g.Modules...)
	e.PolicyRevision, e.GrantDigest = g.PolicyRevision, g.GrantDigest
	e.ProducerID = -1
	d.header.ProducerID = -1
}

// judge decides what happens to a batch. It leaves in q.Records what is to be
// forwarded, or returns why nothing is.
func (c *conn) judge(ctx context.Context, w *worker, q *wire.ProducePartition, d *decided, g *Grant) (refusal, bool) {
	if len(q.Records) == 0 {
		return refuseEmpty, true
	}
	h, err := recordbatch.ParseHeader(q.Records)
	if err == nil {
		err = h.CheckProduced()
	}
	if err != nil {
		return batchRefusal(err), true
	}
	d.header = h
	e := &w.entry
	e.ProducerID, e.ProducerEpoch, e.BaseSequence = h.ProducerID, h.ProducerEpoch, h.BaseSequence
	e.Records, e.Codec = int(h.NumRecords), uint8(h.Compression())
	switch {
	case c.guard.blocks(d.key, h.ProducerID, h.ProducerEpoch, h.BaseSequence):
		return refuseOutOfOrder, true
	case g == unknownTopicID:
		return refuseUnknownTopic, true
	case g.Refusal != audit.OutcomePassed:
		return grantRefusal(g), true
	case !g.ValidUntil.IsZero() && time.Now().After(g.ValidUntil):
		return refuseExpired, true
	}
	return c.transform(ctx, w, q, d, g)
}

// transform runs the binding's modules over the batch and encodes the result.
func (c *conn) transform(ctx context.Context, w *worker, q *wire.ProducePartition, d *decided, g *Grant) (refusal, bool) {
	b := &w.batch
	if _, err := w.codec.Decode(q.Records, b); err != nil {
		return batchRefusal(err), true
	}
	if g.Chain != nil {
		if err := g.Chain.Run(ctx, b, transforms.Origin{Topic: d.key.topic, Partition: d.key.partition}); err != nil {
			// The text of a sandbox error holds nothing of a record.
			c.log.Warn("a transform failed; the batch is refused", zap.String("binding", g.Binding), zap.Error(err))
			return chainRefusal(err), true
		}
	}
	if forged(b) {
		return refuseForged, true
	}
	if !b.Changed {
		w.entry.Add(audit.Ruling{}, len(b.Records))
		return refusal{}, false
	}
	r := rulings{grant: g, entry: &w.entry}
	r.add(b)
	if r.rejected > 0 {
		d.rejects = r.errors
		return refusal{audit.OutcomeRejected, r.first, g.RejectCode, "rejected by module " + g.Modules[r.by].Name}, true
	}
	if r.routed > 0 {
		if isTransactional(d.header) {
			return refuseTxnRoute, true
		}
		d.routes = r.copies(b)
	}
	w.entry.Outcome = r.outcome(len(b.Records))
	return c.encode(ctx, w, q, d, g)
}

// forged reports whether a record has the form of a placeholder: consumers
// behind us would never see it, those beside us would.
func forged(b *record.Batch) bool {
	for i := range b.Records {
		r := &b.Records[i]
		if r.Value.IsNull() && r.Verdict <= record.Modified && recordbatch.IsPlaceholder(b, r) {
			return true
		}
	}
	return false
}

// transactionalBit of a batch's attributes (KIP-98).
const transactionalBit = 1 << 4

func isTransactional(h recordbatch.Header) bool { return h.Attributes&transactionalBit != 0 }

// encode replaces q.Records with the changed batch. One that grew past what the
// topic takes is compressed harder before the producer hears of it (trap 17).
func (c *conn) encode(ctx context.Context, w *worker, q *wire.ProducePartition, d *decided, g *Grant) (refusal, bool) {
	before := len(q.Records)
	buf, err := c.encodeBuffer(ctx, before+before/4)
	if err != nil {
		return refusal{audit.OutcomeTimeout, "no_memory", codeRequestTimedOut, "the gateway is out of buffer memory; try again"}, true
	}
	o := recordbatch.EncodeOptions{Compression: g.Recompress, KeepCompression: g.KeepCodec, PlaceholderNote: placeholderNote(g)}
	for ; o.Level <= 2; o.Level++ {
		out, err := w.codec.Encode(buf[:0], d.header, &w.batch, o)
		if errors.Is(err, recordbatch.ErrEmpty) && !o.Placeholders {
			o.Placeholders = true // no broker stores a batch without records
			out, err = w.codec.Encode(buf[:0], d.header, &w.batch, o)
		}
		if err != nil {
			return batchRefusal(err), true
		}
		if len(out) <= before || len(out) <= c.cluster.maxMessage(ctx, d.key.topic) {
			q.Records = out
			return refusal{}, false
		}
	}
	return refuseTooLarge, true
}

// encodeBuffer returns memory for one encoded batch until the flush. Only the
// first of a flush is waited for: who holds one already would wait for others
// that wait for it. Those further ones may exceed the budget.
func (c *conn) encodeBuffer(ctx context.Context, size int) ([]byte, error) {
	pool := c.cluster.gw.memory.encodes
	buf := pool.tryGet(size)
	if buf == nil && len(c.spare) > 0 {
		return make([]byte, 0, size), nil
	}
	if buf == nil {
		var err error
		if buf, err = pool.get(ctx, size, c.cluster.gw.cfg.FrameTimeout); err != nil {
			return nil, err
		}
	}
	c.spare = append(c.spare, buf)
	return buf, nil
}

// placeholderNote says which binding dropped a record, never what record.
func placeholderNote(g *Grant) []byte { return []byte(g.Binding) }

// rulings turns a batch's verdicts into the decision entry.
type rulings struct {
	grant    *Grant
	entry    *audit.BatchEntry
	errors   []wire.RecordError
	rejected int
	dropped  int
	routed   int
	changed  int
	first    string // reason of the first rejected record
	by       uint8  // module that rejected it
}

// maxRecordErrors bounds the KIP-467 list of one answer.
const maxRecordErrors = 100

func (r *rulings) add(b *record.Batch) {
	for i := 0; i < len(b.Records); {
		// Neighbours mostly share their ruling: look it up once for each run.
		rec, n := &b.Records[i], 1
		for i+n < len(b.Records) && sameRuling(rec, &b.Records[i+n]) {
			n++
		}
		ruling := r.ruling(rec)
		r.entry.Add(ruling, n)
		r.count(rec, ruling, i, n)
		i += n
	}
}

func sameRuling(a, b *record.Record) bool {
	return a.Verdict == b.Verdict && a.Module == b.Module && a.Reason == b.Reason && a.Route == b.Route
}

func (r *rulings) ruling(rec *record.Record) audit.Ruling {
	out := audit.Ruling{Verdict: audit.Verdict(rec.Verdict), Module: rec.Module}
	if rec.Verdict == record.Passed {
		return audit.Ruling{}
	}
	out.Reason = catalogued(r.grant.Reasons, rec.Module, int(rec.Reason))
	if rec.Verdict == record.Routed {
		out.Route = catalogued(r.grant.Routes, rec.Module, int(rec.Route))
	}
	return out
}

func catalogued(lists [][]string, module uint8, i int) string {
	if int(module) < len(lists) && i < len(lists[module]) {
		return lists[module][i]
	}
	return "unspecified"
}

func (r *rulings) count(rec *record.Record, ruling audit.Ruling, at, n int) {
	switch rec.Verdict {
	case record.Modified:
		r.changed += n
	case record.Dropped:
		r.dropped += n
	case record.Routed:
		r.routed += n
	case record.Rejected:
		if r.rejected == 0 {
			r.first, r.by = ruling.Reason, rec.Module
		}
		r.rejected += n
		for i := 0; i < n && len(r.errors) < maxRecordErrors; i++ {
			r.errors = append(r.errors, wire.RecordError{Index: int32(at + i), Message: ruling.Reason})
		}
	}
}

// outcome sums up a batch that is forwarded.
func (r *rulings) outcome(records int) audit.Outcome {
	switch {
	case r.dropped == records:
		return audit.OutcomeDropped
	case r.routed == records:
		return audit.OutcomeRouted
	default:
		return audit.OutcomeModified
	}
}

// settle waits until the decisions of one request are durable and prepares what
// goes upstream and what the client is told. This is the crash point that
// everything hangs on: nothing leaves before the journal has it.
func (c *conn) settle(ctx context.Context, s *step) error {
	p := s.produce
	for i := range p.parts {
		c.settlePart(ctx, p, &p.parts[i])
	}
	skipped := false
	for i := range p.parts {
		d := &p.parts[i]
		skipped = skipped || p.req.Topics[d.topic].Partitions[d.part].Skip
	}
	var closing error
	if p.acks0 && skipped {
		closing = errAcks0
	}
	if p.req.Forwarded() == 0 {
		s.raw, s.produce = nil, nil
		if !p.acks0 {
			s.pend.local = ownFrame(func(dst []byte) []byte { return wire.AppendProduceResponse(dst, s.header.CorrelationID, &p.req) })
		}
		p.free()
		return closing
	}
	if p.acks0 {
		// The decision must be bound to an offset, which only an answer gives.
		p.req.Acks = 1
		s.owed, s.pend.swallow = true, true
	}
	if skipped || p.rebuilt || p.acks0 {
		c.rebuild(s)
	}
	p.detach()
	s.pend.produce = p
	return closing
}

func (c *conn) settlePart(ctx context.Context, p *produce, d *decided) {
	why, refused := c.verdict(ctx, d)
	if !refused {
		return
	}
	seq, id := d.ticket.Seq(), ""
	if seq != 0 {
		id = c.cluster.gw.cfg.Journal.ID(seq, firstIndex(d)).String()
	}
	q := &p.req.Topics[d.topic].Partitions[d.part]
	q.Skip = true
	q.Result = why.result(id)
	q.Result.Records = d.rejects
	for i := range d.rejects {
		// Clients that show per-record errors show nothing else.
		e := &d.rejects[i]
		e.Message += " (decision " + c.cluster.gw.cfg.Journal.ID(d.ticket.Seq(), int(e.Index)).String() + ")"
	}
	if d.refused {
		return
	}
	if !c.guard.refuse(d.key, d.header.ProducerID, d.header.ProducerEpoch, d.header.BaseSequence) {
		c.upstream.Close() // what follows cannot be held back one by one
	}
	if seq != 0 {
		// The entry says forwarded, and may be durable: it must not stay open.
		c.cluster.gw.cfg.Journal.Bind(seq, audit.Binding{BaseOffset: -1, ErrorCode: why.code})
		d.bound = true
	}
}

// verdict is what holds for a partition once its decision is durable. Batches
// behind one that is refused only now were decided before it was: the guard has
// to be asked again.
func (c *conn) verdict(ctx context.Context, d *decided) (refusal, bool) {
	if err := d.ticket.Wait(ctx); err != nil {
		return refuseUnavailable, true
	}
	if d.refused {
		return d.why, true
	}
	if c.guard.follows(d.key, d.header.ProducerID, d.header.ProducerEpoch, d.header.BaseSequence) {
		return refuseOutOfOrder, true
	}
	if len(d.routes) > 0 && c.cluster.sendRoutes(ctx, d) != nil {
		return refuseRoute, true
	}
	return refusal{}, false
}

// rebuild writes the request anew, without what is answered here. The records
// stay where they are and go out with the same write.
func (c *conn) rebuild(s *step) {
	start := len(c.out.scratch)
	dst, cuts := wire.AppendProduceAround(append(c.out.scratch, 0, 0, 0, 0), s.header, &s.produce.req, c.cuts[:0])
	c.out.scratch, c.cuts = dst, cuts
	size := len(dst) - start - 4
	at := start
	for _, cut := range cuts {
		s.pieces = append(s.pieces, dst[at:cut.At], cut.Records)
		at = cut.At
		size += len(cut.Records)
	}
	s.pieces = append(s.pieces, dst[at:])
	binary.BigEndian.PutUint32(dst[start:], uint32(size))
	s.raw = nil
}

// detach copies what the answer needs out of the frame, whose memory is about
// to be reused.
func (p *produce) detach() {
	p.req.TransactionalID = nil
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		if t.Name != nil {
			at := len(p.names)
			p.names = append(p.names, t.Name...)
			t.Name = p.names[at:len(p.names):len(p.names)]
		}
		for j := range t.Partitions {
			t.Partitions[j].Records = nil
		}
	}
}

// answerProduce binds the broker's answer to the decisions and, where the
// gateway answered some partitions itself, merges both.
func (c *conn) answerProduce(dst, frame []byte, p *pending) (out []byte, changed bool, err error) {
	defer p.produce.free()
	if err := c.bind(p, frame); err != nil {
		return dst, false, err
	}
	if p.swallow || len(p.produce.req.Topics) == 0 {
		return dst, false, nil
	}
	partial := false
	for i := range p.produce.parts {
		d := &p.produce.parts[i]
		partial = partial || p.produce.req.Topics[d.topic].Partitions[d.part].Skip
	}
	if !partial {
		return wire.RewriteResponse(dst, p.key, p.version, frame, c.cluster, c.cluster.topics)
	}
	rewritten, changed, err := wire.RewriteResponse(nil, p.key, p.version, frame, c.cluster, c.cluster.topics)
	if err != nil {
		return dst, false, err
	}
	if changed {
		frame = rewritten
	}
	out, err = wire.MergeProduceResponse(dst, p.version, frame, &p.produce.req)
	return out, true, err
}

// bind tells the journal where each batch is, or that it is nowhere.
func (c *conn) bind(p *pending, frame []byte) error {
	return wire.ProduceResults(p.version, frame, func(a *wire.ProduceAnswer) error {
		d := p.produce.find(a)
		if d == nil || d.bound {
			return nil // not ours to record, or bound already
		}
		d.bound = true
		b := audit.Binding{BaseOffset: a.BaseOffset, ErrorCode: a.ErrorCode}
		if a.LogAppendTime > 0 {
			b.AppendTime = time.UnixMilli(a.LogAppendTime)
		}
		c.cluster.gw.cfg.Journal.Bind(d.ticket.Seq(), b)
		return nil
	})
}

func (p *produce) find(a *wire.ProduceAnswer) *decided {
	for i := range p.parts {
		d := &p.parts[i]
		t := &p.req.Topics[d.topic]
		if d.key.partition == a.Partition && string(t.Name) == string(a.Topic) && t.ID == a.TopicID {
			return d
		}
	}
	return nil
}

// unbound lists the decisions whose fate is not known: forwarded, not answered.
func (p *produce) unbound() []uint64 {
	var seqs []uint64
	for i := range p.parts {
		d := &p.parts[i]
		if !d.bound && !p.req.Topics[d.topic].Partitions[d.part].Skip {
			seqs = append(seqs, d.ticket.Seq())
		}
	}
	return seqs
}

// intern returns a string for bytes that come again and again, without
// allocating for those seen before.
func (t *topicNames) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	t.mu.RLock()
	s, ok := t.strings[string(b)]
	t.mu.RUnlock()
	if ok {
		return s
	}
	s = strings.Clone(string(b))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.strings == nil || len(t.strings) >= maxInterned {
		t.strings = map[string]string{}
	}
	t.strings[s] = s
	return s
}

// maxInterned bounds names that come from clients.
const maxInterned = 1 << 14
