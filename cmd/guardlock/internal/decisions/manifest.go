package decisions

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/trust"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

const auditManifestHelp = `A manifest says which gateways a cluster has, and which decision log each of them writes:
all of them, and no others. People whom the trust root names as approvers sign it, as many
as must approve a module. With it, a log that is missing is an error wherever logs are
asked, and so is one too many; without it, either looks like the truth.

  cluster: payments
  revision: 3
  gateways:
    - name: gw-a                    # as node in its configuration
      log_id: 5c3a91f0a7b1c2d3      # drawn by the log, in each of its segments
      log_key: guardlock/gw-a/...   # what is in its log.key.pub
      dir: gw-a/audit               # optional, from where the file is; or give --dir
      former:                       # logs that audit adopt set aside
        - {log_id: 00112233aabbccdd, log_key: guardlock/gw-a/..., lost: INC-812}

The signature is over the file as it is, byte by byte. A former log must be given like
any other, unless the manifest says that it is lost, and why. A gateway that was taken
down stays in the manifest, since its log is still asked. Each change is a new revision
that is signed anew.

A gateway with audit.manifest in its configuration does not start unless the manifest has
its name, log and log key. Its log is made at the first start, which then fails, so that
the log can be put into the manifest.`

func newAuditManifestCommand() *cobra.Command {
	group := cli.NewGroup("manifest", "Say which logs a cluster has, and sign that", auditManifestHelp,
		newManifestMakeCommand(),
		newManifestSignCommand(),
		newManifestShowCommand(),
	)

	for _, cmd := range group.Commands() {
		cli.Once(cmd)
	}
	return group
}

type manifestMakeCommand struct {
	cluster string
	dirs    []string
	logKeys []string
	from    string
	out     string
}

