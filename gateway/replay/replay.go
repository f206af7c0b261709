// Package replay makes a decision of the log once more: the modules and the
// configurations that the log names by digest, with their grants and limits, over the
// batch that somebody has kept. It tells what comes out as the log says, what does not,
// and what nothing can be said about.
//
// A batch passes through the gateway's own pipeline, whose ends are cut off here: the log
// captures, nothing is stored, and no cluster is asked. The log holds no output and no
// digest of one, but a MAC of what was forwarded, under the audit key. Records have the
// only clock, and what modules count starts empty.
//
// Trust: modules and input are as hostile as in a gateway, and run in the same sandbox.
// What is read by digest is held against it. No finding quotes a record.
package replay

import (
	"context"
	"slices"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
)

// Decision is what the log holds of the decision on a batch.
type Decision struct {
	Entry      *audit.BatchEntry
	MAC        audit.MACID
	Index      int                   // of the record that is asked about; -1 for the batch
	Admissions []*audit.ControlEntry // that let its modules run, in the order of its chain
	Bindings   []objects.Binding     // of which it may have been, as the gateway served them
}

// Materials are what a decision is made of that the log names, or does not hold.
type Materials struct {
	Objects *objects.Store
	Keys    map[string][]byte // secrets that were granted, by name
	Tables  map[string][]byte // files to look up in, by the tables' names
	Audit   [][32]byte        // audit keys, one of which the MAC is under
	Trial   []string          // as of transforms.Config
}

// State is what was found of one thing that the log says.
type State string

// The states.
const (
	Same    State = "same"
	Differs State = "differs"
	Unknown State = "unknown" // it could not be compared
)

// Finding is one thing that was compared, or could not be.
type Finding struct {
	What  string `json:"what"`
	State State  `json:"state"`
	Text  string `json:"text"`
}

// Result is all that was found.
type Result struct {
	State    State     `json:"state"`
	Findings []Finding `json:"findings"`
	Notes    []string  `json:"notes,omitempty"`
}

func (r *Result) add(what string, state State, text string) {
	r.Findings = append(r.Findings, Finding{what, state, text})
}

// count is how many findings have a state.
func (r *Result) count(s State) (n int) {
	for _, f := range r.Findings {
		if f.State == s {
			n++
		}
	}
	return n
}

// settle sums the findings up: one that differs decides, and then one that could not be
// compared.
func (r *Result) settle() {
	r.State = Same
	switch {
	case r.count(Differs) > 0:
		r.State = Differs
	case r.count(Unknown) > 0:
		r.State = Unknown
	}
}

// betterThan reports whether the log's words are met by more of this result.
func (r *Result) betterThan(other *Result) bool {
	if d := r.count(Differs) - other.count(Differs); d != 0 {
		return d < 0
	}
	return r.count(Unknown) < other.count(Unknown)
}

// Run makes the decision once more. An error means that it could not be made at all:
// something is not there that it was made of.
func Run(ctx context.Context, d *Decision, in *Input, m *Materials) (*Result, error) {
	if cause := circumstance(d.Entry); cause != "" {
		r := &Result{}
		r.add("outcome", Unknown, cause)
		r.settle()
		return r, nil
	}

	single, misfit := in.fits(d)
	if misfit != "" {
		r := &Result{}
		r.add("input", Differs, misfit)
		r.settle()
		return r, nil
	}

	chain, err := m.chain(d)
	if err != nil {
		return nil, err
	}

	c := comparison{
		d:         d,
		in:        in,
		materials: m,
		chain:     chain,
		single:    single,
	}

	var best *Result
	for how := range c.ways() {
		got, err := c.decide(ctx, how)
		if err != nil {
			return nil, err
		}

		r := c.compare(got)
		if best == nil || r.betterThan(best) {
			best = r
		}
		if best.State == Same {
			break
		}
	}

	return best, nil
}

// circumstances are the reasons of a gateway for what came of the moment, not of the
// batch: what was open, full, late or away then. Limits of a configuration are among them.
var circumstances = []string{"out_of_order", "unknown_topic_id", "grant_expired", "audit_unavailable", "route_failed", "no_memory",
	"module_suspended", "timeout_again", "era_unknown", "unknown_partition", "shutting_down", "module_closed", "too_large", "batch_too_large"}

// circumstance says why no replay can come to what the log says, or nothing.
func circumstance(e *audit.BatchEntry) string {
	switch {
	case e.Outcome == audit.OutcomeNoModule, e.Outcome == audit.OutcomePolicyDenied, e.Outcome == audit.OutcomeUnavailable:
		return "no module judged the batch: " + e.Outcome.String() + ", " + e.Reason
	case slices.Contains(circumstances, e.Reason):
		return "the batch was refused by what the gateway met with at that moment: " + e.Reason
	}
	return ""
}
