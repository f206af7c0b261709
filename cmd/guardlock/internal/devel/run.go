package devel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
)

const runHelp = `Give records to a module, in the sandbox of a gateway, and print what it makes of
each: its outcome and reason, and what it changed, before and after. Nothing is
stored and nothing leaves this machine.

Each line of INPUT, or of standard input, is the value of a record; with --records
it is a whole record in JSON. The module has the grant that it asks for, with
test keys, and the configuration that lies beside it.

Of a module that fails, the function is named in which it did (a build keeps the
names unless told otherwise), and the record. What a module prints is shown below
the record, as its own words; a gateway drops it. Exit code 3 says that it failed.`

type runCommand struct {
	input inputFlags
	full  bool
}

func newRunCommand() *cobra.Command {
	var c runCommand
	cmd := &cobra.Command{
		Use:   "run MODULE [INPUT]",
		Short: "Show what a module makes of records",
		Long:  runHelp,
		Example: `  echo '{"customer":{"email":"alice@example.com"}}' | guardlock module run modules/gdpr
  guardlock module run my.wasm lines.txt --config strict.json --header source=web
  guardlock consume orders --json | guardlock module run my.wasm --records --json`,
		Args: upTo(1, "MODULE", "INPUT"),
		RunE: c.run,
	}

	c.input.add(cmd.Flags())
	cmd.Flags().BoolVar(&c.full, "full", false, "print keys and values whole, however long")
	return cmd
}

func (c *runCommand) run(cmd *cobra.Command, args []string) error {
	m, setup, err := c.input.load(cmd, args[0])
	if err != nil {
		return err
	}

	template, err := c.input.template(cmd)
	if err != nil {
		return err
	}

	in, err := openInput(cmd, args)
	if err != nil {
		return err
	}

	defer in.Close()

	guest, sandbox, err := start(cmd.Context(), m, setup)
	if err != nil {
		return err
	}

	defer closeSandbox(cmd.Context(), sandbox)

	seen := tally{outcomes: map[string]int{}, resultPrinter: resultPrinter{w: cmd.OutOrStdout(), full: c.full}, json: cli.WantsJSON(cmd)}
	reader := c.input.reader(in, template)
	for cmd.Context().Err() == nil {
		record, err := reader.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := seen.add(record, guest.Run(cmd.Context(), record)); err != nil {
			return err
		}
	}

	seen.counted = sandbox.Metrics()
	return errors.Join(cmd.Context().Err(), seen.end(m))
}

// start starts a module, and says how it failed to. The caller closes the sandbox.
func start(ctx context.Context, m module, setup cases.Setup) (*cases.Guest, *cases.Sandbox, error) {
	sandbox, err := m.open()
	if err != nil {
		return nil, nil, err
	}

	guest, err := sandbox.Start(ctx, setup)
	if err == nil {
		return guest, sandbox, nil
	}

	defer closeSandbox(ctx, sandbox)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}

	refusal := sandbox.Refusal(err)
	err = exit.Refusedf("starting %s: %s", m.file, failureWords(refusal))
	if refusal.Outcome == cases.ConfigRefused && len(setup.Config) == 0 {
		err = exit.WithHint(err, "it was given none: --config names one")
	}

	return nil, nil, err
}

// tally prints results as they come and counts them.
type tally struct {
	resultPrinter
	json     bool
	outcomes map[string]int
	records  int
	bytes    int
	took     time.Duration
	longest  time.Duration
	memory   uint64
	counted  []transforms.Metric
}

// resultLine is one result in JSON.
type resultLine struct {
	Record      int         `json:"record"` // its number, from 1
	Outcome     string      `json:"outcome"`
	Reason      string      `json:"reason,omitempty"`
	Route       string      `json:"route,omitempty"`
	Failure     string      `json:"failure,omitempty"`
	Problem     string      `json:"problem,omitempty"`
	Calls       []string    `json:"calls,omitempty"`
	Printed     string      `json:"printed,omitempty"` // by the module itself, the beginning
	Nanoseconds int64       `json:"ns"`
	Before      *cases.Line `json:"before"`
	After       *cases.Line `json:"after,omitempty"` // of what is stored
}

func newResultLine(n int, r cases.Record, got cases.Result) resultLine {
	line := resultLine{
		Record:      n,
		Outcome:     got.Outcome,
		Reason:      got.Reason,
		Route:       got.Route,
		Failure:     got.Failure,
		Problem:     got.Problem,
		Calls:       got.Calls,
		Printed:     got.Printed.Text,
		Nanoseconds: got.Took.Nanoseconds(),
		Before:      cases.NewLine(r.Key, r.Value, r.Headers),
	}

	if got.Stored() {
		line.After = cases.NewLine(got.Key, got.Value, got.Headers)
	}

	return line
}

func (t *tally) add(r cases.Record, got cases.Result) error {
	t.records++
	t.outcomes[got.Outcome]++
	t.bytes += len(r.Value)
	t.took += got.Took
	t.longest = max(t.longest, got.Took)
	t.memory = max(t.memory, got.MemoryAt)

	if !t.json {
		t.write(strconv.Itoa(t.records), r, got)
		return nil
	}
	return cli.PrintJSONLine(t.w, newResultLine(t.records, r, got))
}

// writeMetrics prints what a module counted, if it counts anything.
func writeMetrics(w io.Writer, metrics []transforms.Metric) {
	for n, m := range metrics {
		separator := ", "
		if n == 0 {
			separator = "counted "
		}
		fmt.Fprintf(w, "%s%s %d", separator, m.Name, m.Value)
	}
	if len(metrics) > 0 {
		fmt.Fprintln(w)
	}
}

// end prints the totals, and says whether the module failed.
func (t *tally) end(m module) error {
	if !t.json {
		fmt.Fprintf(t.w, "%s: %s\n", cli.Count(t.records, "record"), countsText(t.outcomes))
		if t.records > 0 {
			fmt.Fprintf(t.w, "%s in all, %s for a record, %s at most", t.took.Round(time.Microsecond),
				(t.took / time.Duration(t.records)).Round(time.Microsecond/10), t.longest.Round(time.Microsecond/10))
			if t.memory > 0 {
				fmt.Fprintf(t.w, "; memory %s", humanize.IBytes(t.memory))
			}
			fmt.Fprintln(t.w)
		}
		writeMetrics(t.w, t.counted)
	}

	if failed := t.outcomes[cases.Failed]; failed > 0 {
		return exit.WithHint(exit.Refusedf("running %s: it failed on %s", m.file, cli.Count(failed, "record")),
			"a gateway refuses the whole batch of a record on which a module fails")
	}

	return nil
}
