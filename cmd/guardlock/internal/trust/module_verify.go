package trust

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
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
	isolation string
	at        string
	name      string
	gateway   gatewayFlags
}

const verifyHelp = `Take a module through everything that a gateway takes it through before it runs,
with the gateway's own code, and print each step's verdict:
  digest      its files are of a size that is ever accepted
  author      somebody whom the trust root lists signed these bytes
  approvals   enough people approved the same grant, with this configuration
  structure   the file is a module, and nothing in it is hostile
  imports     it imports host functions only, and only those of the grant
  topics      it reaches no topic that was not approved
  policy      the policy allows it there
  start       it starts with its configuration (random bytes stand in for keys)
After the first refusal the rest is not looked at, as in the gateway. The same
words stand in the decision log.

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
	fl.StringVar(&c.isolation, "isolation", "shared", "what the binding's guests are kept apart from, for the policy: shared, topic or process")
	fl.StringVar(&c.name, "name", "", "what the configuration calls it, for the policy (default: as its file)")
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
	if v.engine, err = openEngine(cmd.Context(), c.policy); err != nil {
		return err
	}

	verdict, err := v.examine(cmd.Context())
	if err != nil {
		return err
	}

	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), newReport(v.trying, verdict))
	} else {
		err = v.write(cmd, verdict)
	}

	if r := verdict.Refused; r != nil {
		no := exit.Refusedf("verifying %s: %s: %w", v.files.wasm, r.Code, r.Err)
		if r.Undecided() {
			no = exit.WithCode(no, exit.Failure)
		}
		return errors.Join(err, no)
	}
	return err
}

// verification is a module as it lies there, and what is asked of admission
// about it.
type verification struct {
	trying
	files moduleFiles
}

// write prints the steps of admission, and what to do if more people must
// approve.
func (v *verification) write(cmd *cobra.Command, verdict admission.Verdict) error {
	if err := writeSteps(cmd.OutOrStdout(), verdict.Steps); err != nil {
		return err
	}
	if len(verdict.Decision.Reasons) == 0 {
		return nil
	}

	// The count explains a refusal. Where it cannot be told, the refusal stands
	// without it.
	c, err := countApprovals(cmd.Context(), v, verdict.Verified.Grant)
	if err != nil || c.enough() {
		return nil
	}

	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s; somebody else runs:\n  %s\n", c, c.next())
	return err
}

// verification gathers the inputs from files and flags; nothing is judged yet.
func (c *moduleVerifyCommand) verification(path string) (*verification, error) {
	v := &verification{}
	level, err := gateway.ParseTLSLevel(c.tls)
	if err != nil {
		return nil, exit.Usagef("--tls %w", err)
	}

	isolation := admission.Isolation(c.isolation)
	if !slices.Contains([]admission.Isolation{admission.Shared, admission.PerTopic, admission.Apart}, isolation) {
		return nil, exit.Usagef("--isolation %q is not one of shared, topic, process", c.isolation)
	}

	v.now = time.Now()
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
		if !exists(c.signature) { // one that nobody named may be missing, which is for the step to say
			return nil, fmt.Errorf("reading the author's signature: open %s: %w", c.signature, fs.ErrNotExist)
		}
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

	v.name = cmp.Or(c.name, moduleName(v.files))
	v.node = cmp.Or(c.gateway.node, anyNode)
	v.place = admission.Place{
		Binding:   "verify",
		Topics:    c.topics,
		TLS:       level,
		DataClass: c.dataClass,
		Isolation: isolation,
	}

	return v, nil
}
