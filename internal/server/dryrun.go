package server

import (
	"context"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// dryRun admits modules as serve would, but records nothing and serves nothing.
type dryRun struct {
	admitter *admission.Admitter
}

func newDryRun(ctx context.Context, cfg *config.Config, trust *signing.TrustRoot) (*dryRun, error) {
	engine, err := loadPolicy(ctx, cfg)
	if err != nil {
		return nil, err
	}

	runtime, err := transforms.New(transforms.Config{})
	if err != nil {
		return nil, err
	}

	keys, err := loadKeys(cfg)
	if err != nil {
		keys = map[string][]byte{} // reported already
	}

	return &dryRun{&admission.Admitter{
		Trust:   trust,
		Policy:  engine,
		Runtime: runtime,
		Keys:    keys,
		Record:  forget{},
		Node:    cfg.Node,
		Version: build.Read().Version,
		Now:     time.Now,
	}}, nil
}

func (d *dryRun) close(ctx context.Context) { d.admitter.Runtime.Close(ctx) }

// forget records nothing: nothing takes effect.
type forget struct{}

func (forget) Record(context.Context, audit.ControlEntry) error { return nil }
