package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// newBrokerCommand is the hidden command that the gateway starts itself with
// to get the embedded broker: never typed by a person.
func newBrokerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "__broker",
		Hidden: true,
		Args:   cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Ctrl-C reaches the gateway and, through a shared terminal,
			// maybe this child: the gateway decides when its broker ends.
			ctx := context.WithoutCancel(cmd.Context())
			return broker.RunChild(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}
