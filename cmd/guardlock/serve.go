package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func newServeCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Long: `Serve runs the gateway in front of the embedded broker or a real cluster, as the
configuration says (see deploy/samples for complete ones). It prints a line when
clients can connect, and ends cleanly on Ctrl-C or SIGTERM: new connections are
refused and requests already received are answered.

Trust root, policy and modules are read again when their files change; a module
that is revoked stops within a second. So are users, certificates, authorities
and the password for the cluster, for new connections. A file that cannot be
used changes nothing, and the log says so.`,
		Example: `  guardlock check guardlock.yaml
  guardlock serve --config guardlock.yaml`,
		Args: needArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return needFlag(cmd, "config", "guardlock serve --config guardlock.yaml")
			}
			return serve(cmd, path)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration `FILE`")
	return cmd
}

func serve(cmd *cobra.Command, path string) error {
	cfg, err := loadConfig(path)
	if err != nil {
		return withHint(withCode(err, exitUsage), "run `guardlock check %s` after each change", path)
	}
	ctx := cmd.Context()
	log := newLogger(cfg.Log, cmd.ErrOrStderr())
	defer log.Sync()
	warnInsecure(cfg, log)
	s, err := openStack(ctx, cfg, log)
	if err != nil {
		return err
	}
	err = s.run(ctx, func() {
		for _, cl := range cfg.Clusters {
			fmt.Fprintf(cmd.OutOrStdout(), "guardlock: cluster %s is ready on %s\n", cl.Name, s.gateway.Cluster(cl.Name).Addr())
		}
	})
	return errors.Join(err, s.close(context.WithoutCancel(ctx)))
}

// warnInsecure shows every unsafe choice at start (invariant 8).
func warnInsecure(cfg *config, log *gatewayLogger) {
	for _, name := range cfg.insecure() {
		log.Warn("INSECURE setting in use", zap.String("setting", name))
	}
}

// insecure lists the unsafe choices in use by their field paths.
func (c *config) insecure() []string {
	var out []string
	if c.UnboundTopics == "insecure_pass" {
		out = append(out, "unbound_topics: insecure_pass")
	}
	if c.Audit.NoSync {
		out = append(out, "audit.insecure_no_sync")
	}
	for _, cl := range c.Clusters {
		if cl.Listen.Telemetry {
			out = append(out, cl.Name+": listen.insecure_telemetry")
		}
		if s := cl.Listen.SASL; s != nil && s.Plaintext {
			out = append(out, cl.Name+": listen.sasl.insecure_plaintext")
		}
		if e := cl.Broker.Embedded; e != nil && e.NoSync {
			out = append(out, cl.Name+": broker.embedded.insecure_no_sync")
		}
	}
	return out
}
