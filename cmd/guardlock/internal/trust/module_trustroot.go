package trust

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

type trustRootCommand struct {
	authors   []string
	approvers []string
	threshold int
	out       string
}

const trustRootHelp = `Print a trust root: whose keys may sign modules, whose may approve them, and
how many people must. Keep the file where only the security team can change it:
who changes it decides what runs. Revocations are added to it by hand, under
revoked: digests, keys and approvals.`

func newTrustRootCommand() *cobra.Command {
	var c trustRootCommand
	cmd := &cobra.Command{
		Use:   "trust-root",
		Short: "Make a trust root from public keys",
		Long:  trustRootHelp,
		Example: `  guardlock module trust-root --author ada@example.com=ada.pub --approver grace@example.com=grace.pub >trust.yaml
  guardlock module trust-root --author ci=ci.pub --approver ada=ada.pub --approver grace=grace.pub --threshold 2 -o trust.yaml`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	fl := cmd.Flags()
	fl.StringArrayVar(&c.authors, "author", nil, "`IDENTITY=FILE.pub` of one who may sign modules; may be repeated")
	fl.StringArrayVar(&c.approvers, "approver", nil, "`IDENTITY=FILE.pub` of one who may approve; may be repeated")
	fl.IntVar(&c.threshold, "threshold", 1, "how many different people must approve")
	fl.StringVarP(&c.out, "out", "o", "", "write to this new `FILE` instead of standard output")

	return cmd
}

type trustRootFile struct {
	Authors   []trustRootKey `yaml:"authors"`
	Approvers []trustRootKey `yaml:"approvers"`
	Threshold int            `yaml:"threshold"`
}

type trustRootKey struct {
	Identity string `yaml:"identity"`
	Key      string `yaml:"key"`
}

func (c *trustRootCommand) run(cmd *cobra.Command, _ []string) error {
	file := trustRootFile{Threshold: c.threshold}
	var err error
	if file.Authors, err = readPublicKeys(cmd.Context(), "--author", c.authors); err != nil {
		return err
	}
	if file.Approvers, err = readPublicKeys(cmd.Context(), "--approver", c.approvers); err != nil {
		return err
	}

	raw, err := yaml.Marshal(file)
	if err != nil {
		return fmt.Errorf("writing the trust root: %w", err)
	}
	// What no gateway would load is not written, so that whoever makes it hears
	// of it first.
	if _, err := signing.ParseTrustRoot(raw); err != nil {
		return exit.WithCode(err, exit.Usage)
	}

	if c.out == "" {
		_, err = cmd.OutOrStdout().Write(raw)
	} else {
		err = disk.Create(c.out, raw, 0o644)
	}

	if err != nil {
		return fmt.Errorf("writing the trust root: %w", err)
	}
	return nil
}

// readPublicKeys reads IDENTITY=FILE pairs. It takes any file that holds one
// public key and writes it in the one form that trust roots have.
func readPublicKeys(ctx context.Context, flag string, pairs []string) ([]trustRootKey, error) {
	keys := []trustRootKey{}
	for _, pair := range pairs {
		identity, path, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, exit.Usagef("%s %q is not IDENTITY=FILE", flag, pair)
		}

		raw, err := disk.ReadInput(ctx, path, disk.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("reading the key of %s: %w", identity, err)
		}

		key, err := signing.ParsePublicKey(raw)
		if err != nil {
			return nil, fmt.Errorf("reading the key of %s from %s: %w", identity, path, err)
		}

		pem, err := key.MarshalPEM()
		if err != nil {
			return nil, fmt.Errorf("encoding the key of %s: %w", identity, err)
		}

		keys = append(keys, trustRootKey{identity, string(pem)})
	}

	return keys, nil
}
