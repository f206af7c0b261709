package decisions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/erase"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

// minSigners is how many people an erasure takes, whatever the trust root's threshold.
const minSigners = 2

type eraseRunCommand struct {
	config     string
	signatures []string
	former     []string
	by         string
	dryRun     bool
	yes        bool
}

func newEraseRunCommand() *cobra.Command {
	var c eraseRunCommand
	cmd := &cobra.Command{
		Use:   "run REQUEST --config FILE",
		Short: "Erase what a signed request asks for",
		Long: `Erase what a request asks for from the log of one gateway, which must be stopped, as the
user that the gateway runs as. Signatures are taken from beside the request, as sign leaves
them: two approvers of the gateway's trust root must have signed it, or as many as its
threshold says, with keys that hold now.

Where a legal hold (guardlock audit hold) keeps a segment that would be rewritten, nothing is
erased (exit code 3): a hold is lifted by who answers for it.

With --dry-run it says what would be erased and changes nothing; no signature is needed, and
the gateway may run. Cut short, run it again: it does the rest. Until then "audit verify" may
say that a segment is not what its erasure left.`,
		Example: `  guardlock audit erase run request.json --config guardlock.yaml --dry-run
  guardlock audit erase run request.json --config guardlock.yaml`,
		Args: cli.NeedArgs("REQUEST"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0], time.Now()) },
	}

	fl := cmd.Flags()
	fl.StringVarP(&c.config, "config", "c", "", "the gateway's configuration `FILE`")
	fl.StringArrayVar(&c.signatures, "signature", nil, "`FILE` with a signature of the request; may be given more than once (default: those beside it)")
	fl.StringArrayVar(&c.former, "audit-key", nil, "`FILE` with a former audit key, which older segments are under; may be given more than once")
	fl.StringVar(&c.by, "by", "", "who you are, as the log keeps it: a `NAME` that nothing proves (default: the user of this process)")
	fl.BoolVar(&c.dryRun, "dry-run", false, "say what would be erased, and erase nothing")
	fl.BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (c *eraseRunCommand) run(cmd *cobra.Command, path string, now time.Time) error {
	if c.config == "" {
		return cli.NeedFlag(cmd, "config", "guardlock audit erase run request.json --config guardlock.yaml")
	}
	request, content, err := readRequest(cmd.Context(), path)
	if err != nil {
		return err
	}
	cfg, err := loadConfig(c.config)
	if err != nil {
		return err
	}

	o, err := c.options(cfg, request)
	if err != nil {
		return err
	}
	progress := newEraseProgress(cmd)
	o.Progress = progress.draw
	if c.dryRun {
		done, err := erase.Look(cmd.Context(), o)
		progress.clear()
		if err == nil && len(done.Held) > 0 {
			err = erase.ErrHeld
		}
		return c.say(cmd, &o, &done, eraseError(o.Dir, err))
	}

	wall := now
	if now, err = notBefore(o.Dir, now); err != nil {
		return err
	}
	if err := request.InTime(now); err != nil {
		err = exit.Refusedf("%s: %w", path, err)
		if now.After(wall) {
			err = exit.WithHint(err, "the log has entries up to %s, and goes by that; if a clock was ahead by mistake, have a request signed that is made for then: guardlock audit erase request --from %[1]s",
				now.Add(time.Second).UTC().Format(time.RFC3339))
		}
		return err
	}
	if o.Signers, err = c.signers(cmd.Context(), cfg, path, content, now); err != nil {
		return err
	}
	if err := c.confirm(cmd, &o); err != nil {
		return err
	}

	done, err := erase.Run(cmd.Context(), o)
	progress.clear()
	return c.say(cmd, &o, &done, eraseError(o.Dir, err))
}

// notBefore is now, or the latest time of the log where the clock was set back since: what
// had ended by that stays ended.
func notBefore(dir string, now time.Time) (time.Time, error) {
	r, err := openLog(dir)
	if err != nil {
		return now, err
	}

	defer r.Close()
	latest, err := r.Latest()
	if err != nil {
		return now, auditError(dir, err)
	}
	if latest.After(now) {
		return latest, nil
	}
	return now, nil
}

