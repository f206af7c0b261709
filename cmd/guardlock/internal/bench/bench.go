// Package bench is `guardlock bench`: what this machine can do with a configuration
// and a sample of records. The gateway runs in a process of its own, as serve runs
// it, between a load and a broker that stores nothing.
package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/load"
	"github.com/guardlock/guardlock/internal/pattern"
)

const help = `Measure what this machine can do with a configuration and a sample of records. No
Kafka is needed: the gateway runs as serve runs it, with its modules, policy and
strict decision log, between a load and a broker that stores nothing.

INPUT has the value of a record in each line; they are sent again and again, in
batches. Without it they are JSON of a kilobyte each. The binding is the first that
is about the topic, or the one named; its conditions on clients are left out, and so
are TLS and SASL. The decision log is a new one beside the configured one, on the
same disk, and is removed at the end.

MB are of records before compression. Added time is that of one batch at a time
through the gateway, less that of the same batch without it. Processor time is the
gateway's alone: cores for a target are that time for its bytes, at full use; plan
with more (docs/sizing.md). Records that a module routes elsewhere are refused here,
since the broker has one topic.

Exit code 0: measured; 3: every batch was refused.`

type command struct {
	config, topic, binding, input, dir string
	load                               loadFlags
	cores                              int
	target                             string
}

// loadFlags say what is sent.
type loadFlags struct {
	batch, connections, inFlight int
	compression                  string
	lasts                        time.Duration
}

// NewCommand makes `guardlock bench`.
func NewCommand() *cobra.Command {
	var c command
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "What this machine can do with a configuration and a sample of records",
		Long:  help,
		Example: `  guardlock bench --config guardlock.yaml --topic customers --input records.jsonl
  guardlock bench --config guardlock.yaml --topic customers --batch 500 --compression lz4 --target 100MB/s
  guardlock bench --config guardlock.yaml --topic customers --cores 1 --json`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	f := cmd.Flags()
	f.StringVarP(&c.config, "config", "c", "", "configuration `FILE`")
	f.StringVar(&c.topic, "topic", "", "the topic that the records are for")
	f.StringVar(&c.binding, "binding", "", "the binding to measure (default: the first that is about the topic)")
	f.StringVar(&c.input, "input", "", "`FILE` with the value of a record in each line")
	f.StringVar(&c.dir, "dir", "", "directory for the decision log (default: where the configured one is)")
	f.IntVar(&c.load.batch, "batch", 100, "records in a batch")
	f.StringVar(&c.load.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	f.IntVar(&c.load.connections, "connections", 4, "connections at full load")
	f.IntVar(&c.load.inFlight, "in-flight", 5, "batches in flight on each")
	f.DurationVar(&c.load.lasts, "time", 10*time.Second, "how long the full load lasts; each measurement of time lasts a fifth of it")
	f.IntVar(&c.cores, "cores", 0, "processors that the gateway may use at once (default: all)")
	f.StringVar(&c.target, "target", "", "say how many cores are needed for so much, as 100MB/s")
	return cmd
}

func (c *command) run(cmd *cobra.Command) error {
	target, err := c.check(cmd)
	if err != nil {
		return err
	}

	cfg, err := config.Load(c.config)
	if err != nil {
		return exit.WithHint(err, "run `guardlock check %s`", c.config)
	}
	b, err := c.choose(cfg)
	if err != nil {
		return err
	}
	frames, err := c.frames(cmd.Context())
	if err != nil {
		return err
	}

	broker, err := load.NewBroker(c.topic)
	if err != nil {
		return err
	}
	defer broker.Close()
	dir, err := c.logDir(cfg)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	g, err := start(cmd.Context(), cmd.ErrOrStderr(), order{
		Config:   c.config,
		Binding:  b.Name,
		Topic:    c.topic,
		Upstream: broker.Addr(),
		Dir:      dir,
		Cores:    c.cores,
	})
	if err != nil {
		return err
	}
	defer g.stop()

	m := &measuring{gateway: g, frames: frames, direct: broker.Addr(), loadFlags: c.load, progress: cli.NewProgress(cmd.ErrOrStderr(), 0)}
	r, err := m.measure(cmd.Context())
	if err != nil {
		return err
	}

	g.stop()
	r.LogBytesPerBatch = float64(logBytes(dir)) / float64(max(r.entries, 1))
	r.Binding = b.Name
	r.Modules = append([]string{}, b.Modules...)
	r.Batch = c.load.batch
	r.Compression = c.load.compression
	r.ask(target)
	return c.report(cmd, r)
}

func (c *command) report(cmd *cobra.Command, r *report) error {
	var err error
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.write(cmd.OutOrStdout())
	}
	if err == nil && r.Refused == r.Batches {
		err = exit.WithHint(exit.Refusedf("every batch was refused"), "see what the gateway says above, and `guardlock check %s`", c.config)
	}
	return err
}

// check looks at the command line, and reads the target in bytes a second.
func (c *command) check(cmd *cobra.Command) (uint64, error) {
	switch {
	case c.config == "":
		return 0, cli.NeedFlag(cmd, "config", "guardlock bench --config guardlock.yaml --topic customers")
	case c.topic == "":
		return 0, cli.NeedFlag(cmd, "topic", "guardlock bench --config guardlock.yaml --topic customers")
	case c.load.batch < 1 || c.load.batch > maxBatch:
		return 0, exit.Usagef("bench: --batch must be 1 to %d", maxBatch)
	case c.load.connections < 1 || c.load.connections > 1000 || c.load.inFlight < 1 || c.load.inFlight > 1000:
		return 0, exit.Usagef("bench: --connections and --in-flight must be 1 to 1000")
	case c.load.lasts < 100*time.Millisecond || c.load.lasts > time.Hour:
		return 0, exit.Usagef("bench: --time must be 100ms to 1h")
	case c.cores < 0 || c.cores > runtime.NumCPU():
		return 0, exit.Usagef("bench: --cores must be 1 to %d, which this machine has", runtime.NumCPU())
	case c.target == "":
		return 0, nil
	}

	target, err := humanize.ParseBytes(strings.TrimSuffix(c.target, "/s"))
	if err != nil || target == 0 {
		return 0, exit.Usagef("bench: --target %q is not like 100MB/s", c.target)
	}
	return target, nil
}

