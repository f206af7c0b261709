package decisions

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/witness"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditWitnessHelp = `Cosign checkpoints of decision logs (C2SP tlog-witness). A witness signs that it saw
a checkpoint and when, and never one that does not go on from what it saw before. So
it belongs to somebody other than the operator of the gateways: the auditor's own
machine, another department, another company.

Give it the public key of each log (log.key.pub of each gateway) with --log-key, and
give its own public key, which it prints, to the gateways (audit.evidence.witnesses)
and to auditors (witnesses in the file of audit verify --trust).

It speaks HTTP on loopback. What it is asked and answers is signed and no secret; put
whatever terminates TLS in front of it. What it saw is in --state: a witness that loses
it would sign a second history, so keep the directory. --show prints the checkpoint
that it cosigned last of a log, with the log's signature and its own: a copy of the log
is held against it by audit verify --since.`

type auditWitnessCommand struct {
	listen  string
	name    string
	state   string
	logKeys []string
	show    string
}

func newAuditWitnessCommand() *cobra.Command {
	var c auditWitnessCommand
	cmd := &cobra.Command{
		Use:   "witness",
		Short: "Cosign checkpoints of decision logs",
		Long:  auditWitnessHelp,
		Example: `  guardlock audit witness --name bank.example/witness --log-key gw-a.pub --log-key gw-b.pub
  guardlock audit witness --name bank.example/witness --state /var/lib/witness --listen 127.0.0.1:9444 --log-key gw-a.pub
  guardlock audit witness --state /var/lib/witness --show guardlock/gw/0011 >seen.checkpoint`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	cmd.Flags().StringVar(&c.listen, "listen", "127.0.0.1:9444", "`ADDRESS` to answer on")
	cmd.Flags().StringVar(&c.name, "name", "", "the witness's `NAME`, for its key: a domain of yours with a path, without spaces and plus signs")
	cmd.Flags().StringVar(&c.state, "state", "witness", "`DIRECTORY` of its key and of what it saw; made at first start")
	cmd.Flags().StringArrayVar(&c.logKeys, "log-key", nil, "`FILE` with the public key of a log that it cosigns; may be given more than once")
	cmd.Flags().StringVar(&c.show, "show", "", "print the checkpoint that was cosigned last of the log with this `ORIGIN`, and end")
	return cmd
}

// shown prints what the witness keeps of a log.
func (c *auditWitnessCommand) shown(cmd *cobra.Command) error {
	signed, err := disk.Read(witness.FileOf(c.seen(), c.show), disk.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return exit.WithHint(exit.NotFoundf("showing %s: the witness in %s has cosigned nothing of that log", c.show, c.state), "the origin is the first line of a checkpoint, and what the witness prints behind cosigns")
	}
	if err != nil {
		return fmt.Errorf("showing %s: %w", c.show, err)
	}
	if !bytes.Contains(signed, []byte("\n\n")) {
		return exit.WithHint(exit.NotFoundf("showing %s: what was kept has no signatures, since an older version kept it", c.show), "the next checkpoint of the log is kept with them")
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), struct {
			Origin string `json:"origin"`
			Note   string `json:"note"` // byte by byte what is printed otherwise
		}{c.show, string(signed)})
	}
	_, err = cmd.OutOrStdout().Write(signed)
	return err
}

// seen is the directory of what the witness saw.
func (c *auditWitnessCommand) seen() string { return filepath.Join(c.state, "seen") }

var witnessName = regexp.MustCompile(`^[a-zA-Z0-9._/-]{1,128}$`)

func (c *auditWitnessCommand) run(cmd *cobra.Command) error {
	if c.show != "" {
		return c.shown(cmd)
	}
	if !witnessName.MatchString(c.name) {
		return cli.NeedFlag(cmd, "name", "--name bank.example/witness")
	}
	trust, err := (&evidenceFlags{logKeys: c.logKeys}).keys()
	if err != nil {
		return err
	}
	signer, err := c.key()
	if err != nil {
		return err
	}

	l, err := net.Listen("tcp", c.listen)
	if err != nil {
		return exit.WithHint(fmt.Errorf("listening: %w", err), "choose another address with --listen")
	}
	fmt.Fprintf(cmd.OutOrStdout(), "witness  %s\nlistens  http://%s\n", signer.Witness.String(), l.Addr())
	for _, v := range trust.Logs {
		fmt.Fprintf(cmd.OutOrStdout(), "cosigns  %s\n", v.Name())
	}
	return c.serve(cmd.Context(), l, signer, trust.Logs)
}

// serve answers until ctx ends.
func (c *auditWitnessCommand) serve(ctx context.Context, l net.Listener, signer *evidence.WitnessSigner, logs []note.Verifier) error {
	const timeout = 10 * time.Second
	s := &http.Server{
		Handler:           witness.New(c.seen(), signer, logs),
		ReadHeaderTimeout: timeout,
		ReadTimeout:       timeout,
		WriteTimeout:      timeout,
		MaxHeaderBytes:    16 << 10,
	}

	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return s.Shutdown(ctx)
}

// key reads the witness's key, or makes it at the first start.
func (c *auditWitnessCommand) key() (*evidence.WitnessSigner, error) {
	path := filepath.Join(c.state, "witness.key")
	secret, err := disk.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c.makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the witness's key: %w", err)
	}

	s, err := evidence.ParseWitnessSigner(strings.TrimSpace(string(secret)))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if s.Name() != c.name {
		return nil, exit.Usagef("the key in %s is that of %s, and --name is %s", path, s.Name(), c.name)
	}
	return s, nil
}

func (c *auditWitnessCommand) makeKey(path string) (*evidence.WitnessSigner, error) {
	var seed [32]byte
	rand.Read(seed[:])
	s := evidence.NewWitnessSigner(c.name, seed)
	if err := os.MkdirAll(c.state, 0o700); err != nil {
		return nil, err
	}
	if err := disk.Create(path, []byte(s.Secret()+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("making the witness's key: %w", err)
	}
	return s, disk.SyncDir(c.state)
}
