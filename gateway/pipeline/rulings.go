package pipeline

import (
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms/record"
)

// rulings turns a batch's verdicts into the decision's entry, and counts what
// the outcome and the answer need.
type rulings struct {
	grant    *Grant
	now      time.Time
	entry    *audit.BatchEntry
	errors   []wire.RecordError
	removed  []wire.RecordError // dropped or routed, for a binding that rejects those
	rejected int
	dropped  int
	routed   int
	changed  int
	first    string // reason of the first rejected record
	by       uint8  // module that rejected it
}

// maxRecordErrors bounds the KIP-467 list of one answer. A producer learns
// enough from the first.
const maxRecordErrors = 100

func (r *rulings) add(b *record.Batch) {
	for i := 0; i < len(b.Records); {
		// Neighbours mostly share their ruling, so that it is looked up once
		// for each run.
		rec := &b.Records[i]
		n := 1
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

	out.Reason = r.grant.reason(rec, r.now)
	if rec.Verdict == record.Routed {
		out.Route = catalogued(r.grant.Routes, rec.Module, int(rec.Route))
	}
	return out
}

func catalogued(lists [][]string, module uint8, i int) string {
	if int(module) < len(lists) && i < len(lists[module]) {
		return lists[module][i]
	}
	return unspecified
}

func (r *rulings) count(rec *record.Record, ruling audit.Ruling, at, n int) {
	switch rec.Verdict {
	case record.Modified:
		r.changed += n
	case record.Dropped:
		r.dropped += n
		r.remove(ruling, at, n)
	case record.Routed:
		r.routed += n
		r.remove(ruling, at, n)
	case record.Rejected:
		if r.rejected == 0 {
			r.first = ruling.Reason
			r.by = rec.Module
		}

		r.rejected += n
		r.errors = appendErrors(r.errors, ruling, at, n)
	}
}

func (r *rulings) remove(ruling audit.Ruling, at, n int) {
	if r.grant.RejectDrops {
		r.removed = appendErrors(r.removed, ruling, at, n)
	}
}

// appendErrors says of n records from at on why they are not stored, as far as
// the list has room.
func appendErrors(list []wire.RecordError, ruling audit.Ruling, at, n int) []wire.RecordError {
	for i := 0; i < n && len(list) < maxRecordErrors; i++ {
		list = append(list, wire.RecordError{Index: int32(at + i), Message: ruling.Reason})
	}
	return list
}

// leavesPlaceholders reports whether something must stand in the place of a
// record. It stands there whoever the producer is: each takes the offset of a
// record from the batch's and the record's place in it.
func (r *rulings) leavesPlaceholders() bool { return r.dropped+r.routed > 0 }

// outcome sums up a batch that is forwarded, for the entry of its decision.
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
