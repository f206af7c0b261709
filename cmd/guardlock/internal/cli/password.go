package cli

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// PasswordVariable names the environment variable with the password of a
// private key, for where nobody can type.
const PasswordVariable = "GUARDLOCK_PASSWORD"

// NewPassword is the password to encrypt a new key with: from the environment,
// or typed twice, since a typing error would lock the key for good.
func NewPassword(cmd *cobra.Command) ([]byte, error) {
	if env, ok := os.LookupEnv(PasswordVariable); ok {
		return []byte(env), nil
	}
	first, err := AskPassword(cmd, "Password for the new key: ")
	if err != nil {
		return nil, err
	}

	second, err := AskPassword(cmd, "Once more: ")
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(first, second) != 1 {
		return nil, exit.Usagef("making a key: the two passwords differ")
	}

	return first, nil
}

// AskPassword reads a password from the terminal without echo. Without a
// terminal it returns a usage error with a hint.
func AskPassword(cmd *cobra.Command, prompt string) ([]byte, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !IsTerminal(in) {
		return nil, exit.WithHint(exit.Usagef("a password is needed, and there is no terminal to ask on"),
			"set %s; for a key without password, `guardlock keygen --no-password`", PasswordVariable)
	}

	echo, err := term.GetState(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("asking on the terminal: %w", err)
	}

	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	password, err := disk.Waited(cmd.Context(), func() ([]byte, error) { return term.ReadPassword(int(in.Fd())) })
	fmt.Fprintln(cmd.ErrOrStderr())
	if cmd.Context().Err() != nil {
		err = errors.Join(err, term.Restore(int(in.Fd()), echo)) // whoever types next sees it again
	}

	if err != nil {
		return nil, fmt.Errorf("reading the password: %w", err)
	}
	return password, nil
}
