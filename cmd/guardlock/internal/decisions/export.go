package decisions

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/export"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditExportHelp = `Write decisions to files that other programs read. A row is one run of records of a batch
that fared alike: its first offset, and how many. Nothing of a record is in it.

  csv      one table, safe in a spreadsheet
  jsonl    one object a line, as audit query --json prints a row
  parquet  one table, for DuckDB, ClickHouse, Trino, Spark and others
  ocsf     OCSF 1.9.0 events, one a line: Datastore Activity (6005) for records,
           API Activity (6003) for all else

Files are named by the entries that they hold, and each is there whole or not at all.
An export that is begun again with the same place goes on behind the last of them, even
if it was killed, and loses and repeats nothing; guardlock-export.json keeps the place,
so that files may be moved away. With --follow it goes on until Ctrl-C.

A forwarded batch whose answer is not known yet is held back for --settle, and so is
all behind it in its log. After that it goes out with the state unknown, and stays so.

For s3:// the endpoint, region and credentials are those that AWS's own tools take from
AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_ACCESS_KEY_ID and the like. Let one export at a time
write to a prefix; of a directory this is seen to.
` + logsHelp

type auditExportCommand struct {
	logs   logsFlags
	format string
	to     string
	follow bool
	settle time.Duration
}

func newAuditExportCommand() *cobra.Command {
	var c auditExportCommand
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write decisions to files for other programs",
		Long:  auditExportHelp,
		Example: `  guardlock audit export --format parquet --output decisions
  guardlock audit export --format ocsf --output s3://siem/guardlock --follow
  guardlock audit export --manifest cluster.yaml --format jsonl --output decisions --json`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	c.logs.register(cmd)
	cmd.Flags().StringVar(&c.format, "format", "", "`FORMAT` of the files: csv, jsonl, parquet or ocsf")
	cmd.Flags().StringVarP(&c.to, "output", "o", "", "`PLACE` to write to: a directory, or s3://bucket/prefix")
	cmd.Flags().BoolVarP(&c.follow, "follow", "f", false, "go on with new decisions until Ctrl-C")
	cmd.Flags().DurationVar(&c.settle, "settle", export.DefaultSettle, "how long to wait for a batch's answer")
	return cmd
}

// exported is what --json prints.
type exported struct {
	Files int   `json:"files"`
	Rows  int64 `json:"rows"`
	Held  int   `json:"held"` // logs whose last batches wait for an answer
}

func (c *auditExportCommand) run(cmd *cobra.Command) (err error) {
	format := export.Format(c.format)
	if !slices.Contains(export.Formats(), format) {
		return exit.WithHint(exit.Usagef("--format %q is no format", c.format), "csv, jsonl, parquet or ocsf")
	}
	if c.to == "" {
		return cli.NeedFlag(cmd, "output", "--output decisions")
	}

	logs, err := c.logs.open(cmd)
	if err != nil {
		return err
	}
	defer logs.Close()
	sink, err := openSink(c.to)
	if err != nil {
		return fmt.Errorf("exporting to %s: %w", c.to, err)
	}
	defer func() { err = errors.Join(err, sink.Close()) }()

	e := &export.Exporter{Logs: logs, Format: format, Sink: sink, Settle: c.settle}
	run := e.Run
	if c.follow {
		run = e.Follow
	}
	result, err := run(cmd.Context())
	if err != nil {
		return c.failed(err)
	}
	return c.report(cmd, result)
}

func openSink(place string) (export.Sink, error) {
	if strings.HasPrefix(place, "s3://") {
		return export.OpenBucket(place, os.Getenv)
	}
	return export.OpenDir(place)
}

func (c *auditExportCommand) failed(err error) error {
	switch {
	case errors.Is(err, export.ErrOtherExport):
		return exit.WithCode(fmt.Errorf("exporting to %s: %w", c.to, err), exit.Refused)
	case errors.Is(err, query.ErrForeignCursor):
		return exit.WithHint(exit.Usagef("exporting to %s: %w", c.to, err), "give the logs that it was begun with, or another place")
	case errors.Is(err, audit.ErrPruned):
		return exit.WithHint(exit.Refusedf("exporting to %s: %w before it was exported", c.to, err), "what is gone from the log is in no export; begin another one elsewhere")
	}
	return c.logs.failed(err)
}

func (c *auditExportCommand) report(cmd *cobra.Command, r export.Result) error {
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), exported(r))
	}

	fmt.Fprintf(cmd.OutOrStdout(), "%s rows in %s files\n", humanize.Comma(r.Rows), humanize.Comma(int64(r.Files)))
	if r.Held > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s not exported to the end: a batch's answer is not known yet; try again, or give a shorter --settle\n", cli.Count(r.Held, "log"))
	}
	return nil
}
