// Package admission decides which modules may run where, and builds from that
// the bindings that the gateway serves under. It is the one chain of trust: serve,
// check, module verify and the preview of module approve all run it.
//
// The order is fixed, cheapest and safest first (Steps names it), and each step's
// verdict goes into the decision log. A module that fails any step is not loaded,
// and a binding that needs it refuses all that is produced to its topics.
//
// Policy is one step of it and can only narrow. What it cannot lift is held here
// and in the rooms below: digest, author, quorum and ends of approvals and keys
// (signing), structure (transforms), imports and topics within the grant, routes and
// keys as granted, limits at most as granted (policy's floor).
//
// Trust: everything a module package says about itself is hostile. What counts
// is the trust root, the policy, and what they vouch for.
package admission

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// Recorder makes a control-plane decision durable before it takes effect. Where
// Record returns an error, the decision must not take effect.
type Recorder interface {
	Record(ctx context.Context, c audit.ControlEntry) error
}

// Module is a module package as configured. A Missing error stands for files
// that could not be read: the module is refused with it.
type Module struct {
	Name    string
	Package signing.Package
	Tables  map[string]*transforms.TableContent // files to look up in, by the tables' names
	Missing error
}

// Place is where a module is to run: the facts of its binding, as policy sees
// them and as the log names them.
type Place struct {
	Binding    string
	Topics     []string
	Principals []string
	ClientIDs  []string
	Sources    []netip.Prefix
	TLS        gateway.TLSLevel
	DataClass  string
	Isolation  Isolation
}

// Isolation is what a binding's guests are kept apart from.
type Isolation string

// From least to most. The empty one is shared, too.
const (
	Shared   Isolation = "shared"  // a guest serves topics and bindings one after the other
	PerTopic Isolation = "topic"   // no guest serves two topics
	Apart    Isolation = "process" // each guest has a process of its own
)

// Admitter holds what admission is decided by. It is immutable; a change of
// trust or policy makes a new one. It is safe for concurrent use.
type Admitter struct {
	Trust   *signing.TrustRoot
	Policy  *policy.Engine
	Runtime *transforms.Runtime
	Keys    map[string][]byte // secrets by name
	Record  Recorder
	Node    string
	Version string
	Limits  policy.Limits // what holds where approvals say nothing
	Now     func() time.Time

	// Keep is given each approval that counted, before the admission that it counted
	// for is recorded: an approval whose bundle cannot be kept admits nothing. Nil keeps
	// none.
	Keep func(id, key string, bundle []byte) error

	// MakeKeys lets random bytes stand in for keys that are not there. It is for
	// looking at a module where nothing of it is to run.
	MakeKeys bool

	Pools  *Pools  // what runs already
	Memory *Memory // what was asked already
}

// New completes an Admitter for one look: it knows nothing that was asked before,
// and shares no running module.
func New(a Admitter) *Admitter {
	a.Pools = NewPools()
	a.Memory = NewMemory()
	if a.Now == nil {
		a.Now = time.Now
	}

	return &a
}

// Examine takes a module through every step, records nothing, and leaves
// nothing running. It is for people who want to see the whole chain.
func (a *Admitter) Examine(ctx context.Context, m Module, at Place) Verdict {
	e := a.examine(ctx, m)
	j := a.judge(ctx, e, at, true)
	refused := j.refused
	if refused == nil {
		refused = a.tryStart(ctx, e, at, j.decision)
	}

	return Verdict{
		Module:   m.Name,
		Place:    at,
		Steps:    taken(e, j, refused),
		Refused:  refused,
		Digest:   e.digest,
		Verified: e.verified,
		Info:     e.info,
		Decision: j.decision,
		Until:    j.until,
	}
}

func (a *Admitter) tryStart(ctx context.Context, e *examination, at Place, d policy.Decision) *Refused {
	r, refused := a.start(ctx, e, at, d)
	if refused != nil {
		return refused
	}
	if err := a.Pools.give(ctx, r); err != nil {
		return refuse(e.module, audit.OutcomeNoModule, "load_failed", err)
	}

	return nil
}

// taken are the steps of an examination, of a judgement and of the start, in their
// order.
func taken(e *examination, j *judgement, refused *Refused) []Step {
	var all journal
	all.steps = append(all.steps, e.steps...)
	all.steps = append(all.steps, j.steps...)

	switch {
	case j.refused != nil:
	case refused != nil:
		all.refused(StepStart, refused)
	default:
		all.passed(StepStart, "starts with its configuration")
	}

	return all.all()
}

func (a *Admitter) record(ctx context.Context, c audit.ControlEntry) error {
	if err := a.Record.Record(ctx, c); err != nil {
		return fmt.Errorf("recording the admission of module %s: %w", c.Module.Name, err)
	}
	return nil
}
