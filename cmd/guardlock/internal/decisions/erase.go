package decisions

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/erase"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/trust"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

const auditEraseHelp = `Erase personal values from a log: the name of a principal, a client id, an address, the
fingerprint of a certificate. What was decided stays, and every proof of it, made before or
after, still verifies: leaves of the log's tree have salted digests in the place of these
values, and the salts are erased with them. Where one stood, "redacted" is shown.

It takes two people, of the approvers in the gateway's trust root, or as many as its
threshold says:

  guardlock audit erase request --principal User:shop-7 --request GDPR-17 -o request.json
  guardlock audit erase sign request.json --key grace.key     # each of them
  guardlock audit erase run request.json --config guardlock.yaml --dry-run
  guardlock audit erase run request.json --config guardlock.yaml

The last two run on each gateway's machine, while that gateway is stopped. The log says that
it was erased from, when, under which request and who signed (audit query --kind erasure).

The request has the values in clear. Delete it and its signatures when every gateway is done;
and think of what this cannot reach: backups, exports, files of evidence that were handed out,
and other programs' logs.`

func newAuditEraseCommand() *cobra.Command {
	group := cli.NewGroup("erase", "Erase personal values from the log", auditEraseHelp,
		newEraseRequestCommand(),
		newEraseSignCommand(),
		newEraseRunCommand(),
	)

	for _, cmd := range group.Commands() {
		cli.Once(cmd)
	}
	return group
}

type eraseRequestCommand struct {
	request  erase.Request
	from     string
	validFor string
	out      string
}

func newEraseRequestCommand() *cobra.Command {
	var c eraseRequestCommand
	cmd := &cobra.Command{
		Use:   "request --request NUMBER --principal NAME --output FILE",
		Short: "Write down what is to be erased, for others to sign",
		Long: `Write a request to erase values, exactly as the log has them (audit query shows them; a
principal is spelled like User:shop-7). Nothing is erased yet, and no log is read. The file
is closed to others, since it has the values in clear.`,
		Example: `  guardlock audit erase request --principal User:shop-7 --request GDPR-17 --output request.json
  guardlock audit erase request --client-id till-3 --source 192.0.2.7 --request GDPR-18 --valid-for 7d --output request.json`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd, time.Now()) },
	}

	fl := cmd.Flags()
	fl.StringVar(&c.request.Number, "request", "", "the `NUMBER` that your own records have of it; the log keeps it in clear, so no name")
	fl.StringArrayVar(&c.request.Principals, "principal", nil, "principal to erase, a `NAME` as User:shop-7; may be given more than once")
	fl.StringArrayVar(&c.request.ClientIDs, "client-id", nil, "client `ID` to erase; may be given more than once")
	fl.StringArrayVar(&c.request.Sources, "source", nil, "`ADDRESS` to erase; may be given more than once")
	fl.StringArrayVar(&c.request.Certificates, "certificate", nil, "`SHA-256` of a client's certificate to erase; may be given more than once")
	fl.StringVar(&c.from, "from", "", "`TIME` from which it may be carried out (default: now); for a log whose clock was ahead by mistake, the log's latest time, which \"erase run\" says")
	fl.StringVar(&c.validFor, "valid-for", "30d", "`PERIOD` in which it must be carried out, at most 90d")
	fl.StringVarP(&c.out, "output", "o", "", "write the request to this `FILE`")
	return cmd
}

func (c *eraseRequestCommand) run(cmd *cobra.Command, now time.Time) error {
	if c.request.Number == "" {
		return cli.NeedFlag(cmd, "request", "--request GDPR-17")
	}
	if c.out == "" {
		return cli.NeedFlag(cmd, "output", "--output request.json")
	}
	period, err := cli.ParsePeriod(c.validFor)
	if err != nil {
		return exit.Usagef("reading --valid-for: %w", err)
	}

	r := &c.request
	r.Made = now
	if c.from != "" {
		if r.Made, err = cli.ParseTime(c.from, now, false); err != nil {
			return exit.Usagef("reading --from: %w", err)
		}
	}
	r.NotAfter = r.Made.Add(period)
	if err := spell(r); err != nil {
		return err
	}

	b, err := r.Encode()
	if err != nil {
		return exit.WithCode(err, exit.Usage)
	}
	if err := disk.Create(c.out, b, 0o600); err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]any{"file": c.out, "sha256": fmt.Sprintf("%x", r.Digest()), "not_after": r.NotAfter})
	}

	f := &fieldWriter{w: cmd.OutOrStdout(), p: cli.PaletteFor(cmd.OutOrStdout())}
	writeRequest(f, r)
	f.field("wrote", "%s", c.out)
	f.field("next", "two approvers of the trust root each run `guardlock audit erase sign %s --key KEY`", cli.ShellWord(c.out))
	return f.err
}

