package cli

import (
	"strings"

	"github.com/guardlock/guardlock/internal/exit"
	"github.com/spf13/cobra"
)

// NewGroup is a command that only holds others: it prints its help, and a word
// that is not one of its commands is an error with a suggestion.
func NewGroup(use, short, long string, commands ...*cobra.Command) *cobra.Command {
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

// WantsJSON tells whether --json was given, on this command or on one above it.
func WantsJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}
