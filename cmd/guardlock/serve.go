package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/handed"
	"github.com/guardlock/guardlock/internal/server"
	"github.com/guardlock/guardlock/internal/timeslice"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func newServeCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Long: `Serve runs the gateway in front of the embedded broker or a real cluster, as the
configuration says (see deploy/samples for complete ones). It prints a line for
each cluster when clients can connect and it answers, and ends cleanly on Ctrl-C or SIGTERM: new connections are
refused and requests already received are answered.

Trust root, policy and modules are read again when their files change; a module
that is revoked in the trust root stops within a second. So are users,
certificates, authorities and the password for the cluster, for new connections.
A file that cannot be used changes nothing, and the log says so. A module whose
new files are not complete, or are refused, goes on as it was admitted last,
until its own grant ends: to stop it, revoke it.

With ops in the configuration operators are answered on an HTTP listener of their
own: metrics, health and status (docs/operating.md).

SIGHUP reads everything again, the configuration included: modules, bindings,
keys and policy take effect, and what needs a new start is named in the log.`,
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

// handedSockets takes the sockets that systemd hands to a process by its environment.
func handedSockets() (*handed.Sockets, error) {
	defer func() {
		for _, name := range handed.Variables {
			os.Unsetenv(name)
		}
	}()
	return handed.Take(os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"))
}

// tellStart says in the log what starts, with which configuration, and what of it is
// insecure.
func tellStart(cfg *config.Config, log *server.Logger) {
	b := build.Read()
	log.Info("the gateway starts",
		zap.String("version", b.Version),
		zap.String("revision", b.ShortRevision()),
		zap.String("node", cfg.Node),
		zap.String("configuration", hex.EncodeToString(cfg.Digest[:])))
	server.WarnInsecure(cfg, log)
}

// tellEnd says in the log that the gateway was told to end, as soon as it was, and
// returns what says that it has ended.
func tellEnd(ctx context.Context, log *server.Logger) (ended func()) {
	began := time.Now()
	said := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		log.Info("the gateway was told to end: nobody new is let in, and what was read is answered")
		close(said)
	})

	return func() {
		if !stop() {
			<-said
		}
		log.Info("the gateway has ended", zap.Duration("ran", time.Since(began)))
	}
}

func serve(cmd *cobra.Command, path string) error {
	// From here on a hangup asks for a reload, and does not end the process.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return exit.WithHint(exit.WithCode(err, exit.Usage), "run `guardlock check %s` after each change", path)
	}

	ctx := cmd.Context()
	log := server.NewLogger(cfg.Log, cmd.ErrOrStderr())
	defer log.Sync()
	tellStart(cfg, log)
	defer tellEnd(ctx, log)()

	// Without short turns all works, and waits longer beside busy neighbours.
	if err := timeslice.Shorten(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		log.Info("the gateway may wait long for a processor where others keep all busy: allow it sched_setattr(2)", zap.Error(err))
	}

	sockets, err := handedSockets()
	if err != nil {
		return err
	}
	s, err := server.OpenWith(ctx, cfg, log, sockets)
	if err != nil {
		return err
	}

	if url := s.OpsURL(); url != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "guardlock: operators are answered on %s\n", url)
	}

	m := manager{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
	defer context.AfterFunc(ctx, m.stopping)()
	s.OnReload(m.reloaded)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-hangups:
				m.reloading()
				s.Reload()
			}
		}
	}()

	err = s.Run(ctx, func(cluster string) {
		m.ready()
		fmt.Fprintf(cmd.OutOrStdout(), "guardlock: cluster %s is ready on %s\n", cluster, s.Addr(cluster))
	})
	return errors.Join(err, s.Close(context.WithoutCancel(ctx)))
}
