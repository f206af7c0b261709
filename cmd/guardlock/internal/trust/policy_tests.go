package trust

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/policy"
)

type policyTestCommand struct {
	minCoverage float64
	verbose     bool
}

func newPolicyTestCommand() *cobra.Command {
	var c policyTestCommand
	cmd := &cobra.Command{
		Use:   "test [PATH]",
		Short: "Run a policy's own tests",
		Long: `Run the rules named test_... of a policy, under the gateway's own restrictions,
and report how much of the policy they reach. A policy without tests fails.`,
		Example: "  guardlock policy test policy/\n  guardlock policy test policy/ --min-coverage 90 --verbose",
		Args:    optionalPath,
		RunE:    c.run,
	}

	cmd.Flags().Float64Var(&c.minCoverage, "min-coverage", 0, "fail below this percentage of lines reached")
	cmd.Flags().BoolVarP(&c.verbose, "verbose", "v", false, "list the tests that passed and the lines not reached too")
	return cmd
}

// policyTestReport is the JSON form of a run of a policy's tests.
type policyTestReport struct {
	Passed   bool             `json:"passed"`
	Coverage float64          `json:"coverage"`
	Tests    []policyTestLine `json:"tests"`
	Gaps     []policyGap      `json:"gaps"`
}

type policyTestLine struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Passed  bool   `json:"passed"`
	Skipped bool   `json:"skipped"`
	Error   string `json:"error,omitempty"`
	Output  string `json:"output,omitempty"`
}

type policyGap struct {
	File string `json:"file"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

func (c *policyTestCommand) run(cmd *cobra.Command, args []string) error {
	fsys, err := openPolicy(first(args))
	if err != nil {
		return err
	}

	r, err := policy.Test(cmd.Context(), fsys, policyOptions())
	if err != nil {
		return exit.WithHint(fmt.Errorf("testing %s: %w", policyName(first(args)), err), "`guardlock policy check` names every problem")
	}

	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), newPolicyTestReport(r))
	} else {
		err = c.write(cmd.OutOrStdout(), r)
	}

	switch {
	case err != nil:
		return err
	case len(r.Tests) == 0:
		return exit.Refusedf("testing %s: it has no tests", policyName(first(args)))
	case !r.Passed():
		return exit.Refusedf("testing %s: a test failed", policyName(first(args)))
	case r.Coverage < c.minCoverage:
		return exit.WithHint(exit.Refusedf("testing %s: %.1f%% of its lines were reached, not %.1f%%", policyName(first(args)), r.Coverage, c.minCoverage), "--verbose lists the others")
	}

	return nil
}

func newPolicyTestReport(r policy.Report) policyTestReport {
	report := policyTestReport{
		Passed:   r.Passed(),
		Coverage: r.Coverage,
		Tests:    []policyTestLine{},
		Gaps:     []policyGap{},
	}
	for _, t := range r.Tests {
		report.Tests = append(report.Tests, policyTestLine{t.Package + "." + t.Name, t.File, t.Line, t.Passed, t.Skipped, t.Error, t.Output})
	}

	for _, g := range r.Gaps {
		report.Gaps = append(report.Gaps, policyGap(g))
	}
	return report
}

func (c *policyTestCommand) write(w io.Writer, r policy.Report) error {
	p := cli.PaletteFor(w)
	passed := 0
	for _, t := range r.Tests {
		mark := p.Red("FAIL")
		switch {
		case t.Skipped:
			mark = p.Yellow("skip")
		case t.Passed:
			passed++
			mark = p.Green("ok  ")
		}

		if t.Passed && !t.Skipped && !c.verbose {
			continue
		}
		fmt.Fprintf(w, "%s  %s  %s:%d\n", mark, cli.Printable(t.Name), cli.Printable(t.File), t.Line)
		if t.Error != "" {
			fmt.Fprintf(w, "      %s\n", cli.Printable(t.Error))
		}
	}

	if c.verbose {
		for _, g := range r.Gaps {
			fmt.Fprintf(w, "%s  %s:%d-%d\n", p.Dim("not reached"), cli.Printable(g.File), g.From, g.To)
		}
	}

	_, err := fmt.Fprintf(w, "%d of %s passed, %.1f%% of lines reached\n", passed, cli.Count(len(r.Tests), "test"), r.Coverage)
	return err
}
