package gateway

import (
	"context"
	"encoding/binary"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/wire"
)

// firstIndex is the record that a decision id names: the first rejected one, or
// the batch.
func firstIndex(d *decided) int {
	if len(d.rejects) > 0 {
		return int(d.rejects[0].Index)
	}
	return -1
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
	if len(d.routes) > 0 {
		if err := c.cluster.sendRoutes(ctx, d); err != nil {
			c.log.Warn("a batch is refused, since records of it cannot be routed; look at the topic that they must go to", zap.Error(err))
			return refuseRoute, true
		}
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
		if mayBeStored(a.ErrorCode) {
			c.cluster.resolver.add([]uint64{d.ticket.Seq()})
			return nil
		}
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
