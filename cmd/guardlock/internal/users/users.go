// Package users holds the commands of `guardlock user`, which keep the file of
// users of a gateway that authenticates clients itself.
//
// Trust: the file's owner decides who gets in; passwords come from a prompt or
// the environment, never from a flag.
package users

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

const userHelp = `Users of a gateway that authenticates clients itself (listen.sasl.mode:
terminate). Their file is listen.sasl.credentials_file; it holds salted hashes
and no passwords, and a gateway that serves reads it again when it changes.`

// NewCommand is `guardlock user`, the group that keeps a credentials file.
func NewCommand() *cobra.Command {
	return cli.NewGroup("user", "Add, list and remove the users of a gateway", userHelp,
		newUserAddCommand(),
		newUserListCommand(),
		newUserRemoveCommand(),
	)
}

// userFile is the --file flag of every user command, and the file that it
// names.
type userFile struct{ path string }

func (f *userFile) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.path, "file", "f", "", "credentials `FILE` (listen.sasl.credentials_file)")
}

// load reads the file. For a missing one the error is fs.ErrNotExist, wrapped.
func (f *userFile) load(cmd *cobra.Command) (*auth.Credentials, error) {
	if f.path == "" {
		return nil, cli.NeedFlag(cmd, "file", "guardlock "+cli.CommandName(cmd)+" --file users.yaml")
	}
	raw, err := disk.Read(f.path, disk.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading users: %w", err)
	}

	c, err := auth.ParseCredentials(raw)
	if err != nil {
		return nil, fmt.Errorf("reading users from %s: %w", f.path, err)
	}
	return c, nil
}

func (f *userFile) save(c *auth.Credentials) error {
	raw, err := c.Marshal()
	if err != nil {
		return err
	}
	if err := disk.Replace(f.path, raw, 0o600); err != nil {
		return fmt.Errorf("writing users: %w", err)
	}

	return nil
}

type userAddCommand struct {
	file       userFile
	mechanisms []string
	iterations int
	replace    bool
}

const userAddHelp = `Add a user, or set a new password with --replace. The password comes from a
prompt or from the environment variable GUARDLOCK_PASSWORD. Keep to ASCII:
Kafka clients do not agree on how other characters are prepared.

PLAIN is checked against the same hashes, so any mechanism works for any user.`

func newUserAddCommand() *cobra.Command {
	var c userAddCommand
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, or set a new password",
		Long:  userAddHelp,
		Example: `  guardlock user add alice --file users.yaml
  GUARDLOCK_PASSWORD=... guardlock user add alice --file users.yaml --replace`,
		Args: cli.NeedArgs("NAME"),
		RunE: c.run,
	}

	c.file.register(cmd)
	cmd.Flags().StringSliceVar(&c.mechanisms, "mechanisms", []string{auth.ScramSHA256, auth.ScramSHA512}, "`SCRAM` mechanisms that the user can log in with")
	cmd.Flags().IntVar(&c.iterations, "iterations", auth.DefaultIterations, "`HASHES` that guessing a password costs; clients compute them at each login")
	cmd.Flags().BoolVar(&c.replace, "replace", false, "set a new password for a user that exists")

	return cmd
}

func (c *userAddCommand) run(cmd *cobra.Command, args []string) error {
	name := args[0]
	users, err := c.file.load(cmd)
	if errors.Is(err, fs.ErrNotExist) {
		users = auth.NewCredentials()
		err = nil
	}

	if err != nil {
		return err
	}
	if len(users.Records(name)) > 0 && !c.replace {
		return exit.WithHint(fmt.Errorf("adding a user: %s exists already", name), "set a new password with --replace")
	}

	password, err := userPassword(cmd, name)
	if err != nil {
		return err
	}

	var records []auth.Record
	for _, m := range c.mechanisms {
		r, err := auth.NewRecord(m, password, c.iterations)
		if err != nil {
			return exit.WithCode(fmt.Errorf("adding a user: %w", err), exit.Usage)
		}
		records = append(records, r)
	}

	if users, err = users.With(name, records); err != nil {
		return exit.WithCode(fmt.Errorf("adding a user: %w", err), exit.Usage)
	}
	if err := c.file.save(users); err != nil {
		return err
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), lineOf(users, name))
	}

	_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %s  %s\n", name, strings.Join(c.mechanisms, ", "))
	return err
}

// userPassword is the new user's password: from the environment, or typed twice
// on a terminal.
func userPassword(cmd *cobra.Command, name string) ([]byte, error) {
	password, given := os.LookupEnv(cli.PasswordVariable)
	typed := []byte(password)
	if !given {
		if in, ok := cmd.InOrStdin().(*os.File); !ok || !cli.IsTerminal(in) {
			return nil, exit.WithHint(exit.Usagef("a password is needed, and there is no terminal to ask on"), "set %s", cli.PasswordVariable)
		}
		var err error
		if typed, err = cli.AskPassword(cmd, "Password for "+name+": "); err != nil {
			return nil, err
		}

		again, err := cli.AskPassword(cmd, "Once more: ")
		if err != nil {
			return nil, err
		}
		if subtle.ConstantTimeCompare(typed, again) != 1 {
			return nil, exit.Usagef("adding a user: the two passwords differ")
		}
	}

	if len(typed) == 0 || bytes.IndexByte(typed, 0) >= 0 {
		return nil, exit.Usagef("adding a user: a password has one byte or more, none of them zero")
	}
	return typed, nil
}

// userLine is one row of `user list`, and its JSON form.
type userLine struct {
	User       string   `json:"user"`
	Mechanisms []string `json:"mechanisms"`
	Iterations int      `json:"iterations"` // the least of any mechanism
}

func lineOf(users *auth.Credentials, name string) userLine {
	l := userLine{User: name}
	for _, r := range users.Records(name) {
		l.Mechanisms = append(l.Mechanisms, r.Mechanism)
		if l.Iterations == 0 || r.Iterations < l.Iterations {
			l.Iterations = r.Iterations
		}
	}

	return l
}

func newUserListCommand() *cobra.Command {
	var file userFile
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the users",
		Example: "  guardlock user list --file users.yaml",
		Args:    cli.NeedArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return listUsers(cmd, &file) },
	}

	file.register(cmd)
	return cmd
}

func listUsers(cmd *cobra.Command, file *userFile) error {
	users, err := file.load(cmd)
	if err != nil {
		return err
	}

	lines := []userLine{}
	for _, name := range users.Names() {
		lines = append(lines, lineOf(users, name))
	}

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), lines)
	}
	t := cli.NewTable("USER", "MECHANISMS", "ITERATIONS")
	for _, l := range lines {
		t.Add(l.User, strings.Join(l.Mechanisms, ", "), l.Iterations)
	}

	return t.Write(cmd.OutOrStdout())
}

func newUserRemoveCommand() *cobra.Command {
	var file userFile
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a user, who is cut off with the next request",
		Example: "  guardlock user remove alice --file users.yaml",
		Args:    cli.NeedArgs("NAME"),
		RunE:    func(cmd *cobra.Command, args []string) error { return removeUser(cmd, &file, args[0]) },
	}

	file.register(cmd)
	return cmd
}

func removeUser(cmd *cobra.Command, file *userFile, name string) error {
	users, err := file.load(cmd)
	if err != nil {
		return err
	}
	if len(users.Records(name)) == 0 {
		return exit.NotFoundf("removing a user: %s is not in %s", name, file.path)
	}
	if err := file.save(users.Without(name)); err != nil {
		return err
	}

	_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", name)
	return err
}
