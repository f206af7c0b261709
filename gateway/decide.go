package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

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
func (c *conn) decide(ctx context.Context, p *produce, d decided, g *Grant) error {
	q := &p.req.Topics[d.topic].Partitions[d.part]
	w := <-c.cluster.gw.workers.free
	defer func() {
		w.batch.Reset() // it refers to the frame
		c.cluster.gw.workers.free <- w
	}()
	c.describe(&w.entry, &d, g, p.req.Topics[d.topic].ID)
	d.zstd = p.req.Version >= produceWithZstd

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
	// Nothing but its content tells later which batch of a producer without an id is the one.
	if w.entry.Evidence = g.Evidence; w.entry.ProducerID < 0 {
		w.entry.Evidence = audit.EvidenceContent
	}
	d.ticket = c.cluster.gw.cfg.Journal.Append(&w.entry, EvidenceOf(out, w.entry.Evidence))
	p.parts = append(p.parts, d)
	return nil
}

// EvidenceOf is the part of a batch, as it was forwarded, that the MAC of its
// decision covers; nil for less than a batch.
func EvidenceOf(batch []byte, e audit.Evidence) []byte {
	if e == audit.EvidenceContent {
		return recordbatch.ContentEvidence(batch)
	}
	return recordbatch.HeaderEvidence(batch)
}

var errTooManyHoles = errors.New("too many partitions with refused batches on one connection")

// describe fills in who, where and by what authority: the client as it was when
// its grant was looked up.
func (c *conn) describe(e *audit.BatchEntry, d *decided, g *Grant, id [16]byte) {
	e.Reset()
	e.ConnID, e.Principal, e.ClientID = c.id, c.known.client.Principal, c.known.client.ID
	e.Source, e.TLS = c.source, c.tls
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
		if d.header.IsTransactional() {
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

// encode replaces q.Records with the changed batch. One that grew past what the
// topic takes is compressed, or compressed harder, before the producer hears of
// it.
func (c *conn) encode(ctx context.Context, w *worker, q *wire.ProducePartition, d *decided, g *Grant) (refusal, bool) {
	before := len(q.Records)
	o := recordbatch.EncodeOptions{Compression: g.Recompress, KeepCompression: g.KeepCodec, PlaceholderNote: placeholderNote(g)}
	if w.codec.Patch(q.Records, d.header, &w.batch, o) {
		return refusal{}, false
	}
	buf, err := c.encodeBuffer(ctx, before+before/4)
	if err != nil {
		return refusal{audit.OutcomeTimeout, "no_memory", kerr.RequestTimedOut.Code, "the gateway is out of buffer memory; try again"}, true
	}

	var size, limit int
	for o := range o.Attempts(d.header, d.zstd) {
		out, err := w.codec.Encode(buf[:0], d.header, &w.batch, o)
		if errors.Is(err, recordbatch.ErrEmpty) && !o.Placeholders {
			o.Placeholders = true // no broker stores a batch without records
			out, err = w.codec.Encode(buf[:0], d.header, &w.batch, o)
		}
		if err != nil {
			return batchRefusal(err), true
		}

		size = len(out)
		if size > before {
			limit = c.cluster.maxMessage(ctx, d.key.topic)
		}
		if size <= max(before, limit) {
			q.Records = out
			return refusal{}, false
		}
	}
	return tooLarge(before, size, limit, !g.KeepCodec && g.Recompress == recordbatch.None), true
}

// produceWithZstd is the first version of Produce in which brokers take zstd
// (KIP-110).
const produceWithZstd = 7

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
