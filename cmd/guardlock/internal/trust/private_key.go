package trust

import (
	"errors"
	"fmt"
	"os"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/spf13/cobra"
)

// LoadPrivateKey reads a key file, which must be closed to others. A password
// is asked for only if the key needs one.
func LoadPrivateKey(cmd *cobra.Command, path string) (*signing.PrivateKey, error) {
	raw, err := disk.ReadPrivateInput(cmd.Context(), path)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}

	env, given := os.LookupEnv(cli.PasswordVariable)
	key, err := signing.ParsePrivateKey(raw, []byte(env))
	if err == nil || given || errors.Is(err, signing.ErrKey) {
		return key, keyError(path, err)
	}

	password, err := cli.AskPassword(cmd, "Password for "+path+": ")
	if err != nil {
		return nil, err
	}

	key, err = signing.ParsePrivateKey(raw, password)
	return key, keyError(path, err)
}

func keyError(path string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("reading the private key %s: %w", path, err)
	if errors.Is(err, signing.ErrKey) {
		return err
	}

	return exit.WithHint(err, "check the password, from the prompt or %s", cli.PasswordVariable)
}
