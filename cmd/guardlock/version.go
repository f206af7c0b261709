package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/build"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, source revision and Go version of this build",
		Example: "  guardlock version\n  guardlock version --json",
		Args:    cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cli.WantsJSON(cmd) {
				return cli.PrintJSON(cmd.OutOrStdout(), build.Read())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionText(build.Read()))
			return err
		},
	}
}

func versionText(b build.Info) string {
	return fmt.Sprintf("guardlock %s (revision %s, %s, %s)", b.Version, b.ShortRevision(), b.Go, b.Platform)
}
