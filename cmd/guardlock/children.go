package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/bench"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/transforms"
)

// newChildCommand makes a hidden command that a gateway starts itself with to do
// something in a process of its own. No person types it, so it has no help, and it
// takes no arguments: what the child is to do comes through its standard input.
func newChildCommand(name string, run func(cmd *cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use:    name,
		Hidden: true,
		Args:   cli.NeedArgs(),
		RunE:   func(cmd *cobra.Command, _ []string) error { return run(cmd) },
	}
}

// newBrokerCommand is the child that is the embedded broker, with a process and
// a memory of its own.
func newBrokerCommand() *cobra.Command {
	return newChildCommand("__broker", func(cmd *cobra.Command) error {
		// Ctrl-C reaches the gateway and, through a shared terminal,
		// maybe this child: the gateway decides when its broker ends.
		ctx := context.WithoutCancel(cmd.Context())
		return broker.RunChild(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
}

// newCompileCommand is the child that compiles a module where it can harm nothing.
// Its exit code tells the gateway a failed trial from a child that was killed.
func newCompileCommand() *cobra.Command {
	return newChildCommand(transforms.TrialCommand, func(cmd *cobra.Command) error {
		err := transforms.RunTrial(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		if err != nil {
			return exit.WithCode(err, transforms.TrialExit)
		}
		return nil
	})
}

// newGuestCommand is the child that a guest of isolation process runs in.
func newGuestCommand() *cobra.Command {
	return newChildCommand(transforms.WorkerCommand, func(cmd *cobra.Command) error {
		// Who started it ends it.
		return transforms.RunWorker(context.WithoutCancel(cmd.Context()), cmd.InOrStdin(), cmd.OutOrStdout())
	})
}

// newBenchGatewayCommand is the child that is the gateway which `guardlock bench`
// measures.
func newBenchGatewayCommand() *cobra.Command {
	return newChildCommand(bench.Command, func(cmd *cobra.Command) error {
		// Ctrl-C reaches it through a shared terminal; who started it ends it.
		ctx := context.WithoutCancel(cmd.Context())
		return bench.RunChild(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
}

// newPolicyWorkerCommand is the child that a policy is evaluated in, since
// nothing within a process bounds one.
func newPolicyWorkerCommand() *cobra.Command {
	return newChildCommand(policy.WorkerCommand, func(cmd *cobra.Command) error {
		// Who started it ends it: by closing standard input.
		ctx := context.WithoutCancel(cmd.Context())
		return policy.RunWorker(ctx, cmd.InOrStdin(), cmd.OutOrStdout())
	})
}
