package pipeline

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/internal/meter"
)

// Settle waits until the decision is durable, stores copies of routed records,
// and reports whether the batch is refused, with the answer to its producer. It
// must be called once, in the order of the decisions of a connection, before Out
// is forwarded. ErrTooManyHoles means that the connection must end at once, since
// what follows cannot be held back one by one; the batch is refused all the same.
func (p *Pipeline) Settle(ctx context.Context, d *Decided, g *Guard, log *zap.Logger) (answer wire.ProduceResult, refused bool, err error) {
	defer func() { p.settled(d, refused) }()
	why := d.why
	refused = d.refused
	if reason, late := p.lateRefusal(ctx, d, g, log); late {
		why = p.refuseLate(d, reason)
		if !refused && !g.refuse(&d.header, d.Partition) {
			err = ErrTooManyHoles
		}
		refused = true
	}

	if !refused {
		p.open.forwarded(&d.header, d.Partition)
		return wire.ProduceResult{}, false, nil
	}

	d.why = why
	answer = p.answer(d, why)
	p.logRefusal(d, why, log)
	return answer, true, err
}

// settled counts a decision that holds from now on.
func (p *Pipeline) settled(d *Decided, refused bool) {
	now := meter.Mark()
	d.times.settled = now
	p.counts.Stages[StageCommit].ObserveOf(now.Since(d.times.decided), d.ticket.Seq(), now)

	p.traceSettled(d, refused)
	if refused {
		d.counted.refuse(d.why.outcome, d.why.reason)
	} else {
		d.counted.forwarded()
	}
}

// Withhold reports whether a refused batch's producer must be told to come again
// rather than what Settle said, because a batch before it may be stored and may
// not: he would give that one a new number. It must be asked when the answers to
// all earlier requests of the connection are in.
func (p *Pipeline) Withhold(d *Decided) (answer wire.ProduceResult, withheld bool) {
	if !d.refused || !isFinal(d.why.code) || !p.open.precede(&d.header, d.Partition) {
		return wire.ProduceResult{}, false
	}
	return refuseBehindOpen.result(p.decisionID(d)), true
}

// logRefusal writes a line for a refusal, of which there may be thousands a
// second: most clients show their users the code alone, and whoever runs them
// asks here. Nothing of a record is in it.
func (p *Pipeline) logRefusal(d *Decided, why refusal, log *zap.Logger) {
	left, ok := p.lines.take(time.Now())
	if !ok {
		return
	}

	log.Info("a batch is refused",
		zap.String("decision", p.decisionID(d)),
		zap.String("topic", d.Partition.Topic),
		zap.Int32("partition", d.Partition.Number),
		zap.String("reason", why.reason),
		zap.String("error", kerr.ErrorForCode(why.code).(*kerr.Error).Message),
		zap.Uint64("unlogged_before", left))
}

// lateReason is why a batch is refused whose decision says already that it is
// forwarded.
type lateReason uint8

const (
	lateUnavailable lateReason = iota // the decision is not durable
	lateOutOfOrder                    // a batch before it was refused meanwhile
	lateRoute                         // a copy could not be stored
	lateReasons
)

var lateRefusals = [lateReasons]refusal{refuseUnavailable, refuseOutOfOrder, refuseRoute}

// lateRefusal finds out what holds once the decision is durable. Batches behind
// one that is refused only now were decided before it was: the guard has to be
// asked again.
func (p *Pipeline) lateRefusal(ctx context.Context, d *Decided, g *Guard, log *zap.Logger) (lateReason, bool) {
	if err := d.ticket.Wait(ctx); err != nil {
		return lateUnavailable, true
	}
	if d.refused {
		return 0, false
	}
	if g.follows(&d.header, d.Partition) {
		return lateOutOfOrder, true
	}

	if err := p.sendRoutes(ctx, d); err != nil {
		log.Warn("a batch is refused, since records of it cannot be routed; look at the topic that they must go to", zap.Error(err))
		return lateRoute, true
	}

	return 0, false
}

// refuseLate is the one place where a batch is refused after its entry was
// written. The entry may say forwarded, and may be durable: it must not stay
// open.
func (p *Pipeline) refuseLate(d *Decided, reason lateReason) refusal {
	p.late[reason].Add(1)
	why := lateRefusals[reason]
	d.Out = nil

	if seq := d.ticket.Seq(); seq != 0 && !d.refused {
		p.cfg.Log.Place(seq, audit.Placement{BaseOffset: -1, ErrorCode: why.code})
		d.placed = true
	}

	d.refused = true
	return why
}

// LateRefusals counts, by reason, the batches that were refused after their
// decision had been written. It is safe for concurrent use.
func (p *Pipeline) LateRefusals() map[string]uint64 {
	counts := make(map[string]uint64, lateReasons)
	for reason := range p.late {
		counts[lateRefusals[reason].reason] = p.late[reason].Load()
	}
	return counts
}

// sendRoutes stores the copies and binds each, before the batch that they came
// with goes its way.
func (p *Pipeline) sendRoutes(ctx context.Context, d *Decided) error {
	if len(d.routes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RouteTimeout)
	defer cancel()

	for i := range d.routes {
		r := &d.routes[i]
		partition, offset, err := p.cfg.Router.Send(ctx, r.topic, d.Partition, r.batch())
		if err != nil {
			return err
		}
		p.cfg.Log.Place(d.ticket.Seq(), audit.Placement{Route: r.topic, Partition: partition, BaseOffset: offset})
	}

	return nil
}

// answer is what the producer of a refused batch is told, with the id to ask
// the decision log by.
func (p *Pipeline) answer(d *Decided, why refusal) wire.ProduceResult {
	answer := why.result(p.decisionID(d))
	answer.Records = d.rejects
	for i := range d.rejects {
		// Clients that show per-record errors show nothing else, so that each
		// error has the id.
		e := &d.rejects[i]
		e.Message += " (decision " + p.cfg.Log.ID(d.ticket.Seq(), int(e.Index)).String() + ")"
	}

	return answer
}

// decisionID is what whoever reads the answer can ask the log for; empty where
// the log did not take the decision.
func (p *Pipeline) decisionID(d *Decided) string {
	seq := d.ticket.Seq()
	if seq == 0 {
		return ""
	}
	return p.cfg.Log.ID(seq, firstIndex(d)).String()
}

// firstIndex is the record that a decision id names: the first rejected one, or
// the batch.
func firstIndex(d *Decided) int {
	if len(d.rejects) > 0 {
		return int(d.rejects[0].Index)
	}
	return -1
}

// Answered tells the log where the batch stands, or that it stands nowhere. in is the
// epoch of the leader that answered, as far as the cluster said. It
// reports false where the broker's answer leaves that open: the topic itself
// must be asked.
func (p *Pipeline) Answered(d *Decided, a *wire.ProduceAnswer, in audit.LeaderEpoch) (known bool) {
	p.open.answered(&d.header, d.Partition, a.ErrorCode)
	p.counts.answered(d, a.ErrorCode)
	p.traceAnswered(d, a)
	if d.placed {
		return true
	}

	d.placed = true
	if mayBeStored(a.ErrorCode) {
		return false
	}

	b := audit.Placement{BaseOffset: a.BaseOffset, ErrorCode: a.ErrorCode, Leader: in}
	if a.LogAppendTime > 0 {
		b.AppendTime = time.UnixMilli(a.LogAppendTime)
	}

	p.cfg.Log.Place(d.ticket.Seq(), b)
	return true
}
