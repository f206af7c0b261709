package main

import (
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms"
)

// newCompileCommand is the hidden command that a gateway starts itself with to
// compile a module where it can harm nothing: never typed by a person.
func newCompileCommand() *cobra.Command {
	return &cobra.Command{
		Use:    transforms.TrialCommand,
		Hidden: true,
		Args:   cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := transforms.RunTrial(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			if err != nil {
				return exit.WithCode(err, transforms.TrialExit)
			}
			return nil
		},
	}
}
