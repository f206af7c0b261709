package decisions

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditHoldHelp = `Keep a part of the log from being removed: every segment with entries of a topic and
a time, and all behind it. Prune and retain obey, beside a running gateway too. The
holds stand in the file "holds" in the log's directory, which keeps those that were
lifted and has a tag under the audit key; while it cannot be read, or was changed by
somebody without that key, nothing is removed and no hold is changed.

The gateway has the log say within a second, or at its next start, which holds were added
and lifted (audit query --kind hold). If the file is gone, or an older one is in its
place, nothing is removed either: keep a copy of it elsewhere.

A hold binds these commands. It does not bind whoever removes files himself: verify
finds segments that are gone, and keeps nothing.`

func newAuditHoldCommand() *cobra.Command {
	group := cli.NewGroup("hold", "Keep parts of the log from being removed", auditHoldHelp,
		newHoldAddCommand(),
		newHoldListCommand(),
		newHoldLiftCommand(),
		newHoldTagCommand(),
	)

	for _, cmd := range group.Commands() {
		cli.Once(cmd)
	}
	return group
}

type holdAddCommand struct {
	keyedFlags
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

A record that a module routed to the topic counts as well. Of a topic that the log has
not seen it warns, and holds it all the same: it may still come.`,
		Example: `  guardlock audit hold add --topic payments --from 2030-01-01 --to 2030-03-31 --reason 'case 4711'
  guardlock audit hold add --topic '*' --reason 'audit of 2030'`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	c.register(cmd)
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

	if err := c.warnUnseen(cmd); err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	hold, err := audit.AddHold(audit.FilesIn(c.dir), keys, audit.Hold{
		Topic:  c.topic,
		From:   from,
		To:     to,
		Reason: c.reason,
		By:     processUser(),
		Added:  now,
	})
	return sayHold(cmd, c.dir, "added", &hold, err)
}

// warnUnseen says that the log knows no such topic: it may be spelled otherwise.
func (c *holdAddCommand) warnUnseen(cmd *cobra.Command) error {
	r, err := openLog(c.dir)
	if err != nil {
		return err
	}
	defer r.Close()

	missing, err := r.Unseen(cmd.Context(), query.Filter{Topics: []string{c.topic}})
	if err != nil {
		return auditError(c.dir, err)
	}
	for _, u := range missing {
		cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("no decision in %s names %s %s; %s", c.dir, u.What, u.Name, knownNames(u)))
	}
	return nil
}

func newHoldListCommand() *cobra.Command {
	var c keyedFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the holds, and those that were lifted",
		Example: `  guardlock audit hold list --dir data/audit`,
		Args:    cli.NeedArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.listHolds(cmd) },
	}

	c.register(cmd)
	return cmd
}

func (k *keyedFlags) listHolds(cmd *cobra.Command) error {
	r, err := openLog(k.dir)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return auditError(k.dir, err)
	}

	holds, err := k.readHolds(cmd)
	if err != nil {
		return err
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

// readHolds reads the holds for somebody who looks: he may do so without the key, and is
// told of what has no tag.
func (k *keyedFlags) readHolds(cmd *cobra.Command) (audit.Holds, error) {
	files := audit.FilesIn(k.dir)
	keys, keyErr := k.keys()
	if keyErr != nil && len(k.keyFiles) > 0 {
		return nil, keyErr
	}

	holds, err := audit.ReadHolds(files, keys)
	if errors.Is(err, audit.ErrHoldsUntagged) {
		cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("the legal holds in %s are from before there were tags: if they are what was added, say so with `guardlock audit hold tag --dir %s`", k.dir, cli.ShellWord(k.dir)))
		holds, err = audit.ReadHolds(files, nil)
	}
	if err != nil {
		return nil, changeError(k.dir, err)
	}
	if keyErr != nil && len(holds) > 0 {
		cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("the tag of the legal holds was not checked: %w", keyErr))
	}
	return holds, nil
}

func newHoldTagCommand() *cobra.Command {
	var c keyedFlags
	cmd := &cobra.Command{
		Use:   "tag",
		Short: "Give holds from an older version their tag",
		Long: `Give the holds the tag under the audit key that they lack where an older version wrote
them: until then nothing is removed and no hold is changed. Look at them first (guardlock
audit hold list), since nothing shows who wrote them. Holds under a former audit key get
their tag under the present one; give both with --audit-key.`,
		Example: `  guardlock audit hold tag --dir data/audit --audit-key data/audit.key`,
		Args:    cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := c.keys()
			if err != nil {
				return err
			}
			holds, err := audit.TagHolds(audit.FilesIn(c.dir), keys)
			if err != nil {
				return changeError(c.dir, err)
			}
			if cli.WantsJSON(cmd) {
				return cli.PrintJSON(cmd.OutOrStdout(), append(audit.Holds{}, holds...))
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "tagged "+cli.Count(len(holds), "hold"))
			return err
		},
	}

	c.register(cmd)
	return cmd
}

func newHoldLiftCommand() *cobra.Command {
	var c keyedFlags
	var reason string
	cmd := &cobra.Command{
		Use:     "lift ID --reason TEXT",
		Short:   "End a hold",
		Example: `  guardlock audit hold lift 1 --reason 'case 4711 closed'`,
		Args:    cli.NeedArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return cli.NeedFlag(cmd, "reason", "--reason 'case 4711 closed'")
			}
			keys, err := c.keys()
			if err != nil {
				return err
			}
			hold, err := audit.LiftHold(audit.FilesIn(c.dir), keys, args[0], audit.Lift{Reason: reason, By: processUser(), Time: time.Now()})
			return sayHold(cmd, c.dir, "lifted", &hold, err)
		},
	}

	c.register(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why: a `TEXT` that list shows")

	return cmd
}

// sayHold tells of a change of the holds.
func sayHold(cmd *cobra.Command, dir, verb string, hold *audit.Hold, err error) error {
	if err != nil {
		return changeError(dir, err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), hold)
	}

	_, err = io.WriteString(cmd.OutOrStdout(), verb+" hold "+describeHold(hold)+"\n")
	return err
}

// changeError is that of a change of the holds.
func changeError(dir string, err error) error {
	if told := holdError(dir, err); told != nil {
		return told
	}
	return auditError(dir, err)
}

// holdError gives errors about holds their exit codes and hints; nil is any other.
func holdError(dir string, err error) error {
	switch {
	case errors.Is(err, audit.ErrHolds) && exit.Unanswered(err):
		return exit.WithHint(fmt.Errorf("the decision log in %s: %w", dir, err), "nothing was removed or changed: see that the file %s can be read, and try again", audit.HoldsName)
	case errors.Is(err, audit.ErrForeign):
		return exit.WithHint(exit.WithCode(err, exit.Usage), "give each audit key that the log was written under with --audit-key")
	case errors.Is(err, audit.ErrHoldsUntagged):
		return exit.WithHint(exit.Refusedf("the decision log in %s: %w", dir, err), "an older version wrote them: look at them (guardlock audit hold list), and if they are what was added, guardlock audit hold tag")
	case errors.Is(err, audit.ErrHoldsTag):
		return exit.WithHint(exit.Refusedf("the decision log in %s: %w", dir, err), "nothing was removed or changed; put the file %s back from a copy, or give the former audit key with --audit-key as well", audit.HoldsName)
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
