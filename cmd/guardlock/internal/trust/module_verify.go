package trust

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/exit"
)

type moduleVerifyCommand struct {
	trustRoot string
	config    string
	signature string
	approvals []string
	policy    string
	topics    []string
	dataClass string
	tls       string
	at        string
	gateway   gatewayFlags
}

const verifyHelp = `Go through everything that a gateway checks before it runs a module, in its
order, and print each step's verdict: digest, the author's signature, the
approvals, the module's structure, its imports against the grant, the policy,
and whether it starts with its configuration. After the first "no" the rest is
not looked at, as in the gateway.

Exit code 3 if any step says no.`

func newModuleVerifyCommand() *cobra.Command {
	var c moduleVerifyCommand
	cmd := &cobra.Command{
		Use:   "verify MODULE",
		Short: "Check a module's whole chain of trust, step by step",
		Long:  verifyHelp,
		Example: `  guardlock module verify modules/gdpr --trust-root trust.yaml
  guardlock module verify modules/gdpr --trust-root trust.yaml --policy policy/ --topic customers --data-class confidential
  guardlock module verify modules/gdpr --trust-root trust.yaml --at 2030-01-01   # will it still hold then?`,
		Args: cli.NeedArgs("MODULE"),
		RunE: c.run,
	}
	fl := cmd.Flags()
	fl.StringVar(&c.trustRoot, "trust-root", "", "`FILE` that says who may sign and approve")
	fl.StringVar(&c.config, "config", "", "the module's configuration `FILE` (default config.json beside it)")
	fl.StringVar(&c.signature, "signature", "", "the author's signature `FILE` (default beside it)")
	fl.StringSliceVar(&c.approvals, "approval", nil, "approval `FILE`; may be repeated (default: all beside it)")
	fl.StringVar(&c.policy, "policy", "", "policy directory or bundle `PATH` (default: the built-in policy)")
	fl.StringSliceVarP(&c.topics, "topic", "t", nil, "topics it is to run on, for the policy (default: those approved)")
	fl.StringVar(&c.dataClass, "data-class", "", "class of the data, of those that the policy has (default: the policy's default class)")
	fl.StringVar(&c.tls, "tls", "", "what the binding asks of connections, for the policy: required or mutual")
	fl.StringVar(&c.at, "at", "", "check as of this day or time (default: now)")
	c.gateway.register(cmd)
	return cmd
}

func (c *moduleVerifyCommand) run(cmd *cobra.Command, args []string) error {
	if c.trustRoot == "" {
		return cli.NeedFlag(cmd, "trust-root", "guardlock module verify gdpr.wasm --trust-root trust.yaml")
	}
	v, err := c.verification(args[0])
	if err != nil {
		return err
	}
	steps := v.run(cmd.Context())
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), steps)
	} else {
		err = writeSteps(cmd.OutOrStdout(), steps)
	}
	for _, s := range steps {
		if s.Verdict == verdictNo {
			return errors.Join(err, exit.Refusedf("verifying %s: %s: %s", v.files.wasm, s.Step, s.Detail))
		}
	}
	return err
}

// verification gathers the inputs; nothing is judged yet.
func (c *moduleVerifyCommand) verification(path string) (*verification, error) {
	v := &verification{topics: c.topics, dataClass: c.dataClass, tls: c.tls, now: time.Now()}
	if _, err := gateway.ParseTLSLevel(c.tls); err != nil {
		return nil, exit.Usagef("--tls %w", err)
	}
	var err error
	if c.at != "" {
		if v.now, err = cli.ParseDay(c.at, false); err != nil {
			return nil, exit.Usagef("--at %w", err)
		}
	}
	if v.files, err = findModule(path); err != nil {
		return nil, err
	}
	if c.config != "" {
		v.files.config = c.config
	}
	if c.signature != "" {
		v.files.signature = c.signature
	}
	if len(c.approvals) > 0 {
		v.files.approvals = c.approvals
	}
	if v.pkg, err = v.files.read(); err != nil {
		return nil, err
	}
	if v.root, err = c.gateway.root(c.trustRoot); err != nil {
		return nil, err
	}
	v.policyPath = c.policy
	return v, nil
}

// writeSteps prints verdicts in order, one step a line, further lines below.
func writeSteps(w io.Writer, steps []stepResult) error {
	p := cli.PaletteFor(w)
	for _, s := range steps {
		mark := map[string]string{verdictYes: p.Green("ok     "), verdictNo: p.Red("refused"), verdictSkipped: p.Dim("-      ")}[s.Verdict]
		lines := strings.Split(s.Detail, "\n")
		if s.Verdict == verdictSkipped {
			lines = []string{verdictSkipped}
		}
		for i, line := range lines {
			prefix := fmt.Sprintf("%s  %-10s", mark, s.Step)
			if i > 0 {
				prefix = strings.Repeat(" ", 19)
			}
			if _, err := fmt.Fprintf(w, "%s %s\n", prefix, cli.Printable(line)); err != nil {
				return err
			}
		}
	}
	return nil
}
