package decisions

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditHoldHelp = `Keep a part of the log from being removed: every segment with entries of a topic and
a time, and all behind it. Prune and retain obey, beside a running gateway too. The
holds stand in the file "holds" in the log's directory, which keeps those that were
lifted; while it cannot be read, or was changed by hand, nothing is removed.

A hold binds these commands. It does not bind whoever removes files himself: verify
finds that, and keeps nothing.`

func newAuditHoldCommand() *cobra.Command {
	group := cli.NewGroup("hold", "Keep parts of the log from being removed", auditHoldHelp,
		newHoldAddCommand(),
		newHoldListCommand(),
		newHoldLiftCommand(),
	)

	for _, cmd := range group.Commands() {
		cli.Once(cmd)
	}
	return group
}

type holdAddCommand struct {
	dir    string
	topic  string
	from   string
	to     string
	reason string
}

func newHoldAddCommand() *cobra.Command {
	var c holdAddCommand
	cmd := &cobra.Command{
		Use:   "add --topic TOPIC --reason TEXT",
		Short: "Hold what the log has of a topic",
		Long: `Hold what the log has of a topic, from one time to another. Without --from it is held
from the log's beginning on, and without --to also what is still to come.

A record that a module routed to the topic counts as well.`,
		Example: `  guardlock audit hold add --topic payments --from 2030-01-01 --to 2030-03-31 --reason 'case 4711'
  guardlock audit hold add --topic '*' --reason 'audit of 2030'`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	registerAuditDir(cmd, &c.dir)
	cmd.Flags().StringVarP(&c.topic, "topic", "t", "", "`TOPIC`, or a pattern like 'cust*'; '*' holds everything")
	cmd.Flags().StringVar(&c.from, "from", "", "hold entries from this `TIME` on: a period ago, a day or a time")
	cmd.Flags().StringVar(&c.to, "to", "", "hold entries up to this `TIME`")
	cmd.Flags().StringVar(&c.reason, "reason", "", "why: a `TEXT` that list and retain show")

	return cmd
}

func (c *holdAddCommand) run(cmd *cobra.Command) error {
	if c.topic == "" {
		return cli.NeedFlag(cmd, "topic", "--topic payments")
	}
	if c.reason == "" {
		return cli.NeedFlag(cmd, "reason", "--reason 'case 4711'")
	}

	now := time.Now()
	from, err := parseMoment(c.from, now, false)
	if err != nil {
		return exit.Usagef("reading --from: %w", err)
	}
	to, err := parseMoment(c.to, now, true)
	if err != nil {
		return exit.Usagef("reading --to: %w", err)
	}
	if !from.IsZero() && !to.IsZero() && to.Before(from) {
		return exit.Usagef("--to is before --from")
	}

	hold, err := audit.AddHold(audit.FilesIn(c.dir), audit.Hold{
		Topic:  c.topic,
		From:   from,
		To:     to,
		Reason: c.reason,
		Added:  now,
	})
	return sayHold(cmd, c.dir, "added", &hold, err)
}

func newHoldListCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the holds, and those that were lifted",
		Example: `  guardlock audit hold list --dir data/audit`,
		Args:    cli.NeedArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return listHolds(cmd, dir) },
	}

	registerAuditDir(cmd, &dir)
	return cmd
}

func listHolds(cmd *cobra.Command, dir string) error {
	if _, err := openLog(dir); err != nil {
		return err
	}
	holds, err := audit.ReadHolds(audit.FilesIn(dir))
	if err != nil {
		return holdError(dir, err)
	}

	w := cmd.OutOrStdout()
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(w, append(audit.Holds{}, holds...))
	}
	if len(holds) == 0 {
		_, err := fmt.Fprintln(w, "no holds")
		return err
	}

	for i := range holds {
		if _, err := fmt.Fprintln(w, describeHold(&holds[i])); err != nil {
			return err
		}
	}
	return nil
}

func newHoldLiftCommand() *cobra.Command {
	var dir, reason string
	cmd := &cobra.Command{
		Use:     "lift ID --reason TEXT",
		Short:   "End a hold",
		Example: `  guardlock audit hold lift 1 --reason 'case 4711 closed'`,
		Args:    cli.NeedArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return cli.NeedFlag(cmd, "reason", "--reason 'case 4711 closed'")
			}
			hold, err := audit.LiftHold(audit.FilesIn(dir), args[0], reason, time.Now())
			return sayHold(cmd, dir, "lifted", &hold, err)
		},
	}

	registerAuditDir(cmd, &dir)
	cmd.Flags().StringVar(&reason, "reason", "", "why: a `TEXT` that list shows")

	return cmd
}

// sayHold tells of a change of the holds.
func sayHold(cmd *cobra.Command, dir, verb string, hold *audit.Hold, err error) error {
	if err != nil {
		if told := holdError(dir, err); told != nil {
			return told
		}
		return auditError(dir, err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), hold)
	}

	_, err = io.WriteString(cmd.OutOrStdout(), verb+" hold "+describeHold(hold)+"\n")
	return err
}

// holdError gives errors about holds their exit codes and hints; nil is any other.
func holdError(dir string, err error) error {
	switch {
	case errors.Is(err, audit.ErrHolds):
		return exit.WithHint(exit.Refusedf("the decision log in %s: %w", dir, err), "nothing was removed or changed; put the file %s back from a copy", audit.HoldsName)
	case errors.Is(err, audit.ErrHoldsChanged), errors.Is(err, audit.ErrLocked):
		return exit.WithHint(fmt.Errorf("the decision log in %s: %w", dir, err), "somebody else prunes the log or changes its holds; try again")
	case errors.Is(err, audit.ErrNoHold):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "see `guardlock audit hold list`")
	}

	return nil
}

// describeHold is one line about a hold.
func describeHold(h *audit.Hold) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: topic %q", h.ID, h.Topic)
	if !h.From.IsZero() {
		fmt.Fprintf(&b, ", from %s", h.From.Format(time.RFC3339))
	}
	if !h.To.IsZero() {
		fmt.Fprintf(&b, ", to %s", h.To.Format(time.RFC3339))
	}

	fmt.Fprintf(&b, ": %q", h.Reason)
	if !h.InForce() {
		fmt.Fprintf(&b, ", lifted %s: %q", h.Lifted.Format(time.RFC3339), h.LiftReason)
	}
	return b.String()
}