func newManifestMakeCommand() *cobra.Command {
	var c manifestMakeCommand
	cmd := &cobra.Command{
		Use:   "make --cluster NAME --dir DIRECTORY...",
		Short: "Write a manifest of the logs that are there",
		Long: `Write a manifest of the logs in these directories. The name of each gateway and the id
of its log are those in the log; the log key is the log.key.pub beside the directory, or
the one of --log-key that signed the log's checkpoint.

With --from it is the next revision of that manifest: gateways are added, and where one
writes another log than before, the one before becomes a former one. Whoever signs it
looks at what changed (--against). Nothing but the log says whose it is: take directories
from where you know them to be.`,
		Example: `  guardlock audit manifest make --cluster payments --dir gw-a/audit --dir gw-b/audit -o cluster.yaml
  guardlock audit manifest make --from cluster.yaml --dir gw-c/audit -o cluster.yaml`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	f := cmd.Flags()
	f.StringVar(&c.cluster, "cluster", "", "`NAME` of the cluster: letters, digits, '-' and '_'")
	f.StringArrayVarP(&c.dirs, "dir", "d", nil, "`DIRECTORY` of a gateway's log; once for each")
	f.StringArrayVar(&c.logKeys, "log-key", nil, "`FILE` with the public key of a log; may be given more than once (default: log.key.pub beside each log)")
	f.StringVar(&c.from, "from", "", "the manifest `FILE` to go on from")
	f.StringVarP(&c.out, "output", "o", "", "`FILE` to write; only that of --from is replaced (default: standard output)")
	return cmd
}

// added is a gateway in a new manifest, as --json prints it.
type added struct {
	Gateway string `json:"gateway"`
	ID      string `json:"log_id"`
	Former  string `json:"former,omitempty"` // the log that it wrote until now
}

func (c *manifestMakeCommand) run(cmd *cobra.Command) error {
	if len(c.dirs) == 0 {
		return cli.NeedFlag(cmd, "dir", "--dir gw-a/audit --dir gw-b/audit")
	}
	m, err := c.begin(cmd)
	if err != nil {
		return err
	}

	var all []added
	for _, dir := range c.dirs {
		name, log, err := c.log(dir)
		if err != nil {
			return err
		}
		all = append(all, added{name, log.ID, m.Add(name, log)})
	}

	text, err := m.Encode()
	if err != nil {
		return manifestError("to be", err)
	}
	return c.write(cmd, m, text, all)
}

// begin is the manifest before the logs are in it.
func (c *manifestMakeCommand) begin(cmd *cobra.Command) (*manifest.Manifest, error) {
	if c.from == "" && c.cluster == "" {
		return nil, cli.NeedFlag(cmd, "cluster", "--cluster payments")
	}
	if c.from == "" {
		return &manifest.Manifest{Cluster: c.cluster, Revision: 1}, nil
	}

	before, _, err := loadManifest(cmd.Context(), c.from)
	if err != nil {
		return nil, err
	}
	if before.Plain() || c.cluster != "" && c.cluster != before.Cluster {
		return nil, exit.Usagef("--from %s is of cluster %q: go on from a manifest of the same cluster", c.from, before.Cluster)
	}
	return before.Next(), nil
}

// log reads what the manifest says of the log in a directory.
func (c *manifestMakeCommand) log(dir string) (name string, log manifest.Log, err error) {
	r, err := openLog(dir)
	if err != nil {
		return "", log, err
	}
	defer r.Close()

	log.ID, name, err = identity(r)
	if err != nil {
		return "", log, auditError(dir, err)
	}
	if name == "" {
		return "", log, exit.NotFoundf("reading the decision log in %s: nothing is in it", dir)
	}
	p, err := tree.OpenProver(filepath.Join(dir, tree.DirName), r.Reader)
	if err != nil {
		return "", log, exit.WithHint(fmt.Errorf("reading the checkpoint of the log in %s: %w", dir, err), "a gateway signs one when it starts and stops")
	}

	keys := c.logKeys
	if len(keys) == 0 {
		keys = []string{filepath.Join(filepath.Dir(filepath.Clean(dir)), "log.key.pub")}
	}
	for _, path := range keys {
		text, err := disk.Read(path, disk.MaxBytes)
		if err != nil {
			return "", log, exit.WithHint(fmt.Errorf("reading the log's key: %w", err), "give the log.key.pub of each gateway with --log-key")
		}
		trust, err := trustIn(strings.TrimSpace(string(text)))
		if err != nil {
			return "", log, exit.Usagef("%s is no public key of a log", path)
		}
		if _, _, _, err := trust.Open([]byte(p.Signed())); err == nil {
			log.Key = strings.TrimSpace(string(text))
			return name, log, nil
		}
	}
	return "", log, exit.WithHint(exit.Refusedf("the checkpoint of the log in %s is signed by %s, and by none of %s", dir, p.Checkpoint().Origin, strings.Join(keys, ", ")),
		"give the log.key.pub of its gateway with --log-key")
}

func (c *manifestMakeCommand) write(cmd *cobra.Command, m *manifest.Manifest, text []byte, all []added) error {
	if c.out == "" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}

	put := disk.Create
	if c.out == c.from {
		put = disk.Replace
	}
	if err := put(c.out, text, 0o644); errors.Is(err, fs.ErrExist) {
		return exit.WithHint(fmt.Errorf("writing manifest: %w", err), "the next revision of it is made with --from %s; the gateways that are in it stay", c.out)
	} else if err != nil {
		return fmt.Errorf("writing manifest: %w", err)
	}

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), struct {
			File     string  `json:"file"`
			Cluster  string  `json:"cluster"`
			Revision int64   `json:"revision"`
			Logs     []added `json:"logs"`
		}{c.out, m.Cluster, m.Revision, all})
	}
	f := &fieldWriter{w: cmd.OutOrStdout(), p: cli.PaletteFor(cmd.OutOrStdout())}
	f.field("manifest", "%s: cluster %s, revision %d", c.out, m.Cluster, m.Revision)
	for _, a := range all {
		f.field(a.Gateway, "log %s%s", a.ID, before(a.Former))
	}
	f.field("next", "look at it, and have approvers of the trust root sign it: guardlock audit manifest sign %s%s --key KEY", c.out, c.against())
	return f.err
}

// against is what the next revision is signed with, so that signers see what it takes away:
// nothing where the one before is written over, or there is none.
func (c *manifestMakeCommand) against() string {
	if c.from == "" || c.from == c.out {
		return ""
	}
	return " --against " + c.from
}

func before(former string) string {
	if former == "" {
		return ""
	}
	return "; the log before, " + former + ", is a former one"
}

type manifestSignCommand struct {
	againstFlags
	key  string
	name string
	yes  bool
}

func newManifestSignCommand() *cobra.Command {
	var c manifestSignCommand
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEY",
		Short: "Sign a manifest as an approver",
		Long: `Sign a manifest. You say with it that these are the gateways of the cluster, with these
logs and keys, and that there are no others. It shows what you sign. The signature is
written beside the file, as FILE.NAME.sigstore.json, in the place of one that you made of
another revision. cosign verify-blob checks it, too.

With --against FILE, or with --config on a gateway's machine, it shows first what differs
from the manifest in force: "-" what that demands and this does not, "+" what is new, "!"
what is otherwise. Where something is lost you are asked before anything is signed. A log
that is left out is one that nobody misses; nothing else keeps it from being left out.

It counts where the trust root has you as an approver, and together with as many others
as its threshold says. Only whoever looks at it with the trust root learns that.`,
		Example: `  guardlock audit manifest sign cluster.yaml --against ../main/cluster.yaml --key grace.key
  guardlock audit manifest show cluster.yaml --trust-root trust.yaml`,
		Args: cli.NeedArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}

	cmd.Flags().StringVarP(&c.key, "key", "k", "", "private key `FILE` of the approver")
	cmd.Flags().StringVar(&c.name, "name", "", "`NAME` of the signer in the file's name (default: the key's file without .key)")
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "sign also where something is lost, without asking")
	c.register(cmd)
	return cmd
}

var signerShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (c *manifestSignCommand) run(cmd *cobra.Command, path string) error {
	if c.key == "" {
		return cli.NeedFlag(cmd, "key", "guardlock audit manifest sign cluster.yaml --key grace.key")
	}
	name := c.name
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(c.key), ".key")
	}
	if !signerShape.MatchString(name) {
		return exit.Usagef("--name %q cannot be part of a file name: use letters, digits, '.', '_' and '-'", name)
	}

	m, _, err := loadManifest(cmd.Context(), path)
	if err != nil {
		return err
	}
	if m.Plain() {
		return exit.Usagef("signing %s: %w", path, manifest.ErrPlain)
	}
	of := listingOf(path, &manifest.Signed{Manifest: m}, nil)
	if of.Difference, err = c.difference(cmd, path, m, ""); err != nil {
		return err
	}
	if err := c.review(cmd, of); err != nil {
		return err
	}
	return c.sign(cmd, path, name, m, of)
}

// review shows what is to be signed, and asks where that takes something away.
func (c *manifestSignCommand) review(cmd *cobra.Command, of *listing) error {
	asks := of.Difference.lost() != nil && !c.yes
	out := cmd.OutOrStdout()
	if cli.WantsJSON(cmd) {
		out = cmd.ErrOrStderr()
	}
	if asks || !cli.WantsJSON(cmd) {
		if err := of.each(out, true); err != nil {
			return err
		}
	}

	if of.Difference == nil && of.Revision > 1 {
		cli.Warn(cmd.ErrOrStderr(), errors.New("it was not compared with the manifest in force, and may leave out a log: give --against FILE"))
	}
	if !asks {
		return nil
	}

	yes, err := cli.Confirm(cmd, "Something is lost. Sign exactly this?")
	if err != nil || yes {
		return err
	}
	return exit.WithHint(exit.Refusedf("signing: not confirmed, nothing was written"), "answer y, or give --yes where nobody can answer")
}

func (c *manifestSignCommand) sign(cmd *cobra.Command, path, name string, m *manifest.Manifest, of *listing) error {
	key, err := trust.LoadPrivateKey(cmd, c.key)
	if err != nil {
		return err
	}
	bundle, err := signing.SignArtifact(cmd.Context(), m.Source(), key)
	if err != nil {
		return fmt.Errorf("signing %s: %w", path, err)
	}

	out := signing.SignatureOf(path, name)
	if err := disk.Replace(out, bundle, 0o644); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]any{"manifest": of, "signature": out, "key_id": key.ID()})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed with key %s\nwrote %s\n", key.ID(), out)
	return err
}

func newManifestShowCommand() *cobra.Command {
	var root string
	var against againstFlags
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a manifest says, and who vouches for it",
		Long: `Show the gateways and logs of a manifest. With --trust-root it shows whose signatures
count, and exits with code 3 where too few of the approvers signed it, or what they signed
is another file. With --against FILE, or --config, it shows what differs from that manifest,
and exits with code 3 where something is lost: a log that is not listed any more, say. The
trust root must vouch for the FILE of --against as well.`,
		Example: `  guardlock audit manifest show cluster.yaml --trust-root trust.yaml
  guardlock audit manifest show cluster.yaml --against ../main/cluster.yaml`,
		Args: cli.NeedArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			signed, err := readManifest(cmd, args[0], root)
			if err != nil {
				return err
			}
			if signed.Plain() {
				return exit.Usagef("%s: %w", args[0], manifest.ErrPlain)
			}

			of := listingOf(args[0], signed, nil)
			if of.Difference, err = against.difference(cmd, args[0], signed.Manifest, root); err != nil {
				return err
			}
			if cli.WantsJSON(cmd) {
				err = cli.PrintJSON(cmd.OutOrStdout(), of)
			} else {
				err = of.each(cmd.OutOrStdout(), true)
			}
			if err != nil {
				return err
			}
			return of.Difference.lost()
		},
	}

	cmd.Flags().StringVar(&root, trustRootFlag, "", "the trust root `FILE` whose approvers must have signed it")
	against.register(cmd)
	return cmd
}
