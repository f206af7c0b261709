package audit

// ReasonOtherRecord is the reason of a record that no module rejected, in a
// batch that was refused because of another record.
const ReasonOtherRecord = "other_record_rejected"

// fate is what became of the records with one ruling.
type fate struct {
	verdict Verdict
	outcome string
	reason  string
	module  *ModuleRef
	route   string
}

// stretch is a run of a batch's records with its place.
type stretch struct {
	fate   *fate
	first  int // index in the batch as sent
	count  int
	stored int // index of the first in the batch as stored; -1 if these are taken out
}

// fates gives the fate of each ruling, or one for all records where there is no
// ruling.
func (e *BatchEntry) fates() []fate {
	if len(e.Rulings) == 0 {
		v := Rejected
		if e.Outcome <= OutcomeRouted {
			v = Verdict(e.Outcome)
		}
		return []fate{{verdict: v, outcome: e.Outcome.String(), reason: e.Reason, module: e.soleModule()}}
	}

	out := make([]fate, len(e.Rulings))
	for i := range e.Rulings {
		out[i] = e.fate(&e.Rulings[i])
	}
	return out
}

func (e *BatchEntry) fate(r *Ruling) fate {
	f := fate{
		verdict: r.Verdict,
		outcome: r.Verdict.String(),
		reason:  r.Reason,
		route:   r.Route,
		module:  e.soleModule(),
	}

	if r.Verdict != Passed {
		f.module = &e.Modules[r.Module]
	}
	if e.Outcome.Forwards() {
		return f
	}

	f.outcome = e.Outcome.String()
	if r.Verdict != Rejected {
		f.reason = e.Reason
		if e.rejects() {
			f.reason = ReasonOtherRecord
		}
	}

	return f
}

// rejects reports whether a module rejected any record.
func (e *BatchEntry) rejects() bool {
	for i := range e.Rulings {
		if e.Rulings[i].Verdict == Rejected {
			return true
		}
	}
	return false
}

// refusedWhole reports whether the batch was refused before its records were
// judged. Their number is then only what the sender claims.
func (e *BatchEntry) refusedWhole() bool { return len(e.Runs) == 0 && !e.Outcome.Forwards() }

// decisions is how many decisions the entry counts for.
func (e *BatchEntry) decisions() int {
	if e.refusedWhole() {
		return 1
	}
	return e.Records
}

func (e *BatchEntry) soleModule() *ModuleRef {
	if len(e.Modules) != 1 {
		return nil
	}
	return &e.Modules[0]
}

// stretches lays the runs out.
func (e *BatchEntry) stretches(fates []fate) []stretch {
	if len(e.Runs) == 0 {
		return []stretch{{fate: &fates[0], count: e.Records}}
	}
	out := make([]stretch, 0, len(e.Runs))
	index := 0
	stored := 0
	takesOut := e.takesOut()
	for _, r := range e.Runs {
		s := stretch{
			fate:   &fates[r.Ruling],
			first:  index,
			count:  int(r.Count),
			stored: stored,
		}
		if takesOut && s.fate.verdict.withdraws() {
			s.stored = -1
		} else {
			stored += s.count
		}

		index += s.count
		out = append(out, s)
	}

	return out
}

// rows turns an entry into decisions and gives those that match to yield, in
// the filter's direction; false ends it.
func (m *matcher) rows(it *item, yield func(Decision) bool) bool {
	if it.kind != KindBatch {
		if !m.control(it.control) {
			return true
		}
		return yield(Decision{
			ID:         DecisionID{it.node, it.seq, -1},
			Kind:       it.kind,
			Time:       it.control.Time,
			Coordinate: Coordinate{Offset: -1},
			Index:      -1,
			Outcome:    it.control.Outcome,
			Reason:     it.control.Reason,
			Module:     optionalModule(it.control.Module),
			Caller:     Caller{Principal: it.control.Principal},
			Control:    it.control,
		})
	}

	if !m.batch(it.batch) || !m.anyFate(it.batch) {
		return true
	}
	e := it.batch.clone()
	b := batchRows{it: it, e: e, info: it.info(e)}
	stretches := e.stretches(e.fates())

	if m.f.ByBatch || e.refusedWhole() && !(m.hasID && m.id.Index >= 0) {
		return b.whole(m, stretches, yield)
	}
	return b.each(m, stretches, yield)
}

// anyFate reports whether any record of the batch matches.
func (m *matcher) anyFate(e *BatchEntry) bool {
	if m.f.Outcome == "" && m.f.Reason == "" && m.f.Module == "" {
		return true
	}
	for _, f := range e.fates() {
		if m.fate(&f) {
			return true
		}
	}

	return false
}

