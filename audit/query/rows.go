package query

import (
	"github.com/guardlock/guardlock/audit"
)

// rows turns an entry into decisions and gives those that match to yield, in
// the filter's direction; false ends it.
func (m *matcher) rows(it *audit.Item, yield func(Decision) bool) bool {
	if it.Seq < m.f.After.Seq {
		return true
	}
	return m.all(it, func(d Decision) bool { return !m.fits(&d) || yield(d) })
}

// all makes the rows of an entry, without regard to what was seen.
func (m *matcher) all(it *audit.Item, yield func(Decision) bool) bool {
	if it.Kind != audit.KindBatch {
		if !m.control(it.Seq, it.Control) {
			return true
		}
		shown := it.Control.Shown()
		return yield(Decision{
			ID:         audit.DecisionID{Node: it.Node, Seq: it.Seq, Index: -1},
			Kind:       it.Kind,
			Time:       it.Control.Time,
			Coordinate: Coordinate{Offset: -1},
			Index:      -1,
			Outcome:    it.Control.Outcome,
			Reason:     it.Control.Reason,
			Module:     optionalModule(it.Control.Module),
			Caller:     audit.Caller{Principal: shown.Principal, Redacted: shown.Redacted},
			Control:    shown,
		})
	}

	if !m.batch(it.Batch) || !m.state(it) || !m.anyOutcome(it) {
		return true
	}
	e := it.Batch.Clone()
	e.Show()
	b := batchRows{it: it, e: e, info: infoOf(it, e)}
	spans := e.Spans(ruledOutcomes(it, e))

	if m.f.ByBatch || e.RefusedWhole() && !(m.hasID && m.id.Index >= 0) {
		return b.whole(m, spans, yield)
	}
	return b.each(m, spans, yield)
}

// anyOutcome reports whether any record of the batch matches.
func (m *matcher) anyOutcome(it *audit.Item) bool {
	if len(m.f.Outcomes) == 0 && len(m.f.Reasons) == 0 && len(m.f.Modules) == 0 {
		return true
	}
	for _, f := range ruledOutcomes(it, it.Batch) {
		if m.ruled(&f) {
			return true
		}
	}

	return false
}

// ruledOutcomes are what became of a batch's records, with the answer to the batch
// where that is known. A routed record is where it went even if its batch is not
// stored: copies go first.
func ruledOutcomes(it *audit.Item, e *audit.BatchEntry) []audit.RuledOutcome {
	all := e.RuledOutcomes()
	if !e.Awaits() {
		return all
	}
	if b, ok := it.Bound(""); !ok || b.ErrorCode == 0 {
		return all
	}

	for i := range all {
		if all[i].Verdict == audit.Routed {
			if bound, ok := it.Bound(all[i].Route); ok && bound.ErrorCode == 0 {
				continue
			}
		}

		all[i].Outcome = NotStored
	}

	return all
}

// infoOf gathers what the rows of a batch share.
func infoOf(it *audit.Item, e *audit.BatchEntry) *BatchInfo {
	info := &BatchInfo{
		Seq:        it.Seq,
		Direction:  e.Direction,
		Authority:  e.Authority,
		TopicID:    e.TopicID,
		Producer:   e.Producer,
		Payload:    e.Payload,
		Outcome:    e.Outcome,
		Reason:     e.Reason,
		State:      StateNotForwarded,
		BaseOffset: -1,
		Evidence:   e.Evidence,
		mac:        it.MAC(),
	}

	if !e.Outcome.Forwards() {
		return info
	}
	if !e.Awaits() {
		info.State = StateServed
		return info
	}

	info.State = StateUnknown
	b, ok := it.Bound("")
	if !ok {
		return info
	}

	info.BaseOffset = b.Base
	info.ErrorCode = b.ErrorCode
	info.Recovered = b.Recovered
	info.Leader = b.Leader

	if b.AppendTime != 0 {
		info.AppendTime = audit.TimeOf(b.AppendTime)
	}
	switch {
	case b.ErrorCode != 0:
		info.State = StateRefused
	case b.Base >= 0:
		info.State = StateStored
	}

	return info
}

