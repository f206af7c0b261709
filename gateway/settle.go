package gateway

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/gateway/wire"
)

// settle waits until the decisions of one request are durable and prepares what
// goes upstream and what the client is told. This is the crash point that
// everything hangs on: nothing leaves before the decision log has it.
func (r *reader) settle(ctx context.Context, s *step) error {
	p := s.produce
	for i := range p.parts {
		r.settlePart(ctx, p, &p.parts[i])
	}

	skipped := false
	for i := range p.parts {
		d := &p.parts[i]
		skipped = skipped || p.req.Topics[d.topic].Partitions[d.partition].Skip
	}

	var closing error
	if p.acks0 && skipped {
		closing = errAcks0
	}

	if p.req.Forwarded() == 0 {
		s.raw = nil
		s.produce = nil
		if p.acks0 {
			r.answers.untold(p)
			p.free()
			return closing
		}

		s.pend.local = p.refusal(s.header.CorrelationID)
		p.detach()
		s.pend.refused = p
		return nil
	}

	if p.acks0 {
		// The decision must be placed at an offset, which only an answer gives.
		p.req.Acks = 1
		s.owed = true
		s.pend.swallow = true
	}

	if skipped || p.rebuilt || p.acks0 {
		r.rebuild(s)
	}
	p.detach()
	s.pend.produce = p
	return closing
}

func (r *reader) settlePart(ctx context.Context, p *produce, d *part) {
	answer, refused, err := r.cluster.pipeline.Settle(ctx, &d.decided, &r.guard, r.log)
	if !refused {
		return
	}

	q := &p.req.Topics[d.topic].Partitions[d.partition]
	q.Skip = true
	q.Result = answer

	if err != nil {
		r.upstream.Close() // what follows cannot be held back one by one
	}
}

// rebuild writes the request anew, without what is answered here. The records
// stay where they are and go out with the same write.
func (r *reader) rebuild(s *step) {
	start := len(r.out.scratch)
	dst, cuts := wire.AppendProduceAround(append(r.out.scratch, 0, 0, 0, 0), s.header, &s.produce.req, r.cuts[:0])
	r.out.scratch = dst
	r.cuts = cuts
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
func (a *answers) answerProduce(dst, frame []byte, p *pending, to *outbox) (out []byte, changed bool, err error) {
	defer p.produce.free()
	if err := a.bind(p, frame); err != nil {
		a.untold(p.produce)
		return dst, false, err
	}
	if p.swallow {
		a.untold(p.produce)
		return dst, false, nil
	}

	to.carry(p.produce)
	if len(p.produce.req.Topics) == 0 {
		return dst, false, nil
	}

	partial := false
	for i := range p.produce.parts {
		d := &p.produce.parts[i]
		partial = partial || p.produce.req.Topics[d.topic].Partitions[d.partition].Skip
	}

	a.withhold(p.produce)
	if !partial {
		return wire.RewriteResponse(dst, p.key, p.version, frame, a.cluster, a.cluster.topics)
	}
	rewritten, changed, err := wire.RewriteResponse(nil, p.key, p.version, frame, a.cluster, a.cluster.topics)
	if err != nil {
		return dst, false, err
	}
	if changed {
		frame = rewritten
	}

	out, err = wire.MergeProduceResponse(dst, p.version, frame, &p.produce.req)
	return out, true, err
}

// refusal is the answer to a request of which nothing is forwarded.
func (p *produce) refusal(correlation int32) []byte {
	return ownFrame(func(dst []byte) []byte { return wire.AppendProduceResponse(dst, correlation, &p.req) })
}

// reconsider makes a refusal anew that must not leave as it was made. The answers
// to all earlier requests are in.
func (a *answers) reconsider(p *pending, to *outbox) {
	to.carry(p.refused)
	if a.withhold(p.refused) {
		p.local = p.refused.refusal(p.correlation)
	}
	p.refused.free()
}

// withhold puts another answer in the place of each refusal that must not be told
// yet.
func (a *answers) withhold(p *produce) (changed bool) {
	for i := range p.parts {
		d := &p.parts[i]
		if answer, withheld := a.cluster.pipeline.Withhold(&d.decided); withheld {
			p.req.Topics[d.topic].Partitions[d.partition].Result = answer
			changed = true
		}
	}
	return changed
}

// bind tells the log where each batch of a request is, or that it is nowhere,
// by the broker's answer.
func (a *answers) bind(p *pending, frame []byte) error {
	return wire.ProduceResults(p.version, frame, func(answer *wire.ProduceAnswer) error {
		d := p.produce.find(answer)
		if d == nil {
			return nil // not ours to record
		}
		if answer.ErrorCode == kerr.UnknownTopicOrPartition.Code || answer.ErrorCode == kerr.UnknownTopicID.Code {
			a.cluster.eras.doubt(d.decided.Partition.Topic)
		}

		in := a.cluster.eras.answered(d.decided.Partition, a.node, answer.ErrorCode)
		if known := a.cluster.pipeline.Answered(&d.decided, answer, in); !known {
			a.cluster.resolver.add([]uint64{d.decided.Seq()})
		}

		return nil
	})
}

func (p *produce) find(a *wire.ProduceAnswer) *part {
	for i := range p.parts {
		d := &p.parts[i]
		t := &p.req.Topics[d.topic]
		if d.decided.Partition.Number == a.Partition && string(t.Name) == string(a.Topic) && t.ID == a.TopicID {
			return d
		}
	}
	return nil
}

// unanswered lists the decisions whose outcome is not known: their batches were
// forwarded and not answered.
func (p *produce) unanswered() []uint64 {
	var seqs []uint64
	for i := range p.parts {
		d := &p.parts[i]
		if d.decided.Open() && !p.req.Topics[d.topic].Partitions[d.partition].Skip {
			seqs = append(seqs, d.decided.Seq())
		}
	}

	return seqs
}