// clone copies what rows will point to: the scanner reuses its entry.
func (e *BatchEntry) clone() *BatchEntry {
	c := *e
	c.Modules = append([]ModuleRef(nil), e.Modules...)
	return &c
}

// info gathers what the rows of a batch share.
func (it *item) info(e *BatchEntry) *BatchInfo {
	info := &BatchInfo{
		Seq:        it.seq,
		Authority:  e.Authority,
		TopicID:    e.TopicID,
		Producer:   e.Producer,
		Payload:    e.Payload,
		Outcome:    e.Outcome,
		Reason:     e.Reason,
		State:      StateNotForwarded,
		BaseOffset: -1,
		Evidence:   e.Evidence,
		mac:        macID{it.epoch, e.nonce, e.mac},
	}

	if !e.Outcome.Forwards() {
		return info
	}
	info.State = StateUnknown
	b, ok := it.bound("")
	if !ok {
		return info
	}

	info.BaseOffset = b.base
	info.ErrorCode = b.errorCode
	info.Recovered = b.recovered

	if b.appendTime != 0 {
		info.AppendTime = timeOf(b.appendTime)
	}
	switch {
	case b.errorCode != 0:
		info.State = StateRefused
	case b.base >= 0:
		info.State = StateStored
	}

	return info
}

// batchRows makes the rows of one batch.
type batchRows struct {
	it   *item
	e    *BatchEntry
	info *BatchInfo
}

func (b *batchRows) row(t *fate) Decision {
	return Decision{
		ID:         DecisionID{b.it.node, b.it.seq, -1},
		Kind:       KindBatch,
		Time:       b.e.Time,
		Coordinate: Coordinate{b.e.Cluster, b.e.Topic, b.e.Partition, -1},
		Index:      -1,
		Outcome:    t.outcome,
		Verdict:    t.verdict,
		Reason:     t.reason,
		Module:     t.module,
		Caller:     b.e.Caller,
		Batch:      b.info,
	}
}

// whole makes the one row of a batch, if any of its records matches. It tells
// of the most telling of them: one that did not just pass.
func (b *batchRows) whole(m *matcher, all []stretch, yield func(Decision) bool) bool {
	var best *fate
	n := 0
	for i := range all {
		if !m.fate(all[i].fate) {
			continue
		}
		n += all[i].count
		if best == nil || best.verdict == Passed || all[i].fate.verdict == Rejected && best.verdict != Rejected {
			best = all[i].fate
		}
	}

	if best == nil {
		return true
	}
	d := b.row(best)
	d.Count, d.Outcome, d.Offset = n, b.e.Outcome.String(), b.info.BaseOffset

	if b.e.Reason != "" {
		d.Reason = b.e.Reason
	}
	return yield(d)
}

func (b *batchRows) each(m *matcher, all []stretch, yield func(Decision) bool) bool {
	for i := range all {
		if m.f.Reverse {
			i = len(all) - 1 - i
		}
		if s := &all[i]; m.fate(s.fate) && !b.records(m, s, yield) {
			return false
		}
	}
	return true
}

func (b *batchRows) records(m *matcher, s *stretch, yield func(Decision) bool) bool {
	lo := 0
	hi := s.count
	if m.hasID && m.id.Index >= 0 { // the one record asked for
		lo = max(m.id.Index-s.first, 0)
		hi = min(m.id.Index-s.first+1, s.count)
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

func (b *batchRows) record(s *stretch, n int) Decision {
	d := b.row(s.fate)
	d.Index = s.first + n
	d.Count = 1
	d.ID.Index = d.Index

	if s.stored >= 0 && b.info.BaseOffset >= 0 {
		d.Offset = b.info.BaseOffset + int64(s.stored+n)
	}
	if s.fate.verdict == Routed {
		d.Routed = b.routed(s, n)
	}

	return d
}

// routed says where a routed record went, always in the same cluster. Its place among the records of the
// same route is its place in their batch.
func (b *batchRows) routed(s *stretch, n int) *Coordinate {
	to := &Coordinate{Cluster: b.e.Cluster, Topic: s.fate.route, Partition: -1, Offset: -1}
	bound, ok := b.it.bound(s.fate.route)
	if !ok {
		return to
	}

	to.Partition = bound.partition
	if bound.base < 0 {
		return to
	}

	index := 0
	for _, r := range b.e.Runs {
		ruling := &b.e.Rulings[r.Ruling]
		if index >= s.first {
			break
		}
		if ruling.Verdict == Routed && ruling.Route == s.fate.route {
			n += int(r.Count)
		}

		index += int(r.Count)
	}

	to.Offset = bound.base + int64(n)
	return to
}
