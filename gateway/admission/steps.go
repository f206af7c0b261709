package admission

import (
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// The steps, in their order. The same words stand in the decision log, in the
// output of the commands and in the documents.
const (
	StepDigest    = "digest"    // the files are there and of a size that is ever accepted
	StepAuthor    = "author"    // somebody whom the trust root lists signed these bytes
	StepApprovals = "approvals" // enough people approved the same grant, with this configuration
	StepStructure = "structure" // the file is a module, and nothing in it is hostile
	StepImports   = "imports"   // it imports host functions only, and only those of the grant
	StepTopics    = "topics"    // the binding reaches no topic that was not approved
	StepPolicy    = "policy"    // policy allows it there
	StepStart     = "start"     // its keys are there, and it starts with its configuration
)

// Steps are the names of all steps, in the order in which they are taken.
func Steps() []string {
	return []string{StepDigest, StepAuthor, StepApprovals, StepStructure, StepImports, StepTopics, StepPolicy, StepStart}
}

// The verdicts of a step, as commands print them and the log has them.
const (
	Passed     = "passed"
	Failed     = "refused"
	NotReached = "not reached" // a step before it refused
)

// Step is one check of an admission, and what came of it. It is a value for
// people and for the log; nothing is decided by it.
type Step struct {
	Name    string
	Verdict string
	Code    string // of a refusal, from a closed catalogue
	Detail  string // for people: what was found, or what is wrong and what to do
}

// Verdict is all that admission found out about a module at a place, as far as
// it came.
type Verdict struct {
	Module  string
	Place   Place
	Steps   []Step   // all of them, whether reached or not
	Refused *Refused // nil: the module may run

	// What the steps found, as far as they came. What was not reached is zero.
	Digest   [32]byte
	Verified signing.Verified
	Info     transforms.Info
	Decision policy.Decision
	Until    time.Time // when it must be asked again
}

// Refused says why a module may not run. Code is from a closed catalogue; Err
// may hold more than others may see.
type Refused struct {
	Module  string
	Outcome audit.Outcome // OutcomeNoModule, OutcomePolicyDenied or OutcomeUnavailable
	Code    string
	Err     error
}

// Error names the module, the code and the cause, for the gateway's own log and
// for commands.
func (r *Refused) Error() string {
	return "module " + r.Module + " is refused (" + r.Code + "): " + r.Err.Error()
}

// Unwrap gives the cause, by which signatureCodes and tests tell refusals
// apart.
func (r *Refused) Unwrap() error { return r.Err }

// Undecided reports whether nobody said no: somebody could not be asked, and is to
// be asked again.
func (r *Refused) Undecided() bool { return r.Outcome == audit.OutcomeUnavailable }

// journal writes down the steps of one admission, in the order in which they
// were taken.
type journal struct{ steps []Step }

func (j *journal) passed(name, detail string) {
	j.steps = append(j.steps, Step{Name: name, Verdict: Passed, Detail: detail})
}

func (j *journal) refused(name string, r *Refused) {
	j.steps = append(j.steps, Step{Name: name, Verdict: Failed, Code: r.Code, Detail: r.Err.Error()})
}

// all are the steps that were taken, and after them those that were not
// reached, so that every admission shows every step.
func (j *journal) all() []Step {
	steps := j.steps
	for _, name := range Steps()[len(steps):] {
		steps = append(steps, Step{Name: name, Verdict: NotReached})
	}

	return steps
}

func listed(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
