package admission

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms"
)

// Rule is one binding as configured.
type Rule struct {
	Place
	Modules    []string
	RejectCode int16
	Recompress recordbatch.Compression
	Evidence   audit.Evidence
	KeepCodec  bool
	// RejectDrops rejects a batch where a dropped record would leave a placeholder.
	RejectDrops bool
}

// Set is a built snapshot: bindings to serve under, and the modules that they
// hold, to close when the next snapshot has taken over.
type Set struct {
	Bindings []gateway.Binding
	Refusals []*Refused // modules that were not admitted
	modules  []*transforms.Module
}

// Close ends the snapshot's modules; batches under way are waited for until
// ctx ends.
func (s *Set) Close(ctx context.Context) error {
	var errs []error
	for _, m := range s.modules {
		errs = append(errs, m.Close(ctx))
	}
	return errors.Join(errs...)
}

// Expires returns the earliest time at which some grant ends, zero if none does.
func (s *Set) Expires() time.Time {
	var first time.Time
	for _, b := range s.Bindings {
		if v := b.Grant.ValidUntil; !v.IsZero() && (first.IsZero() || v.Before(first)) {
			first = v
		}
	}
	return first
}

// Build admits the modules of every rule and compiles the bindings. A module
// that is refused makes its binding refuse; an error means that a verdict could
// not be recorded, and that nothing may be served under the new bindings.
func (a *Admitter) Build(ctx context.Context, rules []Rule, modules map[string]Module) (*Set, error) {
	s := &Set{}
	for _, r := range rules {
		g, err := a.grant(ctx, r, modules, s)
		if err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
		s.Bindings = append(s.Bindings, gateway.Binding{
			Topics:     r.Topics,
			Principals: r.Principals,
			ClientIDs:  r.ClientIDs,
			Sources:    r.Sources,
			TLS:        r.TLS,
			Grant:      g,
		})
	}

	return s, nil
}

func (a *Admitter) grant(ctx context.Context, r Rule, modules map[string]Module, s *Set) (*pipeline.Grant, error) {
	g := &pipeline.Grant{
		Binding:     r.Binding,
		RejectCode:  r.RejectCode,
		Recompress:  r.Recompress,
		KeepCodec:   r.KeepCodec,
		RejectDrops: r.RejectDrops,
		Evidence:    r.Evidence,
	}

	var chain []*transforms.Module
	for _, name := range r.Modules {
		m, ok := modules[name]
		if !ok {
			return nil, fmt.Errorf("binding %s: module %s is not configured", r.Binding, name)
		}

		got, err := a.Admit(ctx, m, r.Place)
		var refused *Refused
		if errors.As(err, &refused) {
			s.Refusals = append(s.Refusals, refused)
			if g.Refusal == audit.OutcomePassed {
				g.Refusal = refused.Outcome
				g.Why = refused.Code
			}
			continue // every refusal of the binding is worth telling
		}

		if err != nil {
			return nil, err
		}
		s.modules = append(s.modules, got.Module)
		chain = append(chain, got.Module)
		addModule(g, got)
	}

	if len(chain) > 0 {
		g.Chain = transforms.NewChain(chain...)
	}
	return g, nil
}

// addModule notes a module that the grant's chain runs.
func addModule(g *pipeline.Grant, a Admitted) {
	g.Modules = append(g.Modules, audit.ModuleRef{Name: a.Module.Name(), Digest: a.Module.Digest()})
	g.Reasons = append(g.Reasons, a.Module.Reasons())
	g.Routes = append(g.Routes, a.Module.Routes())
	g.PolicyRevision = a.PolicyRevision
	g.GrantDigest = combine(g.GrantDigest, a.GrantDigest)

	if g.ValidUntil.IsZero() || a.ValidUntil.Before(g.ValidUntil) {
		g.ValidUntil = a.ValidUntil
	}
}

// combine makes one digest of a chain's grants; of a single one, itself.
func combine(a, b [32]byte) [32]byte {
	if a == ([32]byte{}) {
		return b
	}
	return sha256.Sum256(append(a[:], b[:]...))
}
