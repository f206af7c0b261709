// Package demo holds `guardlock demo`: a complete chain on loopback, with
// throw-away keys, sample data and a tour of what a gateway does with it.
//
// Trust: none of it outlives the demo, but what --dir keeps.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/server"
)

// demoOptions are the flags of `guardlock demo`.
type demoOptions struct {
	listen  string
	dir     string
	records int
	seed    uint64
	exit    bool
}

// NewCommand is `guardlock demo`, a complete chain on this machine.
func NewCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a complete chain on this machine, with sample data",
		Long: `Demo starts the embedded broker and the gateway on loopback, makes throw-away
keys, signs and approves the bundled modules, and streams made-up customers,
payments and sensor readings through them with a real Kafka client. It shows
what was changed, what was rejected and why, and how the decision log answers.

Then it keeps serving, so that you can try your own client; --exit ends it after
the tour. Everything is written to a directory that is removed at the end,
unless --dir names one to keep.`,
		Example: `  guardlock demo
  guardlock demo --exit --records 3000
  guardlock demo --listen 127.0.0.1:19092 --dir ./demo`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, o) },
	}

	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:9092", "`ADDRESS` for Kafka clients; brokers take the ports that follow")
	f.StringVar(&o.dir, "dir", "", "`DIRECTORY` to write to and keep; default: one that is removed")
	f.IntVar(&o.records, "records", 30_000, "`NUMBER` of records to stream")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the sample data")
	f.BoolVar(&o.exit, "exit", false, "end after the tour")

	return cmd
}

func runDemo(cmd *cobra.Command, o demoOptions) (err error) {
	if o.records < 30 {
		return exit.Usagef("demo: --records must be at least 30")
	}
	dir, remove, err := demoDir(o.dir)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, remove()) }()
	path, err := setupDemo(cmd.Context(), dir, o.listen)
	if err != nil {
		return fmt.Errorf("preparing the demo: %w", err)
	}

	cfg, err := config.Load(path)
	if err != nil {
		return err
	}

	s, err := server.Open(cmd.Context(), cfg, server.NewLogger(cfg.Log, cmd.ErrOrStderr()))
	if err != nil {
		return demoHint(err, o.listen)
	}

	defer func() { err = errors.Join(err, s.Close(context.Background())) }()
	return serveDemo(cmd, o, cfg, s, dir)
}

// demoDir returns the directory to work in, and what to do with it at the end.
func demoDir(name string) (dir string, remove func() error, err error) {
	if name == "" {
		dir, err = os.MkdirTemp("", "guardlock-demo-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}

	if dir, err = filepath.Abs(name); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("making the demo's directory: %w", err)
	}

	return dir, func() error { return nil }, nil
}

// serveDemo runs the gateway with its broker and, beside it, the tour.
func serveDemo(cmd *cobra.Command, o demoOptions, cfg *config.Config, s *server.Server, dir string) error {
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	ready := make(chan struct{})
	served := make(chan error, 1)
	go func() { served <- s.Run(ctx, func(string) { close(ready) }) }()
	select {
	case err := <-served:
		return demoHint(err, o.listen)
	case <-ready:
	}

	t := &tour{
		out:     cmd.OutOrStdout(),
		err:     cmd.ErrOrStderr(),
		stack:   s,
		config:  cfg,
		dir:     dir,
		options: o,
		address: s.Addr(config.MainCluster),
		palette: cli.PaletteFor(cmd.OutOrStdout()),
	}

	tourErr := t.run(ctx)
	if tourErr == nil && !o.exit {
		t.nextSteps()
		select {
		case <-ctx.Done():
		case err := <-served:
			return err
		}
		fmt.Fprintln(t.out, "\nending: answering what is under way, then closing")
	}

	stop()
	err := <-served
	if cmd.Context().Err() != nil && errors.Is(tourErr, context.Canceled) {
		tourErr = nil // Ctrl-C during the tour is a clean end, too
	}

	return errors.Join(tourErr, err)
}

// demoHint names an address that can be taken instead of one that is in use.
func demoHint(err error, listen string) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return exit.WithHint(err, "choose other ports: guardlock demo --listen %s", freeAddress(listen))
}

// freeAddress is one like busy of which the next port, the broker's, is free
// too; with port 0 if there is none, which takes whatever there is.
func freeAddress(busy string) string {
	host, _, err := net.SplitHostPort(busy)
	if err != nil {
		host = "127.0.0.1"
	}

	for port := 19092; port < 65535; port += 1000 {
		if canListen(host, port) && canListen(host, port+1) && canListen("127.0.0.1", port+7) {
			return net.JoinHostPort(host, strconv.Itoa(port))
		}
	}

	return net.JoinHostPort(host, "0")
}

func canListen(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// client makes a Kafka client of the demo's gateway, such as any producer could
// be.
func (t *tour) client(opts ...kgo.Opt) (*kgo.Client, error) {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(t.address), kgo.ClientID("demo-shop")}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("making a Kafka client: %w", err)
	}
	return c, nil
}

func (t *tour) createTopics(ctx context.Context) error {
	c, err := t.client()
	if err != nil {
		return err
	}

	defer c.Close()
	admin := kadm.NewClient(c)
	for name, partitions := range demoTopics {
		resp, err := admin.CreateTopic(ctx, partitions, 1, nil, name)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !isTopicExists(err) {
			return fmt.Errorf("creating topic %s: %w", name, err)
		}
	}

	return nil
}

// tour shows what the gateway does, on real traffic and through its own port.
type tour struct {
	out, err io.Writer
	stack    *server.Server
	config   *config.Config
	dir      string
	address  string
	options  demoOptions
	palette  cli.Palette

	originals map[string][]byte // values as sent, by topic and key, of the records shown later
	sent      int
	bytes     int64
	took      time.Duration
	compared  audit.DecisionID // that the last of the next steps is about
}
