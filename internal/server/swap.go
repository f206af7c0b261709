package server

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// swap serves under the fresh sets and closes the old ones once their last batches
// are through. What was revoked while they were built does not come back.
func (r *reloader) swap(ctx context.Context, edition int, sets map[string]*admission.Set, modules map[string]admission.Module) {
	r.mu.Lock()
	old := r.sets
	r.assignConduct(sets)
	r.since = sinceWhen(r.since, sets, r.now())
	r.sets = sets
	r.modules = modules
	r.admin = newAdminPolicy(r.work.policy, r.cfg, r.now)
	r.builtFor = edition
	r.revoked = map[string]*admission.Refused{}

	if r.edition != edition {
		r.findRevoked(ctx)
	}
	r.serveAll()
	r.mu.Unlock()

	for _, set := range old {
		if err := set.Close(ctx); err != nil {
			r.log.Warn("closing replaced modules", zap.Error(err))
		}
	}
}

// serveAll serves the sets in force without what was revoked. The caller holds
// mu, so that no revocation comes in between.
func (r *reloader) serveAll() {
	for cluster, set := range r.sets {
		b := gateway.NewBindings(without(set.Bindings, r.outOfService), unbound(r.cfg))
		r.serve(cluster, b.Under(r.admin))
	}
}

// outOfService says why a module that was admitted does not run now; nil: it does.
// The caller holds mu.
func (r *reloader) outOfService(module string) *admission.Refused {
	if refused := r.revoked[module]; refused != nil {
		return refused
	}
	return r.stale
}

// without are bindings of which those that need a module that is out of service
// refuse. The others are as they were.
func without(bindings []gateway.Binding, outOfService func(module string) *admission.Refused) []gateway.Binding {
	bindings = slices.Clone(bindings)
	for i, b := range bindings {
		for _, m := range b.Grant.Modules {
			if refused := outOfService(m.Name); refused != nil {
				bindings[i].Grant = refusing(b.Grant, refused)
				break
			}
		}
	}

	return bindings
}

// refusing is a grant under which nothing may be produced any more, with the
// code that producers are told.
func refusing(g *pipeline.Grant, refused *admission.Refused) *pipeline.Grant {
	out := *g
	out.Chain = nil
	out.Refusal = refused.Outcome
	out.Why = refused.Code

	return &out
}
