package trust

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/signing"
)

type moduleSignCommand struct {
	key string
	out string
}

func newModuleSignCommand() *cobra.Command {
	var c moduleSignCommand
	cmd := &cobra.Command{
		Use:   "sign MODULE",
		Short: "Sign a module as its author",
		Long: `Sign a module's bytes. The signature says who made it and nothing about what it
may do: that is for the approvals. Written as MODULE.sigstore.json beside the
module. cosign (2.6 or later) checks it too, and can make it:
  cosign trusted-root create --out none.json
  cosign verify-blob --key ada.pub --bundle MODULE.sigstore.json \
    --trusted-root none.json --insecure-ignore-tlog MODULE.wasm
  cosign sign-blob --key KEY --bundle MODULE.sigstore.json \
    --new-bundle-format --use-signing-config=false --tlog-upload=false --yes MODULE.wasm
No transparency log takes part: keys are trusted for as long as the trust root
says, and the trusted root for cosign is an empty one.`,
		Example: `  guardlock module sign modules/gdpr/gdpr.wasm --key ada.key`,
		Args:    cli.NeedArgs("MODULE"),
		RunE:    c.run,
	}

	cmd.Flags().StringVarP(&c.key, "key", "k", "", "private key `FILE` of the author")
	cmd.Flags().StringVarP(&c.out, "out", "o", "", "write the signature to this `FILE`")
	return cmd
}

func (c *moduleSignCommand) run(cmd *cobra.Command, args []string) error {
	if c.key == "" {
		return cli.NeedFlag(cmd, "key", "guardlock module sign gdpr.wasm --key ada.key")
	}
	files, wasm, err := readModule(args[0])
	if err != nil {
		return err
	}

	key, err := LoadPrivateKey(cmd, c.key)
	if err != nil {
		return err
	}

	bundle, err := signing.SignModule(cmd.Context(), wasm, key)
	if err != nil {
		return fmt.Errorf("signing %s: %w", files.wasm, err)
	}

	out := files.signature
	if c.out != "" {
		out = c.out
	}
	if err := disk.Replace(out, bundle, 0o644); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]string{"module": files.wasm, "signature": out, "key_id": key.ID()})
	}

	_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed %s with key %s\nwrote %s\n", files.wasm, key.ID(), out)
	return err
}
