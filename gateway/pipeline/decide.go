package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/meter"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

// ErrTooManyHoles means that the batch's connection must be closed: so many of
// its batches were refused that what follows them can no longer be told.
var ErrTooManyHoles = errors.New("too many partitions with refused batches on one connection")

// Decide judges one batch and hands the decision to the log. A refusal is a
// decision and no error; the one error is ErrTooManyHoles.
func (p *Pipeline) Decide(ctx context.Context, in *Input) (Decided, error) {
	noEra := p.begin(ctx, in) // it may take a while, so that no worker is held meanwhile
	came := meter.Mark()
	w := p.cfg.Workers.take(in.Grant)
	taken := meter.Mark()
	p.counts.Stages[StageQueue].Observe(taken.Since(came))
	defer func() {
		w.release()
		p.cfg.Workers.put(w, in.Grant)
	}()

	w.take(p, in)
	w.noEra = noEra
	w.d.times.came = came
	w.d.times.taken = taken
	w.d.why, w.d.refused = w.judge(ctx)
	if !w.entry.Fits() {
		w.forgetRulings()
		w.d.why = refuseUnrecordable // trying again would not make it smaller
		w.d.refused = true
	}

	if w.d.refused {
		w.d.Out = nil
		w.entry.Outcome = w.d.why.outcome
		w.entry.Reason = w.d.why.reason
		if !w.remember() {
			return w.d, ErrTooManyHoles
		}
	} else {
		w.d.Rebuilt = len(w.d.Out) != len(in.Records) || &w.d.Out[0] != &in.Records[0]
	}

	w.entry.BytesIn = len(in.Records)
	w.entry.BytesOut = len(w.d.Out)
	// Nothing but its content tells later which batch of a producer without an id is the one.
	w.entry.Evidence = in.Grant.Evidence

	if w.entry.ProducerID < 0 {
		w.entry.Evidence = audit.EvidenceContent
	}

	w.count()
	w.traced()
	w.d.ticket = p.cfg.Log.Append(&w.entry, EvidenceOf(w.d.Out, w.entry.Evidence))
	w.d.times.decided = meter.Mark()
	return w.d, nil
}

// begin makes sure that the log has where the record of the batch's partition begins, if
// the batch may be stored at all.
func (p *Pipeline) begin(ctx context.Context, in *Input) error {
	if in.Direction == Consume || in.Grant == UnknownTopicID || in.Grant.Refusal != audit.OutcomePassed {
		return nil
	}
	return p.cfg.Eras.Begin(ctx, in.Partition, in.TopicID)
}

// forgetRulings takes back what became of each record. The batch is refused as a whole.
func (w *worker) forgetRulings() {
	w.entry.Rulings = w.entry.Rulings[:0]
	w.entry.Runs = w.entry.Runs[:0]
	w.d.rejects = nil
	w.d.routes = nil
}

// take begins with a batch. What it is judged by lies in the worker, so that
// deciding a batch allocates nothing.
func (w *worker) take(p *Pipeline, in *Input) {
	w.cfg = &p.cfg
	w.counts = p.counts
	w.in = *in
	w.ran = false
	w.asked = false
	w.failed = nil
	w.d = Decided{Partition: in.Partition}
	w.d.counted.tally = p.counts.of(in.Grant, in.Direction)
	w.describe()
}

// release lets go of the batch, which lies in memory of others, before the
// worker serves another.
func (w *worker) release() {
	w.batch.Reset()
	w.in = Input{}
	w.noEra = nil
	w.d = Decided{}
}

// remember tells the guard of a refused batch. It reports false when the guard
// is full.
func (w *worker) remember() bool {
	return w.in.Direction == Consume || w.in.Guard.refuse(&w.d.header, w.d.Partition)
}

// EvidenceOf is the part of a batch, as it was forwarded, that the MAC of its
// decision covers; nil for less than a batch.
func EvidenceOf(batch []byte, e audit.Evidence) []byte {
	if e == audit.EvidenceContent {
		return recordbatch.ContentEvidence(batch)
	}
	return recordbatch.HeaderEvidence(batch)
}

// describe fills in who, where and by what authority: the client as it was when
// its grant was looked up.
func (w *worker) describe() {
	e := &w.entry
	e.Reset()

	e.ConnID = w.in.Client.Connection
	e.Principal = w.in.Client.Principal
	e.ClientID = w.in.Client.ID
	e.Source = w.in.Client.Source
	e.TLS = w.in.Client.TLS

	e.Cluster = w.cfg.Cluster
	e.Topic = w.in.Partition.Topic
	e.TopicID = w.in.TopicID
	e.Partition = w.in.Partition.Number

	e.Modules = append(e.Modules, w.in.Grant.Modules...)
	e.PolicyRevision = w.in.Grant.PolicyRevision
	e.GrantDigest = w.in.Grant.GrantDigest

	e.ProducerID = -1
	w.d.header.ProducerID = -1
}

// judge decides what happens to the batch. It leaves in Out what is to be
// forwarded, or returns why nothing is.
func (w *worker) judge(ctx context.Context) (refusal, bool) {
	if why, refused := w.readHeader(); refused {
		return why, true
	}

	g := w.in.Grant
	switch {
	case w.in.Direction == Produce && w.in.Guard.blocks(&w.d.header, w.d.Partition):
		return refuseOutOfOrder, true
	case g == UnknownTopicID:
		return refuseUnknownTopic, true
	case g.Refusal != audit.OutcomePassed:
		return grantRefusal(g), true
	case !g.ValidUntil.IsZero() && w.cfg.Now().After(g.ValidUntil):
		return refuseExpired, true
	}

	r, may := g.Conduct.begin(&w.in.Client, batchKey{w.d.Partition, w.d.header.CRC, w.d.header.NumRecords})
	if !may {
		return refuseSuspended, true
	}

	w.d.Out = w.in.Records
	why, refused := w.transform(ctx)
	g.Conduct.end(&w.in.Client, r, w.ran, w.failed)

	return why, refused
}

