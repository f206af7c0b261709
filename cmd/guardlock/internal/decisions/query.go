package decisions

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

type auditQueryCommand struct {
	filter  auditFilterFlags
	wide    bool
	limit   int
	latest  int
	byBatch bool
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
nowhere: the broker refused it, with the error under REASON.
` + auditFilterHelp,
		Example: `  guardlock audit query --topic payments --partition 0 --offset 42
  guardlock audit query --outcome rejected,not_stored --topic 'cust*' --from 1h
  guardlock audit query --source 10.1.0.0/16 --client-id 'etl-7'
  guardlock audit query --module fraud --reason fraud.amount --latest 20
  guardlock audit query --kind admission --from 2030-01-01 --json | jq .`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.filter.register(cmd)
	cmd.Flags().BoolVar(&c.wide, "wide", false, "lines as long as they need to be, with milliseconds and TLS")
	fl := cmd.Flags()
	fl.IntVarP(&c.limit, "limit", "n", 0, "print this `NUMBER` at most; 0 is all")
	fl.IntVar(&c.latest, "latest", 0, "print only this `NUMBER` of the latest, latest first")
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

	f.Limit = c.limit
	f.ByBatch = c.byBatch
	if c.latest > 0 {
		f.Limit = c.latest
		f.Reverse = true
	}

	r, err := openAudit(cmd, c.filter.dir)
	if err != nil {
		return err
	}

	defer r.Close()
	out := newDecisionPrinter(cmd.OutOrStdout(), cli.WantsJSON(cmd), c.wide)
	for d, err := range r.Query(cmd.Context(), f) {
		if err != nil {
			return auditError(c.filter.dir, err)
		}
		if err := out.print(d); err != nil {
			return fmt.Errorf("printing decisions: %w", err)
		}
	}

	if err := out.flush(); err != nil {
		return fmt.Errorf("printing decisions: %w", err)
	}
	if err := unseen(cmd.Context(), r, f, c.filter.dir, out.printed > 0); err != nil {
		return err
	}
	if out.printed == 0 && !cli.WantsJSON(cmd) {
		fmt.Fprintln(cmd.ErrOrStderr(), "no decision matches")
	}

	return nil
}
