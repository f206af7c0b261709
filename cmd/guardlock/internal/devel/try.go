package devel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms/cases"
)

const tryHelp = `Show what modules would do to the records that a topic holds: how many would come
to which outcome, by which reason, and how many would be stored as they are. It
reads the last records of a topic, of a gateway or of any Kafka, and gives each to
the modules in this machine's sandbox, one module after the other, as a binding
does. Nothing is written: no record, no offset, no decision.

MODULES are .wasm files or directories that hold one, each with the configuration
beside it, the default limits, the grant that it asks for and test keys. With
--config, a name of that file's modules is the configured one, with its
configuration, its keys, and the limits, host functions and routes of its
approvals; what a policy takes away from them is not.

What records hold is not printed, except for --show K: up to K records for each
line of the table, before and after, and what modules print of those, as their own
words; a gateway drops it. Each is given in a batch of its own, so that a module that
fails on one is seen to do what it does to the others.

Records of aborted and open transactions are left out. With more partitions than
one, each gives its share of the last. Ctrl-C ends with what was seen. Exit code 3
says that a module failed on a record: a gateway would refuse its batch.`

type tryCommand struct {
	client     kafka.ClientFlags
	topic      string
	modules    []string
	config     string
	partitions []int32
	last       int
	show       int
	full       bool
}

func newTryCommand() *cobra.Command {
	var c tryCommand
	cmd := &cobra.Command{
		Use:   "try --topic TOPIC --modules MODULE,…",
		Short: "Show what modules would do to the records of a topic",
		Long:  tryHelp,
		Example: `  guardlock module try --topic payments --modules card-mask -b broker:9092
  guardlock module try --topic payments --modules new.wasm,fraud --config guardlock.yaml --last 100000
  guardlock module try --topic payments --modules new.wasm --show 2
  guardlock module try --topic payments --modules new.wasm --json | jq '.results[] | select(.outcome == "rejected")'`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.client.Register(cmd)
	f := cmd.Flags()
	f.StringVarP(&c.topic, "topic", "t", "", "topic to read")
	f.StringSliceVar(&c.modules, "modules", nil, "modules to give the records to, in this order")
	f.StringVar(&c.config, "config", "", "a gateway's configuration `FILE`, whose modules can be named")
	f.Int32SliceVarP(&c.partitions, "partition", "p", nil, "only these partitions")
	f.IntVarP(&c.last, "last", "n", 1000, "how many records, the last ones of the topic")
	f.IntVar(&c.show, "show", 0, "print up to so many records for each line of the table, before and after")
	f.BoolVar(&c.full, "full", false, "print keys and values whole, however long; with --show")

	return cmd
}

func (c *tryCommand) run(cmd *cobra.Command, _ []string) error {
	if err := c.check(cmd); err != nil {
		return err
	}

	trial, err := c.start(cmd)
	if err != nil {
		return err
	}

	defer trial.end(cmd.Context())

	err = c.read(cmd, trial)
	if err != nil && trial.report.Records == 0 {
		return err
	}

	trial.report.Interrupted = cmd.Context().Err() != nil
	return errors.Join(err, c.print(cmd, trial), c.verdict(trial.report))
}

func (c *tryCommand) check(cmd *cobra.Command) error {
	const example = "guardlock module try --topic payments --modules card-mask"
	switch {
	case c.topic == "":
		return cli.NeedFlag(cmd, "topic", example)
	case len(c.modules) == 0:
		return cli.NeedFlag(cmd, "modules", example)
	case c.last < 1:
		return exit.Usagef("--last %d: at least one record must be read", c.last)
	case c.show < 0:
		return exit.Usagef("--show %d is negative", c.show)
	case c.full && c.show == 0:
		return exit.Usagef("--full is about the records that --show prints")
	}

	return nil
}

// trial is a chain that was started, and what it did.
type trial struct {
	chain     *cases.Chain
	sandboxes []*cases.Sandbox
	report    *tryReport
}

// start starts all modules. What they are is said before a broker is asked.
func (c *tryCommand) start(cmd *cobra.Command) (t *trial, err error) {
	known, err := readConfigured(c.config)
	if err != nil {
		return nil, err
	}

	t = &trial{report: newTryReport(c.topic, c.show)}
	defer func() {
		if err != nil {
			t.end(cmd.Context())
		}
	}()

	var guests []*cases.Guest
	for n, named := range c.modules {
		m, setup, err := known.find(cmd, named)
		if err != nil {
			return t, err
		}

		t.report.Modules = append(t.report.Modules, named)
		setup.Name = fmt.Sprintf("%d: %s", n, named) // one may be named twice
		guest, sandbox, err := start(cmd.Context(), m, setup)
		if err != nil {
			return t, err
		}

		guests = append(guests, guest)
		t.sandboxes = append(t.sandboxes, sandbox)
	}

	t.chain = cases.NewChain(guests...)

	return t, nil
}

func (t *trial) end(ctx context.Context) {
	for _, s := range t.sandboxes {
		closeSandbox(ctx, s)
	}
}

// read gives the topic's last records to the modules, until there are no more or
// nobody waits for them.
func (c *tryCommand) read(cmd *cobra.Command, t *trial) error {
	ctx := cmd.Context()
	progress := cli.NewProgress(cmd.ErrOrStderr(), 0)
	defer progress.Finish()

	tail, err := c.client.OpenTail(ctx, c.topic, c.partitions, c.last, progress.Add)
	if err != nil {
		return err
	}

	t.report.Partitions = len(tail.Partitions())

	progress.Restart()
	return tail.Each(ctx, func(r *kgo.Record) error {
		record := recordOf(r)
		got := t.chain.Run(ctx, record)
		if err := ctx.Err(); err != nil {
			return err // what it did is not the module's doing
		}

		t.report.add(tried{at: r, record: record, got: got})
		progress.Add(1, len(r.Key)+len(r.Value))
		return nil
	})
}

// recordOf is a record of a topic as a module is given it.
func recordOf(r *kgo.Record) cases.Record {
	record := cases.Record{
		Key:       r.Key,
		Value:     r.Value,
		Timestamp: r.Timestamp.UnixMilli(),
		Topic:     r.Topic,
		Partition: r.Partition,
	}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, cases.Header{Key: h.Key, Value: h.Value})
	}

	return record
}

func (c *tryCommand) print(cmd *cobra.Command, t *trial) error {
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), t.report)
	}
	return t.report.write(resultPrinter{w: cmd.OutOrStdout(), full: c.full})
}

// verdict is what the exit code says.
func (c *tryCommand) verdict(r *tryReport) error {
	failed := 0
	var by []string
	for _, row := range r.Results {
		if row.Outcome == cases.Failed {
			failed += row.Records
			by = append(by, row.Module)
		}
	}

	if failed == 0 {
		return nil
	}

	slices.Sort(by)
	return exit.WithHint(exit.Refusedf("trying %s: failed on %s", strings.Join(slices.Compact(by), ", "), cli.Count(failed, "record")),
		"a gateway refuses the whole batch of a record on which a module fails; see one with --show 1")
}
