package devel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
)

const benchHelp = `Measure what a module costs: time for a record, megabytes in a second, memory,
fuel, and what it counts by metrics. Fuel is what the sandbox charges: about one
unit an instruction, and some 512 for each call of a function that loops.
Times are of a processor, so that what else this machine does counts little. A
module that copies gets the same batch in turns: that much is the sandbox.

INPUT has a record in each line, as for module run; they are given as one batch.
Without it the batch is 256 records of JSON, of a kilobyte each. Each figure is the
median of rounds of 50 ms.`

type benchCommand struct {
	input inputFlags
	long  time.Duration
}

func newBenchCommand() *cobra.Command {
	var c benchCommand
	cmd := &cobra.Command{
		Use:   "bench MODULE [INPUT]",
		Short: "Measure what a module costs, beside one that copies",
		Long:  benchHelp,
		Example: `  guardlock module bench modules/gdpr
  guardlock module bench my.wasm lines.txt --time 5s
  guardlock module bench my.wasm lines.txt --json | jq '.ratio'`,
		Args: upTo(1, "MODULE", "INPUT"),
		RunE: c.run,
	}

	c.input.add(cmd.Flags())
	cmd.Flags().DurationVar(&c.long, "time", time.Second, "how long each of the two is measured")
	return cmd
}

// benchReport is what `module bench` prints.
type benchReport struct {
	Module      string  `json:"module"`
	Records     int     `json:"records"` // of the batch
	Bytes       int     `json:"bytes"`
	NsPerRecord int64   `json:"ns_per_record"`
	MBPerSecond float64 `json:"mb_per_second"`
	costs
	Outcomes      map[string]int `json:"outcomes"`
	Ratio         float64        `json:"ratio"` // of time, to the copying module
	BatchTimeNs   int64          `json:"ns_per_batch"`
	BatchesTimed  int            `json:"batches"`
	DefaultInput  bool           `json:"default_input"`
	DeadlineShare float64        `json:"deadline_share"` // of what a batch of this size may use
}

// costs are those that come beside the times, and the copying module's.
type costs struct {
	MemoryBytes uint64            `json:"memory_bytes"`
	Fuel        uint64            `json:"fuel_per_record"` // as the sandbox charges it
	Metrics     map[string]uint64 `json:"metrics"`         // the module's own, in one batch
	CopyNs      int64             `json:"copy_ns_per_record"`
	CopyMB      float64           `json:"copy_mb_per_second"`
	CopyMemory  uint64            `json:"copy_memory_bytes"`
	CopyFuel    uint64            `json:"copy_fuel_per_record"`

	counted []transforms.Metric
}

func (c *benchCommand) run(cmd *cobra.Command, args []string) error {
	m, setup, err := c.input.load(cmd, args[0])
	if err != nil {
		return err
	}

	records, err := c.records(cmd, args)
	if err != nil {
		return err
	}

	guest, sandbox, err := start(cmd.Context(), m, setup)
	if err != nil {
		return err
	}

	defer closeSandbox(cmd.Context(), sandbox)
	copier, copying, err := start(cmd.Context(), module{file: "copy", bytes: cases.Copying()}, cases.Setup{})
	if err != nil {
		return err
	}

	defer closeSandbox(cmd.Context(), copying)

	report, err := c.measure(cmd.Context(), guest, copier, records)
	if err != nil {
		return explainFailure(cmd.Context(), m, setup, records, err)
	}

	report.Module = m.file
	report.DefaultInput = len(args) < 2

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), report)
	}
	return report.write(cmd.OutOrStdout())
}

// explainFailure finds the record on which the module failed, by giving it one after the
// other to a fresh one.
func explainFailure(ctx context.Context, m module, setup cases.Setup, records []cases.Record, err error) error {
	err = exit.Refusedf("running %s: %w", m.file, err)
	guest, sandbox, failed := start(ctx, m, setup)
	if failed != nil {
		return err
	}
	defer closeSandbox(ctx, sandbox)

	for n, r := range records {
		if got := guest.Run(ctx, r); got.Outcome == cases.Failed && ctx.Err() == nil {
			return exit.Refusedf("running %s: record %d: %s", m.file, n+1, failureWords(got))
		}
	}

	return err
}

