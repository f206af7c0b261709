package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/policy"
)

// newPolicyWorkerCommand is the hidden command that a policy is evaluated in:
// never typed by a person.
func newPolicyWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    policy.WorkerCommand,
		Hidden: true,
		Args:   cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Who started it ends it: by closing standard input.
			ctx := context.WithoutCancel(cmd.Context())
			return policy.RunWorker(ctx, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
