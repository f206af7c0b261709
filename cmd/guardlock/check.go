package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Report every problem of a configuration at once",
		Long: `Check reads a configuration as serve would, without opening a port, a broker or
the audit log: the file itself, then every file that it names, signatures,
approvals and the policy. Every problem is reported, each with its field.`,
		Example: "  guardlock check guardlock.yaml",
		Args:    needArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return reportCheck(cmd, args[0], checkConfig(cmd.Context(), args[0]))
		},
	}
}

func reportCheck(cmd *cobra.Command, path string, found []error) error {
	texts := make([]string, len(found))
	for i, err := range found {
		texts[i] = err.Error()
	}
	if wantsJSON(cmd) {
		out := struct {
			File     string   `json:"file"`
			OK       bool     `json:"ok"`
			Problems []string `json:"problems"`
		}{path, len(found) == 0, texts}
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(out); err != nil {
			return err
		}
	} else if len(found) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", path)
	}
	if len(found) == 0 {
		return nil
	}
	return refusedf("%s: %d problem(s)\n%w", path, len(found), errors.Join(found...))
}

// checkConfig returns every problem that can be found without serving.
func checkConfig(ctx context.Context, path string) []error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return []error{err}
	}
	cfg, err := parseConfig(raw, path)
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

func checkTLS(cfg *config) []error {
	s := &stack{cfg: cfg}
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
func checkModules(ctx context.Context, cfg *config) []error {
	if len(cfg.Modules) == 0 {
		return nil
	}
	raw, err := os.ReadFile(cfg.file(cfg.Trust.Root))
	if err != nil {
		return []error{fmt.Errorf("trust.root: %w", err)}
	}
	trust, err := signing.ParseTrustRoot(raw)
	if err != nil {
		return []error{fmt.Errorf("trust.root: %w", err)}
	}
	s := &stack{cfg: cfg}
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