// records are those of the input, or a batch of our own.
func (c *benchCommand) records(cmd *cobra.Command, args []string) ([]cases.Record, error) {
	template, err := c.input.template(cmd)
	if err != nil {
		return nil, err
	}

	if len(args) < 2 {
		template.Value = sampleValue()
		return slices.Repeat([]cases.Record{template}, 256), nil
	}

	in, err := openInput(cmd, args)
	if err != nil {
		return nil, err
	}

	defer in.Close()

	var records []cases.Record
	reader := c.input.reader(in, template)
	for size := 0; size < maxLineBytes; {
		record, err := reader.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}

		records = append(records, record)
		size += len(record.Key) + len(record.Value)
	}

	if len(records) == 0 {
		return nil, exit.Usagef("%s: there is no record in %s", cli.CommandName(cmd), args[1])
	}

	return records, nil
}

// sampleValue is a JSON object of about a kilobyte, as applications write them.
func sampleValue() []byte {
	var b bytes.Buffer
	b.WriteString(`{"id":184467,"customer":{"name":"Alice Example","email":"alice@example.com","phone":"+49 30 1234567"},"items":[`)
	for n := range 8 {
		if n > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"A-%04d","title":"a thing that was bought","quantity":%d,"price":19.95,"notes":"none to speak of"}`, n*37, n+1)
	}

	b.WriteString(`],"total":151.60,"currency":"EUR","paid":true}`)

	return b.Bytes()
}

// measure is both modules' figures, side by side.
func (c *benchCommand) measure(ctx context.Context, guest, copier *cases.Guest, records []cases.Record) (benchReport, error) {
	size := 0
	for _, r := range records {
		size += len(r.Key) + len(r.Value)
	}

	figures, err := cases.Measure(ctx, processorTime, records, c.long, guest, copier)
	if err != nil {
		return benchReport{}, err
	}

	own := figures[0]
	copied := figures[1]
	metrics := map[string]uint64{}
	for _, m := range own.Counted {
		metrics[m.Name] = m.Value
	}

	return benchReport{
		Records:     len(records),
		Bytes:       size,
		NsPerRecord: own.PerRecord.Nanoseconds(),
		MBPerSecond: megabytes(size, own.PerBatch),
		costs: costs{
			MemoryBytes: guest.MemoryBytes(),
			Fuel:        own.Fuel,
			Metrics:     metrics,
			CopyNs:      copied.PerRecord.Nanoseconds(),
			CopyMB:      megabytes(size, copied.PerBatch),
			CopyMemory:  copier.MemoryBytes(),
			CopyFuel:    copied.Fuel,
			counted:     own.Counted,
		},
		Outcomes:      own.Outcomes,
		Ratio:         float64(own.PerBatch) / float64(copied.PerBatch),
		BatchTimeNs:   own.PerBatch.Nanoseconds(),
		BatchesTimed:  own.Batches,
		DeadlineShare: float64(own.PerBatch) / float64(transforms.Limits{}.BatchTime(size)),
	}, nil
}

func megabytes(size int, took time.Duration) float64 {
	return float64(size) / 1e6 / took.Seconds()
}

func fuelText(units uint64) string { return humanize.Comma(int64(units)) }

func (r benchReport) write(w io.Writer) error {
	t := cli.NewTable("", "ns a record", "MB/s", "fuel a record", "memory")
	t.Add("module", humanize.Comma(r.NsPerRecord), fmt.Sprintf("%.0f", r.MBPerSecond), fuelText(r.Fuel), humanize.IBytes(r.MemoryBytes))
	t.Add("copying", humanize.Comma(r.CopyNs), fmt.Sprintf("%.0f", r.CopyMB), fuelText(r.CopyFuel), humanize.IBytes(r.CopyMemory))

	if err := t.Write(w); err != nil {
		return err
	}

	fmt.Fprintf(w, "\n%.1f times the copying module\n", r.Ratio)

	fmt.Fprintf(w, "batch    %s of %s in all: %s\n", cli.Count(r.Records, "record"), humanize.IBytes(uint64(r.Bytes)), countsText(r.Outcomes))
	writeMetrics(w, r.counted)
	fmt.Fprintf(w, "limits   it takes %.2g%% of the time that the default limits give such a batch\n", 100*r.DeadlineShare)
	if r.Outcomes[cases.Passed] == r.Records && r.DefaultInput {
		fmt.Fprintln(w, "note     every record passed unchanged: give it an INPUT that the module works on")
	}

	return nil
}
