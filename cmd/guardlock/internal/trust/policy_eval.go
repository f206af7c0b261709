package trust

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/policy"
)

type policyEvalCommand struct {
	input string
}

const policyEvalHelp = `Ask a policy about an input and show its decision and the rules that made it.
Nothing is loaded and nothing changes. The input is the JSON that the gateway
gives: module, grant, binding, gateway, now. What binding says of clients
(principals, client_ids, sources, tls) is what the configuration asks of those
that it is for; empty asks nothing. A client id is claimed, not proven. ` + "`guardlock policy eval --example`" + `
prints one to start from.

Exit code 3 if the gateway would refuse.`

func newPolicyEvalCommand() *cobra.Command {
	var c policyEvalCommand
	var example bool
	cmd := &cobra.Command{
		Use:   "eval [PATH]",
		Short: "Show what a policy decides about an input, and why",
		Long:  policyEvalHelp,
		Example: `  guardlock policy eval --example >input.json
  guardlock policy eval --input input.json
  guardlock policy eval policy/ --json <input.json`,
		Args: optionalPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			if example {
				return printExampleInput(cmd.OutOrStdout())
			}
			return c.run(cmd, args)
		},
	}

	cmd.Flags().StringVarP(&c.input, "input", "i", "-", "`FILE` with the input as JSON; - is standard input")
	cmd.Flags().BoolVar(&example, "example", false, "print an input to start from")
	return cmd
}

// evaluationLine is the JSON form of an evaluation, with the rules that held.
type evaluationLine struct {
	Allowed bool            `json:"allowed"`
	Result  json.RawMessage `json:"result"`
	Problem string          `json:"problem,omitempty"`
	Fired   []firedRule     `json:"fired"`
}

type firedRule struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	Title string `json:"title"`
	File  string `json:"file"`
	Line  int    `json:"line"`
}

const maxInput = 4 << 20

func (c *policyEvalCommand) run(cmd *cobra.Command, args []string) error {
	input, err := c.read(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return err
	}

	fsys, err := openPolicy(first(args))
	if err != nil {
		return err
	}

	engine, err := policy.LoadWith(cmd.Context(), fsys, policyOptions())
	if err != nil {
		return exit.WithHint(fmt.Errorf("loading %s: %w", policyName(first(args)), err), "`guardlock policy check` names every problem")
	}

	v, err := engine.Eval(cmd.Context(), input)
	if err != nil {
		return exit.WithHint(fmt.Errorf("reading the input: %w", err), "`guardlock policy eval --example` prints one that can be read")
	}
	if err := c.write(cmd, v); err != nil {
		return err
	}
	if !v.Allowed() {
		return exit.Refusedf("evaluating %s: the gateway would refuse", policyName(first(args)))
	}

	return nil
}

func (c *policyEvalCommand) read(ctx context.Context, stdin io.Reader) ([]byte, error) {
	if c.input != "-" {
		raw, err := disk.ReadInput(ctx, c.input, maxInput)
		if err != nil {
			return nil, fmt.Errorf("reading the input: %w", err)
		}
		return raw, nil
	}

	if f, ok := stdin.(*os.File); ok && cli.IsTerminal(f) {
		return nil, exit.WithHint(exit.Usagef("policy eval: no input"), "give --input FILE, or start from `guardlock policy eval --example`")
	}
	return io.ReadAll(io.LimitReader(disk.Interruptible(ctx, stdin), maxInput))
}

func (c *policyEvalCommand) write(cmd *cobra.Command, v policy.Evaluation) error {
	if !cli.WantsJSON(cmd) {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), v.Text())
		return err
	}

	line := evaluationLine{
		Allowed: v.Allowed(),
		Result:  v.Result,
		Problem: v.Problem,
		Fired:   []firedRule{},
	}
	for _, r := range v.Fired {
		line.Fired = append(line.Fired, firedRule{r.Name, r.ID, r.Title, r.File, r.Line})
	}

	return cli.PrintJSON(cmd.OutOrStdout(), line)
}
