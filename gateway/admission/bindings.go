package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// Rule is one binding as configured: where it holds, which modules run there,
// and what becomes of what they refuse.
type Rule struct {
	Place
	Cluster    string // whose topics the binding names; for the log, which several share
	Modules    []string
	RejectCode int16
	Recompress recordbatch.Compression
	Evidence   audit.Evidence
	KeepCodec  bool
	// RejectDrops rejects a batch where a dropped record would leave a
	// placeholder behind.
	RejectDrops bool
}

// Set is a built snapshot: bindings to serve under, and the modules that they
// hold, to close when the next snapshot has taken over.
type Set struct {
	Bindings []gateway.Binding
	Refusals []*Refusal // modules that were not admitted, and where
	Kept     []*Refusal // modules that go on as before, since somebody could not be asked

	// From and Until enclose the time for which all of it would be found again. Zero
	// is open.
	From, Until time.Time

	pools *Pools
	held  []*running
	asked [][]trial // by binding
}

// Admitted is a module on a binding, as it was judged there.
type Admitted struct {
	Module    string
	Digest    [32]byte
	Config    [32]byte         // the digest of its configuration
	Verified  signing.Verified // zero where nothing was proved
	Functions []string         // that it may call
	Limits    policy.Limits    // of its instances
	Tables    []string         // that it looks things up in: name and digest of each
	Package   signing.Package
	Refused   *Refused // nil: it runs
}

// Admitted are the modules of a binding of the set, in the order of its chain.
func (s *Set) Admitted(binding int) []Admitted {
	var all []Admitted
	for _, t := range s.asked[binding] {
		one := Admitted{
			Module:    t.exam.module.Name,
			Digest:    t.exam.digest,
			Config:    t.exam.config,
			Verified:  t.exam.verified,
			Functions: t.judged.decision.HostFunctions,
			Limits:    t.judged.decision.Limits,
			Package:   t.exam.module.Package,
		}
		if t.running == nil {
			one.Refused = t.refused
		} else {
			one.Tables = t.running.tables
		}
		all = append(all, one)
	}

	return all
}

// Refusal is a refused module with the bindings that it was refused for, so
// that one cause is told once.
type Refusal struct {
	*Refused
	Bindings []string
}

// Error names the module, the reason and one of the bindings. Of more than one
// it says how many.
func (r *Refusal) Error() string {
	if len(r.Bindings) == 1 {
		return fmt.Sprintf("%v (binding %s)", r.Refused, r.Bindings[0])
	}
	return fmt.Sprintf("%v (binding %s and %d more)", r.Refused, r.Bindings[0], len(r.Bindings)-1)
}

// Close ends the snapshot's use of its modules; batches under way of those that
// nobody else uses are waited for until ctx ends.
func (s *Set) Close(ctx context.Context) error {
	var errs []error
	for _, r := range s.held {
		errs = append(errs, s.pools.give(ctx, r))
	}

	s.held = nil
	return errors.Join(errs...)
}

// Current reports whether nothing that the set was judged by has begun or ended
// since. The clock may have been set back as well as forward.
func (s *Set) Current(now time.Time) bool { return holds(s.From, s.Until, now) }

// Build admits the modules of every rule and compiles the bindings. A module
// that is refused makes its binding refuse; an error means that a verdict could
// not be recorded, and that nothing may be served under the new bindings.
func (a *Admitter) Build(ctx context.Context, rules []Rule, modules map[string]Module) (*Set, error) {
	b := &building{
		Admitter: a,
		set:      &Set{pools: a.Pools},
		parts:    map[*running]part{},
		refusals: map[refusalKey]*Refusal{},
	}

	a.Memory.begin(a)
	trials, questions, err := a.trials(ctx, rules, modules)
	if err != nil {
		return nil, err
	}

	b.set.held = a.decide(ctx, questions)
	if err := a.recordAll(ctx, trials); err != nil {
		return nil, errors.Join(err, b.set.Close(ctx))
	}

	next := 0
	for _, r := range rules {
		asked := trials[next : next+len(r.Modules)]
		b.bind(r, asked)
		b.set.asked = append(b.set.asked, asked)
		next += len(r.Modules)
	}

	return b.set, nil
}

