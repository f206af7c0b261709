package server

import (
	"context"
	"fmt"
	"os"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/signing"
)

// Check returns every problem that can be found without serving.
func Check(ctx context.Context, path string) []error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return []error{err}
	}

	cfg, err := config.Parse(raw, path)
	if err != nil {
		return unjoin(err)
	}

	var found []error
	if _, err := loadKeys(cfg); err != nil {
		found = append(found, unjoin(err)...)
	}
	if _, err := loadPolicy(ctx, cfg); err != nil {
		found = append(found, fmt.Errorf("policy.path: %w", err))
	}

	found = append(found, checkTLS(cfg)...)
	return append(found, checkModules(ctx, cfg)...)
}

func checkTLS(cfg *config.Config) []error {
	s := &Server{cfg: cfg}
	var found []error
	for _, cl := range cfg.Clusters {
		if t := cl.Listen.TLS; t != nil {
			if _, err := s.serverTLS(t); err != nil {
				found = append(found, fmt.Errorf("%s: listen.tls: %w", cl.Name, err))
			}
		}

		if _, err := s.access(cl); err != nil {
			found = append(found, fmt.Errorf("%s: %w", cl.Name, err))
		}
		if u := cl.Broker.Upstream; u != nil {
			if _, _, err := s.realCluster(u); err != nil {
				found = append(found, fmt.Errorf("%s: %w", cl.Name, err))
			}
		}
	}

	return found
}

// checkModules verifies every module as admission would, up to where policy
// and the sandbox take over.
func checkModules(ctx context.Context, cfg *config.Config) []error {
	if len(cfg.Modules) == 0 {
		return nil
	}
	raw, err := os.ReadFile(cfg.File(cfg.Trust.Root))
	if err != nil {
		return []error{fmt.Errorf("trust.root: %w", err)}
	}

	trust, err := signing.ParseTrustRoot(raw)
	if err != nil {
		return []error{fmt.Errorf("trust.root: %w", err)}
	}

	s := &Server{cfg: cfg}
	dry, err := newDryRun(ctx, cfg, trust)
	if err != nil {
		return []error{err}
	}

	defer dry.close(ctx)
	var found []error
	modules := map[string]admission.Module{}
	for _, m := range cfg.Modules {
		modules[m.Name] = s.readModule(m)
	}

	for _, cl := range cfg.Clusters {
		set, err := dry.admitter.Build(ctx, s.rules(cl.Name), modules)
		if err != nil {
			found = append(found, err)
			continue
		}

		for _, r := range set.Refusals {
			found = append(found, r)
		}
		found = append(found, unjoin(set.Close(ctx))...)
	}

	return found
}

// unjoin takes errors.Join apart again.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
