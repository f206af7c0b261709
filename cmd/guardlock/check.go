package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/server"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Report every problem of a configuration at once",
		Long: `Check reads a configuration as serve would, without opening a port, a broker or
the audit log: the file itself, then every file that it names, signatures,
approvals and the policy. Every problem is reported, each with its field.`,
		Example: "  guardlock check guardlock.yaml",
		Args:    cli.NeedArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return reportCheck(cmd, args[0], server.Check(cmd.Context(), args[0]))
		},
	}
}

func reportCheck(cmd *cobra.Command, path string, found []error) error {
	texts := make([]string, len(found))
	for i, err := range found {
		texts[i] = err.Error()
	}

	if cli.WantsJSON(cmd) {
		out := struct {
			File     string   `json:"file"`
			OK       bool     `json:"ok"`
			Problems []string `json:"problems"`
		}{path, len(found) == 0, texts}
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(out); err != nil {
			return err
		}
	} else if len(found) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", path)
	}

	if len(found) == 0 {
		return nil
	}
	return exit.Refusedf("%s: %d problem(s)\n%w", path, len(found), errors.Join(found...))
}
