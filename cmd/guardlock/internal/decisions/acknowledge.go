package decisions

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
)

const acknowledgeHelp = `Say that you looked into records that the gateway found stored without a decision
(audit.reconcile), and why they are there. The gateway records it in its decision log within
a second, or at its next start, and looks again: its alarm about these offsets ends, and
nothing else changes. They stay a bypass that "audit reconcile" tells with exit code 3, and
each look still names them.

It is about just these offsets of the topic that is there now. What is found at others, or
in a topic that is made anew under the name, alarms again. Only what the last look named
(guardlock status, or audit query --kind reconciliation) can be acknowledged, and so nothing
beforehand; it names ten places at once, and the next ones when these are acknowledged. It
cannot be taken back.

The audit key of the log is needed, since it silences an alarm.`

type acknowledgeCommand struct {
	keyedFlags
	cluster string
	offsets string
	reason  string
	by      string
}

func newAcknowledgeCommand() *cobra.Command {
	var c acknowledgeCommand
	cmd := &cobra.Command{
		Use:   "acknowledge TOPIC/PARTITION --offsets A-B --reason TEXT",
		Short: "Say that somebody looked into a bypass",
		Long:  acknowledgeHelp,
		Example: `  guardlock audit reconcile acknowledge payments/0 --offsets 108-109 --reason 'INC-812: loaded by hand on the broker'
  guardlock audit query --kind acknowledgement`,
		Args: cli.NeedArgs("TOPIC/PARTITION"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}

	c.register(cmd)
	cmd.Flags().StringVar(&c.cluster, "cluster", config.MainCluster, "the cluster's `NAME` in the log")
	cmd.Flags().StringVar(&c.offsets, "offsets", "", "the offsets from A to B, both included, written `A-B`, or one offset")
	cmd.Flags().StringVar(&c.reason, "reason", "", "why they are there: a `TEXT` that the log keeps")
	cmd.Flags().StringVar(&c.by, "by", "", "`NAME` of who says so (default: who runs this)")
	cli.Once(cmd)
	return cmd
}

func (c *acknowledgeCommand) run(cmd *cobra.Command, what string) error {
	if c.offsets == "" {
		return cli.NeedFlag(cmd, "offsets", "--offsets 108-109")
	}
	if c.reason == "" {
		return cli.NeedFlag(cmd, "reason", "--reason 'INC-812: loaded by hand'")
	}
	at, err := parseRange("acknowledging", what, c.offsets)
	if err != nil {
		return err
	}
	r, err := openLog(c.dir)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return auditError(c.dir, err)
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}

	done, err := audit.Acknowledge(cmd.Context(), audit.FilesIn(c.dir), keys, audit.Acknowledgement{
		Cluster:   c.cluster,
		Topic:     at.Topic,
		Partition: int32(at.Partition),
		First:     at.First,
		Last:      at.Last,
		By:        cmp.Or(c.by, processUser()),
		Reason:    c.reason,
		Given:     time.Now(),
	})
	if err != nil {
		return acknowledgeError(c.dir, err)
	}

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), done)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "acknowledged %s by %s: %q; the gateway records it within a second, or at its next start\n", cli.Printable(done.String()), cli.Printable(done.By), done.Reason)
	return err
}

// acknowledgeError gives the errors of acknowledging their exit codes and hints.
func acknowledgeError(dir string, err error) error {
	switch {
	case errors.Is(err, audit.ErrNoBypass):
		return exit.WithHint(exit.NotFoundf("acknowledging: %w", err), "guardlock status names what the gateway found, and so does guardlock audit query --kind reconciliation --latest 1 --json; the first look is a minute after the start")
	case errors.Is(err, audit.ErrAcknowledged):
		return exit.WithHint(fmt.Errorf("acknowledging: %w", err), "the gateway records it, if it has not yet: guardlock audit query --kind acknowledgement")
	case errors.Is(err, audit.ErrForeign):
		return exit.WithHint(exit.WithCode(err, exit.Usage), "give each audit key that the log was written under with --audit-key")
	case errors.Is(err, audit.ErrAcknowledgements):
		return exit.WithHint(exit.Refusedf("the decision log in %s: %w", dir, err),
			"nothing was changed; give the former audit key with --audit-key as well, or remove the file %s: what the log has of it stays", audit.AcknowledgementsName)
	case errors.Is(err, audit.ErrLocked):
		return exit.WithHint(fmt.Errorf("the decision log in %s: %w", dir, err), "somebody else acknowledges something; try again")
	}
	return auditError(dir, err)
}