// choose finds the binding to measure.
func (c *command) choose(cfg *config.Config) (*config.Binding, error) {
	i := slices.IndexFunc(cfg.Bindings, func(b config.Binding) bool {
		return pattern.Any(b.Topics, c.topic) && (c.binding == "" || b.Name == c.binding)
	})
	if i < 0 {
		named := "binding"
		if c.binding != "" {
			named = "binding " + c.binding
		}
		return nil, exit.NotFoundf("bench: no %s is about topic %s", named, c.topic)
	}
	return &cfg.Bindings[i], nil
}

// The most that is sent: records in a batch, and bytes of different batches.
const (
	maxBatch = 10_000
	maxInput = 16 << 20
)

// frames are the batches to send, in turns.
func (c *command) frames(ctx context.Context) ([]load.Frame, error) {
	codec, err := recordbatch.ParseCompression(c.load.compression)
	if err != nil {
		return nil, exit.Usagef("bench: --compression %q is not one of none, gzip, snappy, lz4, zstd", c.load.compression)
	}

	values := load.Samples(c.load.batch)
	if c.input != "" {
		if values, err = readLines(ctx, c.input); err != nil {
			return nil, err
		}
	}

	// A batch is never shorter than was asked for: the input begins again.
	var frames []load.Frame
	for at := 0; at < len(values); at += c.load.batch {
		batch := make([][]byte, c.load.batch)
		for i := range batch {
			batch[i] = values[(at+i)%len(values)]
		}

		f, err := load.NewFrame(c.topic, batch, codec)
		if err != nil {
			return nil, err
		}
		frames = append(frames, f)
	}

	return frames, nil
}

// readLines reads the lines of a file, as far as they are sent.
func readLines(ctx context.Context, path string) ([][]byte, error) {
	f, err := disk.OpenInput(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	var lines [][]byte
	size := 0
	in := bufio.NewScanner(f)
	in.Buffer(nil, maxInput)
	for size < maxInput && in.Scan() {
		if line := bytes.Clone(in.Bytes()); len(line) > 0 {
			lines = append(lines, line)
			size += len(line)
		}
	}

	switch {
	case in.Err() != nil:
		return nil, fmt.Errorf("reading %s: %w", path, in.Err())
	case len(lines) == 0:
		return nil, exit.Usagef("bench: there is no record in %s", path)
	}
	return lines, nil
}

// logDir makes a directory for the decision log, on the disk of the configured one.
func (c *command) logDir(cfg *config.Config) (string, error) {
	beside := c.dir
	if beside == "" {
		beside = besideLog(cfg.File(cfg.Audit.Dir))
	}

	// The gateway reads its configuration's paths from where that lies, and not from here.
	beside, err := filepath.Abs(beside)
	if err != nil {
		return "", err
	}

	dir, err := os.MkdirTemp(beside, "guardlock-bench-*")
	if err != nil {
		return "", exit.WithHint(fmt.Errorf("making a directory for the decision log: %w", err), "name one on the same disk with --dir")
	}
	return dir, nil
}

var errGone = errors.New("the gateway under measurement has ended")

// measuring is one measurement under way.
type measuring struct {
	loadFlags
	gateway  *gateway
	frames   []load.Frame
	direct   string
	progress *cli.Progress
}

// write shows a report to a person.
func (r *report) write(w io.Writer) error {
	modules := "no module"
	if len(r.Modules) > 0 {
		modules = strings.Join(r.Modules, ", ")
	}
	fmt.Fprintf(w, "binding %s: %s; %s a batch, %s compression, %s\n", cli.Printable(r.Binding), cli.Printable(modules),
		cli.Count(r.Batch, "record"), r.Compression, cli.Count(r.Cores, "core"))

	t := cli.NewTable("", "MEDIAN", "99 %")
	t.Add("added to a batch", micros(r.AddedP50), micros(r.AddedP99))
	t.Add("added to a record", micros(r.AddedP50/float64(r.Batch)), micros(r.AddedP99/float64(r.Batch)))
	if err := t.Write(w); err != nil {
		return err
	}

	fmt.Fprintf(w, "full load    %.1f MB/s, %s records/s, with the load on the same machine\n", r.MBPerSecond, humanize.Comma(int64(r.RecordsPerSecond)))
	fmt.Fprintf(w, "processor    %.2f ms a MB, %.1f µs a record: a core does %.0f MB/s\n", r.CPUMillisPerMB, r.CPUMicrosPerRecord, r.MBPerCore)
	fmt.Fprintf(w, "memory       %s resident at most\n", humanize.IBytes(r.MemoryBytes))
	fmt.Fprintf(w, "log          %.0f bytes a batch\n", r.LogBytesPerBatch)
	if r.Refused > 0 {
		fmt.Fprintf(w, "REFUSED      %d of %s\n", r.Refused, cli.Count(r.Batches, "batch"))
	}
	if r.TargetCores > 0 {
		fmt.Fprintf(w, "target       %.0f MB/s need %.1f cores at full use; docs/sizing.md says what to add\n", r.TargetMB, r.TargetCores)
	}
	return nil
}

func micros(us float64) string { return fmt.Sprintf("%.1f µs", us) }