func (w *worker) readHeader() (refusal, bool) {
	if len(w.in.Records) == 0 {
		return refuseEmpty, true
	}

	h, err := recordbatch.ParseHeader(w.in.Records)
	if err == nil && w.in.Direction == Produce {
		err = h.CheckProduced()
	}
	if err != nil {
		return batchRefusal(err), true
	}

	w.d.header = h
	e := &w.entry
	e.ProducerID = h.ProducerID
	e.ProducerEpoch = h.ProducerEpoch
	e.BaseSequence = h.BaseSequence
	e.Records = int(h.NumRecords)
	e.Codec = uint8(h.Compression())

	return refusal{}, false
}

// transform runs the binding's modules over the batch and encodes the result.
// It reports true with the refusal if there is one.
func (w *worker) transform(ctx context.Context) (refusal, bool) {
	b := &w.batch
	_, err := w.codec.Decode(w.in.Records, b)
	decoded := meter.Mark()
	w.counts.Stages[StageDecode].Observe(decoded.Since(w.d.times.taken))
	if err != nil {
		return batchRefusal(err), true
	}
	if w.noEra != nil {
		return eraRefusal(w.noEra), true
	}

	w.sample(b, decoded)
	g := w.in.Grant
	if g.Chain != nil {
		at := transforms.Origin{Topic: w.d.Partition.Topic, Partition: w.d.Partition.Number, Sent: w.sent()}
		w.ran = true
		w.failed = g.Chain.Run(ctx, b, at)
		w.ranSince(decoded)
		if w.failed != nil {
			err := w.failed
			// The text of a sandbox error holds nothing of a record, so that it
			// may be logged.
			w.in.Log.Warn("a transform failed; the batch is refused", zap.String("binding", g.Binding), zap.Error(err))
			return w.failure(err), true
		}
	}

	if forged(b) {
		return refuseForged, true
	}
	if !b.Changed {
		w.entry.Add(audit.Ruling{}, len(b.Records))
		return refusal{}, false
	}

	began := meter.Mark()
	why, refused := w.apply(ctx, b)
	ended := meter.Mark()
	w.counts.Stages[StageEncode].Observe(ended.Since(began))
	w.d.trace.add(StageEncode, began, ended)
	return why, refused
}

// ranSince measures the modules of the batch.
func (w *worker) ranSince(decoded meter.Moment) {
	now := meter.Mark()
	d := now.Since(decoded)
	w.counts.Stages[StageWasm].Observe(d)
	w.d.counted.tally.wasm.Add(int64(d))
	w.d.trace.add(StageWasm, decoded, now)
}

// sent is by what the batch is known when its producer sends it again. A batch that is
// read says nothing of that: every reader gets it.
func (w *worker) sent() transforms.BatchID {
	h := &w.d.header
	if w.in.Direction != Produce || h.ProducerID < 0 {
		return transforms.BatchID{}
	}

	return transforms.BatchID{
		Known:    true,
		Producer: h.ProducerID,
		Epoch:    h.ProducerEpoch,
		Sequence: h.BaseSequence,
		CRC:      h.CRC,
	}
}

// failure is what a failed chain means for the batch. One that runs out of time, or
// ends the process that works on it, however often it is sent must not hold up its
// partition until the producer gives up.
func (w *worker) failure(err error) refusal {
	var te *transforms.Error
	timeout := errors.As(err, &te) && (te.Kind == transforms.Timeout || te.Kind == transforms.Ended)
	if timeout && w.in.Direction == Produce && w.in.Guard.tooSlow(&w.d.header, w.d.Partition) {
		return refuseSlow
	}

	return chainRefusal(err)
}

// apply makes the modules' verdicts the decision, and the changed batch its
// Out. It reports true with the refusal if there is one.
func (w *worker) apply(ctx context.Context, b *record.Batch) (refusal, bool) {
	g := w.in.Grant
	r := rulings{grant: g, now: time.Now(), entry: &w.entry}
	r.add(b)

	if r.rejected > 0 {
		w.d.rejects = r.errors
		return w.rejection(&r, len(b.Records)), true
	}

	if r.routed > 0 {
		switch {
		case w.in.Direction == Consume:
			return refuseReadRoute, true
		case w.d.header.IsTransactional():
			return refuseTxnRoute, true
		}
		w.d.routes = r.copies(b)
	}

	if w.in.Direction == Produce && r.leavesPlaceholders() {
		if g.RejectDrops {
			w.d.rejects = r.removed
			w.d.routes = nil
			return dropRefusal(g), true
		}
		w.d.keyed = w.cfg.Topics.Settings(ctx, w.d.Partition.Topic).Compacts
	}

	w.entry.Outcome = r.outcome(len(b.Records))
	return w.encode(ctx)
}

// rejection says which record is at fault, since a producer's other records in
// the batch are told the same.
func (w *worker) rejection(r *rulings, records int) refusal {
	text := "rejected by module " + w.in.Grant.Modules[r.by].Name
	if kept := records - r.rejected; kept > 0 {
		text += fmt.Sprintf(": record %d of the batch", r.errors[0].Index)
		if r.rejected > 1 {
			text += fmt.Sprintf(" and %d more", r.rejected-1)
		}
		text += fmt.Sprintf("; %d that are not at fault are not stored because of it", kept)
	}

	return refusal{audit.OutcomeRejected, r.first, w.in.Grant.RejectCode, text}
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
