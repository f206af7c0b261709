package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/server"
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
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return cli.NeedFlag(cmd, "config", "guardlock serve --config guardlock.yaml")
			}
			return serve(cmd, path)
		},
	}

	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration `FILE`")
	return cmd
}

func serve(cmd *cobra.Command, path string) error {
	cfg, err := config.Load(path)
	if err != nil {
		return exit.WithHint(exit.WithCode(err, exit.Usage), "run `guardlock check %s` after each change", path)
	}

	ctx := cmd.Context()
	log := server.NewLogger(cfg.Log, cmd.ErrOrStderr())
	defer log.Sync()
	server.WarnInsecure(cfg, log)

	s, err := server.Open(ctx, cfg, log)
	if err != nil {
		return err
	}

	err = s.Run(ctx, func() {
		for _, cl := range cfg.Clusters {
			fmt.Fprintf(cmd.OutOrStdout(), "guardlock: cluster %s is ready on %s\n", cl.Name, s.Addr(cl.Name))
		}
	})

	return errors.Join(err, s.Close(context.WithoutCancel(ctx)))
}