// loadConfig reads a gateway's configuration.
func loadConfig(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, exit.WithHint(exit.WithCode(err, exit.Usage), "run `guardlock check %s`", path)
	}
	return cfg, nil
}

// options are what the configuration says of the log.
func (c *eraseRunCommand) options(cfg *config.Config, r *erase.Request) (o erase.Options, err error) {
	o = erase.Options{Dir: cfg.File(cfg.Audit.Dir), Request: r, By: cmp.Or(c.by, processUser())}
	o.Log.Node = cfg.Node
	if o.Log.Key, err = disk.ReadKey(cfg.File(cfg.Audit.KeyFile)); err != nil {
		return o, fmt.Errorf("audit.key_file: %w", err)
	}
	if o.Former, err = readKeys(c.former); err != nil || cfg.Audit.PreviousKeyFile == "" {
		return o, err
	}

	previous, err := disk.ReadKey(cfg.File(cfg.Audit.PreviousKeyFile))
	if err != nil {
		return o, fmt.Errorf("audit.previous_key_file: %w", err)
	}
	o.Log.PreviousKey = &previous
	return o, nil
}

// signers are those of the trust root's approvers who signed a request.
func (c *eraseRunCommand) signers(ctx context.Context, cfg *config.Config, path string, content []byte, now time.Time) ([]erase.Signer, error) {
	if cfg.Trust.Root == "" {
		return nil, exit.Usagef("%s names no trust root (trust.root), and nothing is erased but on the word of its approvers", c.config)
	}
	root, err := (&evidenceFlags{trustRoot: cfg.File(cfg.Trust.Root)}).root()
	if err != nil {
		return nil, err
	}

	files := c.signatures
	if len(files) == 0 {
		if files, err = disk.Beside(path, signing.BundleSuffix); err != nil {
			return nil, fmt.Errorf("looking for signatures: %w", err)
		}
	}
	var bundles [][]byte
	for _, file := range files {
		b, err := disk.ReadInput(ctx, file, signing.MaxBundleBytes+1)
		if err != nil {
			return nil, fmt.Errorf("reading --signature: %w", err)
		}
		bundles = append(bundles, b)
	}

	people, err := root.VerifyFile(ctx, content, bundles, max(minSigners, root.Threshold()), now)
	if err != nil {
		return nil, exit.WithHint(exit.Refusedf("%s: %w", path, err), "have approvers of the trust root sign it: guardlock audit erase sign %s --key KEY", cli.ShellWord(path))
	}
	var signers []erase.Signer
	for _, p := range people {
		signers = append(signers, erase.Signer{Signer: audit.Signer{Identity: string(p.Identity), KeyID: p.KeyID}, Bundle: p.Bundle})
	}
	return signers, nil
}

// confirm says what is about to be erased and on whose word, and asks.
func (c *eraseRunCommand) confirm(cmd *cobra.Command, o *erase.Options) error {
	shown := &fieldWriter{w: cmd.ErrOrStderr(), p: cli.PaletteFor(cmd.ErrOrStderr())}
	writeRequest(shown, o.Request)
	for _, s := range o.Signers {
		shown.field("signed by", "%s", s.Identity)
	}
	shown.field("log", "%s", o.Dir)
	if shown.err != nil || c.yes {
		return shown.err
	}

	yes, err := cli.Confirm(cmd, "Erase this from the log, for good?")
	if err != nil || yes {
		return err
	}
	return exit.WithHint(exit.Refusedf("erasing: not confirmed, nothing was erased"), "answer y, or give --yes where nobody can answer")
}

// eraseProgress shows on a terminal how far the log was looked through.
type eraseProgress struct {
	cmd   *cobra.Command
	drawn bool
}

func newEraseProgress(cmd *cobra.Command) *eraseProgress { return &eraseProgress{cmd: cmd} }

