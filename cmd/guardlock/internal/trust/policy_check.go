package trust

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/policy"
)

func newPolicyCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [PATH]",
		Short: "Report every problem of a policy at once",
		Long: `Report every problem of a policy and its tests at once: syntax, types, unused
and undefined names, and built-ins that no policy may use (network,
environment, chance). As strict as the gateway when it loads the policy. Then it
is asked about an example, and must answer with bounded time and memory.`,
		Example: "  guardlock policy check policy/\n  guardlock policy check policy.tar.gz --json",
		Args:    optionalPath,
		RunE:    runPolicyCheck,
	}
}

type problemLine struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func runPolicyCheck(cmd *cobra.Command, args []string) error {
	fsys, err := openPolicy(first(args))
	if err != nil {
		return err
	}

	found, err := policy.Check(cmd.Context(), fsys, policyOptions())
	if err != nil {
		return fmt.Errorf("checking %s: %w", policyName(first(args)), err)
	}

	lines := []problemLine{}
	for _, p := range found {
		lines = append(lines, problemLine{p.File, p.Line, p.Message})
		if !cli.WantsJSON(cmd) {
			fmt.Fprintln(cmd.OutOrStdout(), cli.Printable(p.String()))
		}
	}

	if cli.WantsJSON(cmd) {
		if err := cli.PrintJSON(cmd.OutOrStdout(), lines); err != nil {
			return err
		}
	}

	if len(found) > 0 {
		return exit.Refusedf("checking %s: %s", policyName(first(args)), cli.Count(len(found), "problem"))
	}
	if !cli.WantsJSON(cmd) {
		fmt.Fprintf(cmd.OutOrStdout(), "%s has no problem\n", policyName(first(args)))
	}

	return nil
}