// spell gives values the spelling and order that the log and requests have.
func spell(r *erase.Request) error {
	for i, s := range r.Certificates {
		r.Certificates[i] = strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s, "sha256:"), ":", ""))
	}
	for i, s := range r.Sources {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return exit.WithHint(exit.Usagef("--source: it is no address"), "give it as audit query shows it, as 192.0.2.7 or 2001:db8::1")
		}
		r.Sources[i] = a.Unmap().String()
	}
	for _, list := range []*[]string{&r.Principals, &r.ClientIDs, &r.Sources, &r.Certificates} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return nil
}

// writeRequest shows all that a request asks for.
func writeRequest(f *fieldWriter, r *erase.Request) {
	f.field("request", "%s", cli.Printable(r.Number))
	f.field("  sha256", "%x", r.Digest())
	for _, v := range r.Values() {
		f.field("erase", "%s %s", v.What, cli.Printable(v.Value))
	}
	f.field("made", "%s", r.Made.Format(time.RFC3339))
	f.field("until", "%s", r.NotAfter.Format(time.RFC3339))
}

type eraseSignCommand struct {
	key string
	out string
	yes bool
}

func newEraseSignCommand() *cobra.Command {
	var c eraseSignCommand
	cmd := &cobra.Command{
		Use:   "sign REQUEST",
		Short: "Sign a request, as one of those who approve",
		Long: `Sign a request after it was shown and you said yes. The signature is written beside it, as
REQUEST.NAME.sigstore.json, and is a Sigstore bundle: cosign sign-blob makes it too, with a
key in a KMS, for instance:
  cosign sign-blob --key KEY --bundle request.json.grace.sigstore.json \
    --new-bundle-format --use-signing-config=false --tlog-upload=false --yes request.json
A changed byte of the request makes it void.`,
		Example: `  guardlock audit erase sign request.json --key grace.key`,
		Args:    cli.NeedArgs("REQUEST"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}

	cmd.Flags().StringVarP(&c.key, "key", "k", "", "private key `FILE` of the approver")
	cmd.Flags().StringVarP(&c.out, "output", "o", "", "write the signature to this `FILE`")
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (c *eraseSignCommand) run(cmd *cobra.Command, path string) error {
	if c.key == "" {
		return cli.NeedFlag(cmd, "key", "guardlock audit erase sign request.json --key grace.key")
	}
	r, content, err := readRequest(cmd.Context(), path)
	if err != nil {
		return err
	}
	if err := r.InTime(time.Now()); err != nil && !errors.Is(err, erase.ErrNotYet) { // it is shown from when on
		return exit.Refusedf("signing %s: %w", path, err)
	}

	key, err := trust.LoadPrivateKey(cmd, c.key)
	if err != nil {
		return err
	}
	bundle, err := signing.SignArtifact(cmd.Context(), content, key)
	if err != nil {
		return fmt.Errorf("signing %s: %w", path, err)
	}
	if err := c.confirm(cmd, r); err != nil {
		return err
	}

	out := c.out
	if out == "" {
		name := strings.TrimSuffix(filepath.Base(c.key), ".key")
		if !signerShape.MatchString(name) {
			return exit.Usagef("the key's name %q cannot be part of a file name: say with --output where the signature goes", name)
		}
		out = signing.SignatureOf(path, name)
	}
	if err := disk.Replace(out, bundle, 0o644); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]string{"request": path, "signature": out, "key_id": key.ID()})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed %s with key %s\nwrote %s\n", path, key.ID(), out)
	return err
}

// confirm shows the request, and asks.
func (c *eraseSignCommand) confirm(cmd *cobra.Command, r *erase.Request) error {
	shown := &fieldWriter{w: cmd.ErrOrStderr(), p: cli.PaletteFor(cmd.ErrOrStderr())}
	writeRequest(shown, r)
	if shown.err != nil || c.yes {
		return shown.err
	}

	yes, err := cli.Confirm(cmd, "Have exactly this erased from the logs, for good?")
	if err != nil || yes {
		return err
	}
	return exit.WithHint(exit.Refusedf("signing: not confirmed, nothing was written"), "answer y, or give --yes where nobody can answer")
}

// readRequest reads a request, and the bytes that people sign.
func readRequest(ctx context.Context, path string) (*erase.Request, []byte, error) {
	content, err := disk.ReadInput(ctx, path, erase.MaxRequestBytes+1)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the request: %w", err)
	}

	r, err := erase.Parse(content)
	switch {
	case errors.Is(err, erase.ErrInvalid):
		return nil, nil, exit.Refusedf("reading %s: %w", path, err)
	case err != nil:
		return nil, nil, exit.WithCode(fmt.Errorf("reading %s: %w", path, err), exit.Usage)
	}
	return r, content, nil
}