// batchRows makes the rows of one batch.
type batchRows struct {
	it   *audit.Item
	e    *audit.BatchEntry
	info *BatchInfo
}

func (b *batchRows) row(t *audit.RuledOutcome) Decision {
	return Decision{
		ID:         audit.DecisionID{Node: b.it.Node, Seq: b.it.Seq, Index: -1},
		Kind:       audit.KindBatch,
		Time:       b.e.Time,
		Coordinate: Coordinate{b.e.Cluster, b.e.Topic, b.e.Partition, -1},
		Index:      -1,
		Outcome:    t.Outcome,
		Verdict:    t.Verdict,
		Reason:     t.Reason,
		Module:     t.Module,
		Caller:     b.e.Caller,
		Batch:      b.info,
	}
}

// whole makes the one row of a batch, if any of its records matches. It tells
// of the most telling of them: one that did not just pass.
func (b *batchRows) whole(m *matcher, all []audit.Span, yield func(Decision) bool) bool {
	var best *audit.RuledOutcome
	n := 0
	for i := range all {
		if !m.ruled(all[i].Ruled) {
			continue
		}
		n += all[i].Count
		if best == nil || best.Verdict == audit.Passed || all[i].Ruled.Verdict == audit.Rejected && best.Verdict != audit.Rejected {
			best = all[i].Ruled
		}
	}

	if best == nil {
		return true
	}
	d := b.row(best)
	d.Count = n
	d.Offset = b.info.BaseOffset
	d.Outcome = b.e.Outcome.String()

	if b.info.State == StateRefused {
		d.Outcome = NotStored
	}

	if b.e.Reason != "" {
		d.Reason = b.e.Reason
	}
	return yield(d)
}

func (b *batchRows) each(m *matcher, all []audit.Span, yield func(Decision) bool) bool {
	for i := range all {
		if m.f.Reverse {
			i = len(all) - 1 - i
		}
		if s := &all[i]; m.ruled(s.Ruled) && !b.records(m, s, yield) {
			return false
		}
	}
	return true
}

func (b *batchRows) records(m *matcher, s *audit.Span, yield func(Decision) bool) bool {
	lo := 0
	hi := s.Count
	if m.hasID && m.id.Index >= 0 { // the one record asked for
		lo = max(m.id.Index-s.First, 0)
		hi = min(m.id.Index-s.First+1, s.Count)
	}

	if m.f.ByRun && !m.hasID {
		d := b.record(s, 0)
		d.Count = s.Count
		return yield(d)
	}

	for i := lo; i < hi; i++ {
		n := i
		if m.f.Reverse {
			n = lo + hi - 1 - i
		}
		if !yield(b.record(s, n)) {
			return false
		}
	}

	return true
}

func (b *batchRows) record(s *audit.Span, n int) Decision {
	d := b.row(s.Ruled)
	d.Index = s.First + n
	d.Count = 1
	d.ID.Index = d.Index

	if b.info.BaseOffset >= 0 {
		d.Offset = b.info.BaseOffset + int64(d.Index)
	}
	if s.Ruled.Verdict == audit.Routed {
		d.Routed = b.routed(s, n)
	}

	return d
}

// routed says where a routed record went, always in the same cluster. Its place among the records of the
// same route is its place in their batch.
func (b *batchRows) routed(s *audit.Span, n int) *Coordinate {
	to := &Coordinate{
		Cluster:   b.e.Cluster,
		Topic:     s.Ruled.Route,
		Partition: -1,
		Offset:    -1,
	}

	bound, ok := b.it.Bound(s.Ruled.Route)
	if !ok {
		return to
	}

	to.Partition = bound.Partition
	if bound.Base < 0 {
		return to
	}

	index := 0
	for _, r := range b.e.Runs {
		ruling := &b.e.Rulings[r.Ruling]
		if index >= s.First {
			break
		}
		if ruling.Verdict == audit.Routed && ruling.Route == s.Ruled.Route {
			n += int(r.Count)
		}

		index += int(r.Count)
	}

	to.Offset = bound.Base + int64(n)
	return to
}
