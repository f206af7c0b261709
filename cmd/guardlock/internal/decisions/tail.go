package decisions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

type auditTailCommand struct {
	filter auditFilterFlags
	format formatFlags
	lines  int
	follow bool
}

func newAuditTailCommand() *cobra.Command {
	var c auditTailCommand
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the last decisions, and new ones as they are made",
		Long: `Show the last decisions that match, oldest first. With --follow go on with new
ones until Ctrl-C: each is shown when it is durable and its offset is known. Names
that the log has not seen yet may come, and are then only noted.
` + auditFilterHelp,
		Example: `  guardlock audit tail
  guardlock audit tail --follow --outcome rejected
  guardlock audit tail -f -n 0 --json | jq -r .reason`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.filter.register(cmd)
	c.format.register(cmd)
	cmd.Flags().IntVarP(&c.lines, "lines", "n", 10, "how many of the past")
	cmd.Flags().BoolVarP(&c.follow, "follow", "f", false, "go on with new decisions until Ctrl-C")

	return cmd
}

func (c *auditTailCommand) run(cmd *cobra.Command, _ []string) error {
	f, err := c.filter.filter(cmd, time.Now())
	if err != nil {
		return err
	}
	if c.lines < 0 {
		return exit.Usagef("--lines %d is negative", c.lines)
	}

	logs, err := c.filter.logs.open(cmd)
	if err != nil {
		return err
	}

	defer logs.Close()
	out, err := c.format.printer(cmd, logs)
	if err != nil {
		return err
	}
	if out.format == formatJSON && c.follow {
		return exit.Usagef("audit tail: a document of --format json has an end; follow with --format jsonl")
	}

	t := tail{logs: logs, filter: f, out: out}
	if t.seen, err = logs.Ends(); err == nil {
		err = t.past(cmd.Context(), c.lines)
	}
	if err != nil {
		return c.filter.logs.failed(err)
	}
	if !c.follow {
		if err := out.finish(nil); err != nil {
			return err
		}
	}

	missing := c.filter.logs.unseen(cmd.Context(), logs, f, t.out.printed > 0)
	if !c.follow || missing != nil && exit.CodeOf(missing) != exit.NotFound {
		return missing
	}
	if missing != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), cli.Printable(missing.Error()))
	}

	if err := t.present(cmd.Context()); err != nil && !errors.Is(err, context.Canceled) {
		return c.filter.logs.failed(err)
	}

	return nil
}

// tail shows the past, then the present from where the past ended in each log, so
// that nothing is lost in between.
type tail struct {
	logs   query.Logs
	filter query.Filter
	out    *decisionPrinter
	seen   query.Cursor
}

func (t *tail) past(ctx context.Context, lines int) error {
	if lines == 0 {
		return nil
	}
	f := t.filter
	f.Limit = lines
	f.Reverse = true

	var rows []query.Decision
	for d, err := range t.logs.Query(ctx, f, nil) {
		if err != nil {
			return err
		}
		rows = append(rows, d)
	}

	slices.Reverse(rows)
	for _, d := range rows {
		if d.ID.Seq > t.seen[d.ID.Node].Seq {
			t.seen.Note(&d)
		}
		if err := t.out.print(d); err != nil {
			return fmt.Errorf("printing decisions: %w", err)
		}
	}

	return t.out.flush()
}

func (t *tail) present(ctx context.Context) error {
	for d, err := range t.logs.Follow(ctx, t.filter, t.seen) {
		if err != nil {
			return err
		}
		if err := errors.Join(t.out.print(d), t.out.flush()); err != nil {
			return fmt.Errorf("printing decisions: %w", err)
		}
	}

	return ctx.Err()
}
