package audit

// ReasonOtherRecord is the reason of a record that no module rejected, in a
// batch that was refused because of another record.
const ReasonOtherRecord = "other_record_rejected"

// RuledOutcome is what became of the records with one ruling.
type RuledOutcome struct {
	Verdict Verdict
	Outcome string
	Reason  string
	Module  *ModuleRef
	Route   string
}

// Span is a run of a batch's records with its place.
type Span struct {
	Ruled *RuledOutcome
	First int // index in the batch
	Count int
}

// RuledOutcomes gives the outcome of each ruling, or one for all records where
// there is no ruling.
func (e *BatchEntry) RuledOutcomes() []RuledOutcome {
	if len(e.Rulings) == 0 {
		return []RuledOutcome{e.unruled()}
	}

	out := make([]RuledOutcome, len(e.Rulings))
	for i := range e.Rulings {
		out[i] = e.ruled(&e.Rulings[i])
	}
	return out
}

// unruled is what became of all records where there is no ruling.
func (e *BatchEntry) unruled() RuledOutcome {
	v := Rejected
	if e.Outcome <= OutcomeRouted {
		v = Verdict(e.Outcome)
	}
	return RuledOutcome{
		Verdict: v,
		Outcome: e.Outcome.String(),
		Reason:  e.Reason,
		Module:  e.soleModule(),
	}
}

func (e *BatchEntry) ruled(r *Ruling) RuledOutcome {
	f := RuledOutcome{
		Verdict: r.Verdict,
		Outcome: r.Verdict.String(),
		Reason:  r.Reason,
		Route:   r.Route,
		Module:  e.soleModule(),
	}

	if r.Verdict != Passed {
		f.Module = &e.Modules[r.Module]
	}
	if e.Outcome.Forwards() {
		return f
	}

	f.Outcome = e.Outcome.String()
	if r.Verdict != Rejected {
		f.Reason = e.Reason
		if e.rejects() {
			f.Reason = ReasonOtherRecord
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

// RefusedWhole reports whether the batch was refused before its records were
// judged. Their number is then only what the sender claims.
func (e *BatchEntry) RefusedWhole() bool { return len(e.Runs) == 0 && !e.Outcome.Forwards() }

// Decisions is how many decisions the entry counts for.
func (e *BatchEntry) Decisions() int {
	if e.RefusedWhole() {
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

// Spans lays the runs out.
func (e *BatchEntry) Spans(ruledOutcomes []RuledOutcome) []Span {
	if len(e.Runs) == 0 {
		return []Span{{Ruled: &ruledOutcomes[0], Count: e.Records}}
	}
	out := make([]Span, 0, len(e.Runs))
	index := 0
	for _, r := range e.Runs {
		out = append(out, Span{Ruled: &ruledOutcomes[r.Ruling], First: index, Count: int(r.Count)})
		index += int(r.Count)
	}

	return out
}

// Clone copies what rows will point to: the scanner reuses its entry.
func (e *BatchEntry) Clone() *BatchEntry {
	c := *e
	c.Modules = append([]ModuleRef(nil), e.Modules...)
	return &c
}
