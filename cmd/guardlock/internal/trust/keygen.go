package trust

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

type keygenCommand struct {
	out        string
	noPassword bool
}

const keygenHelp = `Make a P-256 key pair for signing or approving modules: NAME.key, which stays
with you, and NAME.pub, which goes into a trust root. Both are what
` + "`cosign generate-key-pair`" + ` makes, and cosign can use them.

The private key is encrypted with a password, from a prompt or from the
environment variable GUARDLOCK_PASSWORD. Files that exist are never replaced.`

// NewKeygenCommand is `guardlock keygen`, which makes the key pair of an author
// or an approver.
func NewKeygenCommand() *cobra.Command {
	var c keygenCommand
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key pair to sign or approve modules with",
		Long:  keygenHelp,
		Example: `  guardlock keygen --out ada
  GUARDLOCK_PASSWORD=... guardlock keygen --out ci
  guardlock keygen --out throwaway --no-password`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	cmd.Flags().StringVarP(&c.out, "out", "o", "guardlock", "`NAME` of the files: NAME.key and NAME.pub")
	cmd.Flags().BoolVar(&c.noPassword, "no-password", false, "leave the private key as safe as its file mode (0600)")
	return cmd
}

// keyPairLine is what keygen tells about the new pair, in JSON.
type keyPairLine struct {
	Private string `json:"private"`
	Public  string `json:"public"`
	ID      string `json:"id"`
}

func (c *keygenCommand) run(cmd *cobra.Command, _ []string) error {
	pair := keyPairLine{Private: c.out + ".key", Public: c.out + ".pub"}
	for _, path := range []string{pair.Private, pair.Public} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return exit.WithHint(fmt.Errorf("making a key: %s exists already", path), "choose another name with --out; keys are never replaced")
		}
	}

	var password []byte
	if !c.noPassword {
		var err error
		if password, err = cli.NewPassword(cmd); err != nil {
			return err
		}
	}

	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	if err := writeKeyPair(pair, key, password); err != nil {
		return err
	}

	pair.ID = key.ID()
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), pair)
	}

	_, err = fmt.Fprintf(cmd.OutOrStdout(), "private key  %s\npublic key   %s\nkey id       %s\n", pair.Private, pair.Public, pair.ID)
	return err
}

func writeKeyPair(pair keyPairLine, key *signing.PrivateKey, password []byte) error {
	private, err := key.MarshalPEM(password)
	if err != nil {
		return fmt.Errorf("encoding the private key: %w", err)
	}

	public, err := key.Public().MarshalPEM()
	if err != nil {
		return fmt.Errorf("encoding the public key: %w", err)
	}
	if err := disk.Create(pair.Private, private, 0o600); err != nil {
		return fmt.Errorf("writing the private key: %w", err)
	}
	if err := disk.Create(pair.Public, public, 0o644); err != nil {
		return fmt.Errorf("writing the public key: %w", err)
	}

	return nil
}