// building is a set in the making, which Build fills rule by rule.
type building struct {
	*Admitter
	set      *Set
	parts    map[*running]part
	refusals map[refusalKey]*Refusal
}

type refusalKey struct {
	module, code string
	kept         bool
}

// part is what a running module adds to a grant. Bindings share it, since there
// may be thousands of one module.
type part struct {
	modules []audit.ModuleRef
	reasons [][]string
	routes  [][]string
	chain   *transforms.Chain
}

// bind makes a rule's binding of what was decided of its modules. One module
// that may not run makes the whole binding refuse.
func (b *building) bind(r Rule, trials []trial) {
	g := &pipeline.Grant{
		Binding:     r.Binding,
		RejectCode:  r.RejectCode,
		Recompress:  r.Recompress,
		KeepCodec:   r.KeepCodec,
		RejectDrops: r.RejectDrops,
		Evidence:    r.Evidence,
	}

	var chain []*running
	for _, t := range trials {
		b.bound(t)
		if t.running == nil { // every refusal of the binding is worth telling
			b.note(t, r.Binding, &b.set.Refusals, false)
			if g.Refusal == audit.OutcomePassed {
				g.Refusal = t.refused.Outcome
				g.Why = t.refused.Code
			}
			continue
		}

		if t.refused != nil {
			b.note(t, r.Binding, &b.set.Kept, true)
		}
		chain = append(chain, t.running)
		g.PolicyRevision = t.judged.decision.PolicyRevision
		g.GrantDigest = audit.Digest(g.GrantDigest).And(t.exam.verified.GrantDigest)
		g.ValidUntil = earlier(g.ValidUntil, t.judged.decision.ValidUntil)
	}

	b.setChain(g, chain, r.Isolation == PerTopic)
	b.set.Bindings = append(b.set.Bindings, gateway.Binding{
		Topics:     r.Topics,
		Principals: r.Principals,
		ClientIDs:  r.ClientIDs,
		Sources:    r.Sources,
		TLS:        r.TLS,
		Grant:      g,
	})
}

// bound narrows the time for which the set is current to that for which a
// trial's judgement holds.
func (b *building) bound(t trial) {
	b.set.From = later(b.set.From, t.judged.from)
	b.set.Until = earlier(b.set.Until, t.judged.until)
}

func (b *building) note(t trial, binding string, to *[]*Refusal, kept bool) {
	key := refusalKey{t.refused.Module, t.refused.Code, kept}
	r := b.refusals[key]
	if r == nil {
		r = &Refusal{Refused: t.refused}
		b.refusals[key] = r
		*to = append(*to, r)
	}

	r.Bindings = append(r.Bindings, binding)
}

// setChain gives a grant its modules. Bindings of one module each share all that is
// the module's.
func (b *building) setChain(g *pipeline.Grant, chain []*running, isolated bool) {
	switch len(chain) {
	case 0:
		return
	case 1:
		p, ok := b.parts[chain[0]]
		if !ok {
			p = partOf(chain)
			b.parts[chain[0]] = p
		}
		p.give(g, isolated)
	default:
		partOf(chain).give(g, isolated)
	}
}

func partOf(chain []*running) part {
	var p part
	var all []*transforms.Module
	for _, r := range chain {
		p.modules = append(p.modules, audit.ModuleRef{Name: r.module.Name(), Digest: r.module.Digest()})
		p.reasons = append(p.reasons, r.reasons)
		p.routes = append(p.routes, r.routes)
		all = append(all, r.module)
	}

	p.chain = transforms.NewChain(all...)
	return p
}

func (p part) give(g *pipeline.Grant, isolated bool) {
	g.Modules = p.modules
	g.Reasons = p.reasons
	g.Routes = p.routes
	g.Chain = p.chain
	if isolated {
		g.Chain = p.chain.PerTopic()
	}
}
