package decisions

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditRetainHelp = `Keep the log for a time, and remove finished segments whose every entry is older, as
guardlock audit prune does. Run it each day, beside the running gateway.

What a legal hold is about stays (guardlock audit hold), and so does all behind it,
since a log has no gaps; the answer says what stays, and for which hold. If the holds
cannot be read, nothing is removed (exit code 3).`

type auditRetainCommand struct {
	pruneFlags
	keep string
}

func newAuditRetainCommand() *cobra.Command {
	var c auditRetainCommand
	cmd := &cobra.Command{
		Use:   "retain --keep PERIOD",
		Short: "Remove what is older than the log is kept, but for legal holds",
		Long:  auditRetainHelp,
		Example: `  guardlock audit retain --keep 400d --dry-run
  guardlock audit retain --keep 400d --dir data/audit --audit-key data/audit.key`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	c.register(cmd)
	cmd.Flags().StringVar(&c.keep, "keep", "", "keep every entry for this `PERIOD`, like 400d or 36h")

	return cmd
}

func (c *auditRetainCommand) run(cmd *cobra.Command) error {
	if c.keep == "" {
		return cli.NeedFlag(cmd, "keep", "--keep 400d")
	}
	keep, err := cli.ParsePeriod(c.keep)
	if err != nil {
		return exit.Usagef("reading --keep: %w", err)
	}
	if keep == 0 {
		return exit.Usagef("reading --keep: a log is kept for some time")
	}

	now := time.Now()
	return c.prune(cmd, audit.Cut{Before: now.Add(-keep)}, now)
}
