package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/plan"
	"github.com/guardlock/guardlock/internal/server"
)

const planHelp = `Plan says what a changed configuration, trust root or policy would do to each
binding before it is applied: which modules, host functions, keys, routes and
approvals are lost or gained, what ends sooner, which topics another binding would
decide about, or none, which clients would be refused, and which settings need a
start. It is for the review of a change: nothing is changed, and no port is opened.

The other side is a configuration file with all that it names, as a checkout of the
main branch (--against), or a gateway that runs (--url). A gateway does not tell
conditions on clients and its settings: with --url those are not compared.

Both sides are judged as they would be at a start. A gateway that runs and reloads
keeps the last admitted version of a module whose new one is refused.

Exit code 0: nothing is lost; 3: something is lost, or the new configuration would
not start; 1: one side could not be read or asked.`

type planOptions struct {
	askFlags
	config, against string
	markdown        bool
}

func newPlanCommand() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "What a changed configuration would do to each binding",
		Long:  planHelp,
		Example: `  guardlock plan --config guardlock.yaml --against ../main/guardlock.yaml
  guardlock plan --config guardlock.yaml --url http://127.0.0.1:9099
  guardlock plan --config guardlock.yaml --against ../main/guardlock.yaml --markdown > comment.md`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}

	f := cmd.Flags()
	f.StringVarP(&o.config, "config", "c", "", "the new configuration `FILE`")
	f.StringVar(&o.against, "against", "", "the configuration `FILE` to compare it with")
	o.register(f)
	f.BoolVar(&o.markdown, "markdown", false, "print Markdown, for a comment on a pull request")
	return cmd
}

func (o *planOptions) run(cmd *cobra.Command) error {
	switch {
	case o.config == "":
		return cli.NeedFlag(cmd, "config", "guardlock plan --config new.yaml --against old.yaml")
	case (o.against == "") == (len(o.urls) == 0):
		return exit.WithHint(exit.Usagef("plan: give --against or --url, and not both"), "for example: guardlock plan --config new.yaml --against old.yaml")
	case o.markdown && cli.WantsJSON(cmd):
		return exit.Usagef("plan: give --json or --markdown, not both")
	}

	after := server.Check(cmd.Context(), o.config)
	if err := problemsOf(o.config, after.Problems, after.Unread); err != nil {
		return err
	}
	before, err := o.before(cmd.Context())
	if err != nil {
		return err
	}

	p := plan.Compare(before, plan.Side{Config: after.Config, Status: after.Status})
	if err := o.print(cmd, p); err != nil {
		return err
	}
	if p.Loses() {
		return exit.Refusedf("something is lost")
	}
	return nil
}

// before is what the new configuration is compared with.
func (o *planOptions) before(ctx context.Context) (plan.Side, error) {
	if len(o.urls) > 0 {
		ask, err := o.asker(ctx)
		if err != nil {
			return plan.Side{}, err
		}
		status, err := ask.status(ctx)
		return plan.Side{Status: status}, err
	}

	r := server.Check(ctx, o.against)
	if err := problemsOf(o.against, r.Problems, r.Unread); err != nil {
		return plan.Side{}, exit.WithCode(err, exit.Failure)
	}
	return plan.Side{Config: r.Config, Status: r.Status}, nil
}

// problemsOf is the error of a configuration that a gateway would not start with; nil
// is none. Where the file could not be read, nothing was found out about it.
func problemsOf(path string, all []error, unread bool) error {
	if len(all) == 0 {
		return nil
	}

	err := exit.Refusedf("%s: %s\n%w", path, cli.Count(len(all), "problem"), errors.Join(all...))
	if unread {
		err = exit.WithCode(err, exit.Failure)
	}
	return err
}

func (o *planOptions) print(cmd *cobra.Command, p *plan.Plan) error {
	out := cmd.OutOrStdout()
	switch {
	case cli.WantsJSON(cmd):
		return cli.PrintJSON(out, planLine{Plan: p, Loses: p.Loses()})
	case o.markdown:
		if _, err := fmt.Fprintf(out, "**guardlock plan:** %s\n\n```diff\n", summary(p)); err != nil {
			return err
		}
		if err := writePlan(out, p); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, "```")
		return err
	}

	if _, err := fmt.Fprintf(out, "%s\n", summary(p)); err != nil {
		return err
	}
	return writePlan(out, p)
}

// planLine is the JSON form of a plan.
type planLine struct {
	Loses bool `json:"loses"`
	*plan.Plan
}
