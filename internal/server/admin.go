package server

import (
	"context"
	"time"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/policy"
)

// adminPolicy asks the policy about requests of administrators, in the name of
// this gateway.
type adminPolicy struct {
	engine  *policy.Engine
	gateway policy.AdminGateway
	now     func() time.Time
}

func newAdminPolicy(engine *policy.Engine, cfg *config.Config, now func() time.Time) adminPolicy {
	at := policy.AdminGateway{
		ID:            cfg.Node,
		Environment:   cfg.Environment,
		Version:       build.Read().Version,
		UnboundTopics: cfg.UnboundTopics,
	}
	return adminPolicy{engine: engine, gateway: at, now: now}
}

// JudgeAdmin implements gateway.AdminPolicy: it puts the question into the
// policy's own terms.
func (a adminPolicy) JudgeAdmin(ctx context.Context, q gateway.AdminQuestion) (gateway.AdminVerdict, error) {
	source := ""
	if q.Client.Source.IsValid() {
		source = q.Client.Source.String()
	}

	var settings []policy.Setting
	for _, s := range q.Action.Settings {
		settings = append(settings, policy.Setting{Name: s.Name, Value: s.Value, Removed: s.Removed})
	}

	d, err := a.engine.DecideAdmin(ctx, policy.AdminInput{
		Request: policy.AdminRequest{
			API:      q.API,
			Resource: string(q.Action.Resource),
			Name:     q.Action.Name,
			Bound:    q.Bound,
			Settings: settings,
		},
		Client: policy.Client{
			Principal: q.Client.Principal,
			ClientID:  q.Client.ID,
			Source:    source,
			TLS:       q.Client.TLS.String(),
		},
		Gateway: a.gateway,
		Now:     a.now(),
	})

	return gateway.AdminVerdict{Allow: d.Allow, Reasons: d.Reasons, Revision: a.engine.Revision()}, err
}
