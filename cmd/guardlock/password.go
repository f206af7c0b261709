package main

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

// passwordVariable holds the password of a private key where nobody can type.
const passwordVariable = "GUARDLOCK_PASSWORD"

// newPassword is the password to encrypt a new key with: from the environment,
// or typed twice.
func newPassword(cmd *cobra.Command) ([]byte, error) {
	if env, ok := os.LookupEnv(passwordVariable); ok {
		return []byte(env), nil
	}
	first, err := askPassword(cmd, "Password for the new key: ")
	if err != nil {
		return nil, err
	}
	second, err := askPassword(cmd, "Once more: ")
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(first, second) != 1 {
		return nil, exit.Usagef("making a key: the two passwords differ")
	}
	return first, nil
}

// loadPrivateKey reads a key file. A password is asked for only if the key
// needs one.
func loadPrivateKey(cmd *cobra.Command, path string) (*signing.PrivateKey, error) {
	raw, err := disk.ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	env, given := os.LookupEnv(passwordVariable)
	key, err := signing.ParsePrivateKey(raw, []byte(env))
	if err == nil || given || errors.Is(err, signing.ErrKey) {
		return key, keyError(path, err)
	}
	password, err := askPassword(cmd, "Password for "+path+": ")
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
	return exit.WithHint(err, "check the password, from the prompt or %s", passwordVariable)
}

// askPassword reads from the terminal without echo.
func askPassword(cmd *cobra.Command, prompt string) ([]byte, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) {
		return nil, exit.WithHint(exit.Usagef("a password is needed, and there is no terminal to ask on"),
			"set %s; for a key without password, `guardlock keygen --no-password`", passwordVariable)
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	password, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return nil, fmt.Errorf("reading the password: %w", err)
	}
	return password, nil
}
