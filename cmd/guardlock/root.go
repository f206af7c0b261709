package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/internal/exit"
)

const rootHelp = `Guardlock stands in front of a Kafka cluster. Every record that a producer sends
passes through signed and approved WebAssembly modules before it is stored; OPA
decides what each module may do; and an audit log records every decision.

Start here:
  guardlock demo                     a complete chain on this machine, with sample data
  guardlock serve --config FILE      the gateway
  guardlock check FILE               every problem of a configuration at once

Exit codes:
    0  done
    1  something did not work (file, network, broker)
    2  the command line is wrong
    3  refused: by a signature, an approval, a policy, a module or a check of the log
    4  not found: no such topic, decision or file in the log
  130  interrupted before the work was done`

// newRootCommand puts the command tree together: one constructor per file.
func newRootCommand() *cobra.Command {
	root := newGroup("guardlock", "A gateway that checks every Kafka record before it is stored", rootHelp,
		newDemoCommand(),
		newServeCommand(),
		newCheckCommand(),
		newKeygenCommand(),
		newModuleCommand(),
		newPolicyCommand(),
		newAuditCommand(),
		newUserCommand(),
		newTopicCommand(),
		newProduceCommand(),
		newConsumeCommand(),
		newVersionCommand(),
		newBrokerCommand(),
	)
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().Bool("json", false, "print JSON instead of text; streams print one object per line")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.WithHint(exit.WithCode(err, exit.Usage), "see `%s --help`", cmd.CommandPath())
	})
	return root
}

// newGroup is a command that only holds others: it prints its help, and a word
// that is not one of its commands is an error with a suggestion.
func newGroup(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	group.SuggestionsMinimumDistance = 2
	group.AddCommand(commands...)
	return group
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := exit.Usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return exit.WithHint(err, "did you mean `%s %s`?", cmd.CommandPath(), strings.Join(near, "` or `"))
	}
	return exit.WithHint(err, "see `%s --help`", cmd.CommandPath())
}

// wantsJSON tells whether --json was given on this command or above it.
func wantsJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}