func (p *eraseProgress) draw(done, of int) {
	if !cli.IsTerminal(p.cmd.ErrOrStderr()) {
		return
	}
	p.drawn = true
	fmt.Fprintf(p.cmd.ErrOrStderr(), "\rlooked through %d of %d segments", done, of)
}

func (p *eraseProgress) clear() {
	if p.drawn {
		fmt.Fprint(p.cmd.ErrOrStderr(), "\r\x1b[K")
	}
}

func eraseError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case exit.Unanswered(err):
		return auditError(dir, err)
	case errors.Is(err, audit.ErrLocked):
		return exit.WithHint(err, "stop the gateway first")
	case errors.Is(err, erase.ErrHeld):
		return exit.WithHint(exit.Refusedf("%w", err), "guardlock audit hold list --dir %s; nothing was erased", cli.ShellWord(dir))
	case errors.Is(err, erase.ErrRemains):
		return exit.WithHint(exit.Refusedf("%w", err), "run it again once what repeats it is gone: a legal hold whose adder it names is repeated until it is lifted")
	case errors.Is(err, audit.ErrForeign):
		return exit.WithHint(err, "give each former audit key with --audit-key")
	case errors.Is(err, audit.ErrNotErasable):
		return exit.WithHint(exit.Refusedf("%w", err), "a segment from before there were tags goes with `guardlock audit prune` alone")
	case errors.Is(err, tree.ErrDamaged):
		return exit.WithHint(exit.Refusedf("%w", err), "nothing was erased from that segment: put the tree back from a copy")
	}
	return auditError(dir, err)
}

// say tells what was erased, and then how it ended.
func (c *eraseRunCommand) say(cmd *cobra.Command, o *erase.Options, done *erase.Done, err error) error {
	held := len(done.Held) > 0
	if err != nil && !held && len(done.Segments) == 0 {
		return err
	}
	if cli.WantsJSON(cmd) {
		return errors.Join(cli.PrintJSON(cmd.OutOrStdout(), done), err)
	}

	f := &fieldWriter{w: cmd.OutOrStdout(), p: cli.PaletteFor(cmd.OutOrStdout())}
	verb := "erased"
	if done.DryRun || held {
		verb = "would erase"
	}
	if len(done.Segments) == 0 {
		f.field(verb, "nothing: no entry of %s has such a value", o.Dir)
	}
	for _, r := range done.Segments {
		f.field(verb, "from %s of segment %d%s", cli.Count(r.Entries, "entry"), r.Segment, placesText(r.Places))
	}

	if done.Clear > 0 {
		f.field("stays", "%s of people who answer for a module or a setting: evidence has their names in clear", humanize.Comma(int64(done.Clear)))
	}
	sayOtherwise(f, done)
	for i := range done.Held {
		f.field("held by", "%s", describeHold(&done.Held[i]))
	}
	if err == nil && !done.DryRun && len(done.Segments) > 0 {
		f.field("next", "start the gateway; when all gateways are done, delete the request and its signatures")
	}
	return errors.Join(f.err, err)
}

// sayOtherwise tells which entries stay and name a value in another spelling.
func sayOtherwise(f *fieldWriter, done *erase.Done) {
	if done.Otherwise == 0 {
		return
	}

	f.field("stays", "%s with a value in another spelling (case, percent-encoding, Unicode form) or in a reason: look at each (guardlock audit show), and ask for that spelling too",
		cli.Count(done.Otherwise, "entry"))
	for _, s := range done.Spelled {
		f.field("", "%s, %s", s.Entry, strings.Join(s.Places, ", "))
	}
	if more := done.Otherwise - len(done.Spelled); more > 0 {
		f.field("", "and %d more", more)
	}
}

// placesText tells how often which field was redacted.
func placesText(places map[string]int) string {
	text := ""
	for _, name := range cli.SortedKeys(places) {
		text += fmt.Sprintf(", %s %d", name, places[name])
	}
	if text == "" {
		return ""
	}
	return " (" + text[2:] + ")"
}
