package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/policy"
)

func newPolicyExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export DIRECTORY",
		Short: "Write the built-in policy and its tests into a directory, to start your own from",
		Example: `  guardlock policy export policy/
  guardlock policy test policy/`,
		Args: cli.NeedArgs("DIRECTORY"),
		RunE: runPolicyExport,
	}
}

func runPolicyExport(cmd *cobra.Command, args []string) error {
	if err := os.CopyFS(args[0], policy.Default()); err != nil {
		err = fmt.Errorf("writing the policy: %w", err)
		if errors.Is(err, fs.ErrExist) {
			return exit.WithHint(err, "choose a directory that holds none of these files; none is replaced")
		}
		return err
	}

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]string{"directory": args[0]})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote the built-in policy to %s\n", args[0])
	return err
}

// printExampleInput prints an input that the built-in policy allows, to begin
// tests of another with.
func printExampleInput(w io.Writer) error {
	in := policy.Example(time.Now())
	in.Gateway.Version = build.Read().Version
	raw, err := policy.MarshalInput(in)
	if err != nil {
		return err
	}

	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return err
	}

	_, err = fmt.Fprintln(w, indented.String())
	return err
}
