package server

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/config"
)

// conduct keeps how modules conduct themselves, and records it behind the batches
// that showed it: none of them waits for the entry. Safe for concurrent use.
type conduct struct {
	*pipeline.Conducts
	wake chan struct{}

	mu      sync.Mutex
	waiting []audit.ControlEntry
}

func newConduct(l config.GatewayLimits) *conduct {
	c := &conduct{wake: make(chan struct{}, 1)}
	c.Conducts = pipeline.NewConducts(conductRules(l), c.add)
	return c
}

// add takes an entry and does not block. How many come is bounded by pauses that
// double.
func (c *conduct) add(e audit.ControlEntry) {
	c.mu.Lock()
	c.waiting = append(c.waiting, e)
	c.mu.Unlock()

	wake(c.wake)
}

// run records entries until ctx ends, and then those that are left.
func (c *conduct) run(ctx context.Context, r *reloader) {
	for {
		c.record(context.WithoutCancel(ctx), r)

		select {
		case <-ctx.Done():
			c.record(context.WithoutCancel(ctx), r)
			return
		case <-c.wake:
		}
	}
}

func (c *conduct) record(ctx context.Context, r *reloader) {
	c.mu.Lock()
	entries := c.waiting
	c.waiting = nil
	c.mu.Unlock()

	for _, e := range entries {
		tellConduct(r.log, e)
		r.note(ctx, e)
	}
}

// tellConduct writes a line of the gateway's own log. Its words are those of
// configuration and of closed catalogues.
func tellConduct(log *Logger, e audit.ControlEntry) {
	fields := []zap.Field{zap.String("binding", e.Subject), zap.String("module", e.Module.Name), zap.String("reason", e.Reason)}
	if e.Principal != "" {
		fields = append(fields, zap.String("client", e.Principal))
	}

	for _, s := range e.Steps {
		fields = append(fields, zap.String(s.Name, s.Verdict+" "+s.Detail))
	}

	switch {
	case e.Outcome == "lifted":
		log.Info("a suspended module is given batches again", fields...)
	case e.Outcome == "reasons_capped":
		log.Warn("a module gave more distinct reasons in an hour than limits.reasons_per_hour; the rest are recorded as reason_limit", fields...)
	case e.Principal != "":
		log.Warn("a module keeps failing on one client's batches, which are refused for a while", fields...)
	default:
		log.Warn("A MODULE IS SUSPENDED: it keeps failing, and all batches of its binding are refused for a while", fields...)
	}
}

// conductRules are those that the configuration sets.
func conductRules(l config.GatewayLimits) pipeline.ConductRules {
	return pipeline.ConductRules{
		ReasonsPerHour: l.ReasonsPerHour,
		Suspension: pipeline.SuspensionRules{
			Failures:     l.Suspend.Failures,
			Window:       l.Suspend.Window,
			Pause:        l.Suspend.Pause,
			LongestPause: l.Suspend.LongestPause,
		},
	}
}

// assignConduct gives the grants of sets, which are not served yet, what is known of
// their modules.
func (r *reloader) assignConduct(sets map[string]*admission.Set) {
	for cluster, set := range sets {
		grants := make([]*pipeline.Grant, len(set.Bindings))
		for i := range set.Bindings {
			grants[i] = set.Bindings[i].Grant
		}
		r.conduct.Assign(cluster, grants)
	}
}
