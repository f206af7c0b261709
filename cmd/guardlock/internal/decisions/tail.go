package decisions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

type auditTailCommand struct {
	filter auditFilterFlags
	wide   bool
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
	cmd.Flags().BoolVar(&c.wide, "wide", false, "lines as long as they need to be, with milliseconds and TLS")
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

	r, err := openAudit(cmd, c.filter.dir)
	if err != nil {
		return err
	}

	defer r.Close()
	t := tail{
		reader: r,
		filter: f,
		out:    newDecisionPrinter(cmd.OutOrStdout(), cli.WantsJSON(cmd), c.wide),
		since:  time.Now(),
	}
	if err := t.past(cmd.Context(), c.lines); err != nil {
		return auditError(c.filter.dir, err)
	}

	missing := unseen(cmd.Context(), r, f, c.filter.dir, t.out.printed > 0)
	if !c.follow || missing != nil && exit.CodeOf(missing) != exit.NotFound {
		return missing
	}
	if missing != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), cli.Printable(missing.Error()))
	}

	if err := t.present(cmd.Context()); err != nil && !errors.Is(err, context.Canceled) {
		return auditError(c.filter.dir, err)
	}

	return nil
}

// tail shows the past, then the present from where the past ended, so that
// nothing is lost in between. Times may repeat and ids do not: the last id
// tells what was shown already.
type tail struct {
	reader *query.Reader
	filter query.Filter
	out    *decisionPrinter
	since  time.Time
	last   audit.DecisionID
}

func (t *tail) past(ctx context.Context, lines int) error {
	if lines == 0 {
		return nil
	}
	f := t.filter
	f.Limit = lines
	f.Reverse = true

	var rows []query.Decision
	for d, err := range t.reader.Query(ctx, f) {
		if err != nil {
			return err
		}
		rows = append(rows, d)
	}

	slices.Reverse(rows)
	for _, d := range rows {
		t.last = d.ID
		t.since = d.Time
		if err := t.out.print(d); err != nil {
			return fmt.Errorf("printing decisions: %w", err)
		}
	}

	return t.out.flush()
}

func (t *tail) present(ctx context.Context) error {
	f := t.filter
	f.From = t.since
	for d, err := range t.reader.Follow(ctx, f) {
		if err != nil {
			return err
		}
		if cmp.Or(cmp.Compare(d.ID.Seq, t.last.Seq), cmp.Compare(d.ID.Index, t.last.Index)) <= 0 {
			continue
		}
		if err := errors.Join(t.out.print(d), t.out.flush()); err != nil {
			return fmt.Errorf("printing decisions: %w", err)
		}
	}

	return ctx.Err()
}
