package devel

import (
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// upTo checks arguments of which the last, from number needed on, may be left out.
func upTo(needed int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		given := min(max(len(args), needed), len(names))
		return cli.NeedArgs(names[:given]...)(cmd, args)
	}
}
