package decisions

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

type auditQueryCommand struct {
	filter  auditFilterFlags
	format  formatFlags
	limit   int
	latest  int
	byBatch bool
	countBy []string
	after   string
}

func newAuditQueryCommand() *cobra.Command {
	var c auditQueryCommand
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Find decisions by place, time, module, client, outcome or reason",
		Long: `Print the decisions that match, oldest first, one line each. With --wide,
times have milliseconds, and the column TLS has the version and how the fingerprint
of the client's certificate begins. The last column is the decision's id, for audit
show.

The outcome not_stored is that of a batch which was to be forwarded and is stored
nowhere: the broker refused it, with the error under REASON. The state unbound is
that of batches which were forwarded although no binding names their topic.

Answers can be read in pages: with --limit, what --after takes to go on is printed at
the end, on standard error or as "after" of --format json. Pages with the same flags
give each decision once, whatever comes to the logs meanwhile.

Where a segment is damaged, what the others hold is printed all the same; then the segment
is named, and the exit code is 3. A count is of everything, or there is none.

--count-by counts records by the values of keys: ` + strings.Join(query.GroupKeys(), ", ") + `.
` + auditFilterHelp,
		Example: `  guardlock audit query --topic payments --partition 0 --offset 42
  guardlock audit query --outcome rejected,not_stored --topic 'cust*' --from 1h
  guardlock audit query --source 10.1.0.0/16 --client-id 'etl-7'
  guardlock audit query --module fraud --reason fraud.amount --latest 20
  guardlock audit query --kind admission --from 2030-01-01 --json | jq .
  guardlock audit query --dir gw-a/audit --dir gw-b/audit --state unknown,refused --format csv
  guardlock audit query --manifest cluster.yaml --topic payments -p 0 --offset 1000-1999 --limit 100
  guardlock audit query --count-by principal,hour --outcome rejected`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.filter.register(cmd)
	c.format.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&c.limit, "limit", "n", 0, "print this `NUMBER` at most; 0 is all")
	fl.IntVar(&c.latest, "latest", 0, "print only this `NUMBER` of the latest, latest first")
	fl.StringVar(&c.after, "after", "", "go on behind this `CURSOR` of an earlier answer, or behind a decision")
	fl.StringSliceVar(&c.countBy, "count-by", nil, "count records by these `KEYS` instead of listing them")
	fl.BoolVar(&c.byBatch, "by-batch", false, "one line for each batch instead of each record")

	return cmd
}

func (c *auditQueryCommand) run(cmd *cobra.Command, _ []string) error {
	f, err := c.filter.filter(cmd, time.Now())
	if err != nil {
		return err
	}
	if c.limit < 0 || c.latest < 0 || c.limit > 0 && c.latest > 0 {
		return exit.Usagef("audit query: give one of --limit and --latest, as a positive number")
	}

	f.Rest = true
	f.Limit = c.limit
	f.ByBatch = c.byBatch
	if c.latest > 0 {
		f.Limit = c.latest
		f.Reverse = true
	}

	logs, err := c.filter.logs.open(cmd)
	if err != nil {
		return err
	}

	defer logs.Close()
	if len(c.countBy) > 0 {
		return c.count(cmd, logs, f)
	}
	return c.list(cmd, logs, f)
}

// list prints what matches.
func (c *auditQueryCommand) list(cmd *cobra.Command, logs query.Logs, f query.Filter) error {
	after, err := query.ParseCursor(c.after)
	if err != nil {
		return exit.Usagef("--after: %w", err)
	}
	if len(after) > 0 && f.Reverse {
		return exit.Usagef("audit query: give one of --after and --latest")
	}
	if err := logs.Check(after); err != nil {
		return exit.WithHint(exit.WithCode(fmt.Errorf("--after: %w", err), exit.Usage), "a cursor goes on in the logs that it was made of")
	}

	out, err := c.format.printer(cmd, logs)
	if err != nil {
		return err
	}
	for d, err := range logs.Query(cmd.Context(), f, maps.Clone(after)) {
		if err != nil {
			return errors.Join(c.filter.logs.failed(err), out.flush())
		}
		after.Note(&d)
		if err := out.print(d); err != nil {
			return fmt.Errorf("printing decisions: %w", err)
		}
	}

	if f.Reverse {
		after = nil
	}
	if err := out.finish(after); err != nil {
		return err
	}
	if err := c.filter.logs.unseen(cmd.Context(), logs, f, out.printed > 0); err != nil {
		return err
	}

	if out.printed == 0 && out.format == formatTable {
		fmt.Fprintln(cmd.ErrOrStderr(), "no decision matches")
	}
	if (c.limit > 0 || c.after != "") && len(after) > 0 && out.format != formatJSON {
		fmt.Fprintf(cmd.ErrOrStderr(), "go on with --after %s\n", after)
	}
	return nil
}

// count prints how many records there are of each combination of values.
func (c *auditQueryCommand) count(cmd *cobra.Command, logs query.Logs, f query.Filter) error {
	for _, key := range c.countBy {
		if !slices.Contains(query.GroupKeys(), key) {
			return exit.WithHint(exit.Usagef("--count-by %q is nothing to count by", key), "%s", strings.Join(query.GroupKeys(), ", "))
		}
	}
	if c.after != "" || c.latest > 0 || c.byBatch {
		return exit.Usagef("audit query: --count-by counts all that matches, without --after, --latest and --by-batch")
	}

	format, err := c.format.chosen(cmd)
	if err != nil {
		return err
	}
	groups, err := logs.Count(cmd.Context(), f, c.countBy, query.MaxGroups)
	if err != nil {
		return c.filter.logs.failed(err)
	}
	if err := c.filter.logs.unseen(cmd.Context(), logs, f, len(groups.Groups) > 0); err != nil {
		return err
	}

	left := 0
	if c.limit > 0 && len(groups.Groups) > c.limit {
		left = len(groups.Groups) - c.limit
		groups.Groups = groups.Groups[:c.limit]
	}
	if err := printGroups(cmd.OutOrStdout(), format, groups); err != nil {
		return fmt.Errorf("printing counts: %w", err)
	}

	if left > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s more groups\n", humanize.Comma(int64(left)))
	}
	if groups.Rest > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s more records are of groups beyond the first %s, and not told apart: narrow the choice, or export the log\n",
			humanize.Comma(groups.Rest), humanize.Comma(query.MaxGroups))
	}
	return nil
}
