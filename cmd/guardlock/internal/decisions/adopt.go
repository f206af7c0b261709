package decisions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/adopt"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditAdoptHelp = `Begin a new log in the place of one that the gateway does not go on with: it is damaged,
or does not contain its last checkpoint, and the one that was written last is lost. The
gateway must not run.

Nothing is deleted. The old directory is kept beside the new one under a number
(audit.1), and so are the log key and the copies of checkpoints. The new log says, in the
entry behind its opening, which log that was, its last checkpoint, who ran this and why;
"audit verify" and "audit prove" show it. Who holds a copy of the old log compares it
with that by "audit verify --goes-on-from COPY".

The gateway makes a new log key at its next start, so that the new log has another origin:
witnesses refuse a shorter log of the same one. Give its log.key.pub to them and to auditors.

This is not the setting audit.adopt, by which a gateway goes on writing the log that is
there. Use that for a log that only lost its mark, or was another gateway's.`

type auditAdoptCommand struct {
	path   string
	reason string
	by     string
}

func newAuditAdoptCommand() *cobra.Command {
	var c auditAdoptCommand
	cmd := &cobra.Command{
		Use:     "adopt --config FILE --reason TEXT",
		Short:   "Begin a new log that links to one that is lost or damaged",
		Long:    auditAdoptHelp,
		Example: `  guardlock audit adopt --config guardlock.yaml --reason 'disk failed on 2030-01-15; restored from backup, INC-812'`,
		Args:    cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case c.path == "":
				return cli.NeedFlag(cmd, "config", "guardlock audit adopt --config guardlock.yaml --reason 'INC-812'")
			case c.reason == "":
				return cli.NeedFlag(cmd, "reason", "--reason 'INC-812: restored from backup'")
			}
			return c.run(cmd)
		},
	}

	cmd.Flags().StringVarP(&c.path, "config", "c", "", "the gateway's configuration `FILE`")
	cmd.Flags().StringVar(&c.reason, "reason", "", "why: a `TEXT` that the new log keeps")
	cmd.Flags().StringVar(&c.by, "by", "", "who you are, as the new log keeps it: a `NAME` that nothing proves (default: the user of this process)")
	return cmd
}

func (c *auditAdoptCommand) run(cmd *cobra.Command) error {
	cfg, err := loadConfig(c.path)
	if err != nil {
		return err
	}

	key, err := disk.ReadKey(cfg.File(cfg.Audit.KeyFile))
	if err != nil {
		return exit.WithHint(fmt.Errorf("audit.key_file: %w", err), "put the audit key back; or take the directory away yourself, and the gateway begins a log that links to nothing")
	}

	o := adopt.Options{
		Dir:    cfg.File(cfg.Audit.Dir),
		LogKey: cfg.File(cfg.Audit.Evidence.KeyFile),
		Log:    audit.Options{Key: key, Node: cfg.Node},
		By:     cmp.Or(c.by, processUser()),
		Reason: c.reason,
	}
	for _, path := range cfg.Audit.Evidence.Copies {
		o.Copies = append(o.Copies, cfg.File(path))
	}

	done, err := adopt.Begin(cmd.Context(), o)
	if err != nil {
		return adoptError(err)
	}

	return sayAdopted(cmd, o.Dir, &done)
}

// processUser is how the system calls who runs this.
func processUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func adoptError(err error) error {
	switch {
	case errors.Is(err, audit.ErrLocked):
		return exit.WithHint(err, "stop the gateway first")
	case errors.Is(err, adopt.ErrNothing):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "a gateway makes a log by itself at its first start")
	}
	return err
}

func sayAdopted(cmd *cobra.Command, dir string, done *adopt.Adopted) error {
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), done)
	}

	f := &fieldWriter{w: cmd.OutOrStdout(), p: cli.PaletteFor(cmd.OutOrStdout())}
	f.field("new log", "%s", dir)
	f.field("kept", "%s", done.Aside)

	for _, path := range done.Moved {
		f.field("", "%s", path)
	}
	for _, fact := range done.Link {
		f.field(fact.Key, "%s", fact.Value)
	}

	f.field("next", "start the gateway, and give witnesses and auditors the log.key.pub that it makes")
	return f.err
}

// adoptionText tells which log an adoption goes on from.
func adoptionText(a *audit.Adoption) string {
	text := fmt.Sprintf("goes on from the log that is kept as %s", a.Fact(audit.FactFromAside))
	if origin := a.Fact(audit.FactFromOrigin); origin != "" {
		text += fmt.Sprintf(", %s, whose last checkpoint speaks for %s entries, root %s", origin, a.Fact(audit.FactFromEntries), a.Fact(audit.FactFromRoot))
	} else {
		text += ", which had no checkpoint that could be read"
	}
	return text + fmt.Sprintf("; by %q: %q", a.By, a.Reason)
}

// sayLink tells of the adoptions in a log that evidence is made from.
func sayLink(ctx context.Context, f *fieldWriter, r *query.Reader) error {
	for d, err := range r.Query(ctx, query.Filter{Kinds: []audit.Kind{audit.KindAdoption}}) {
		if err != nil {
			return err
		}
		c := d.Control
		f.field("link", "entry %d %s", d.ID.Seq, adoptionText(&audit.Adoption{By: c.Principal, Reason: c.Reason, Facts: c.Facts}))
	}
	return nil
}

// errNotLinked means that a log does not say that it goes on from another.
var errNotLinked = errors.New("the log does not say that it goes on from that one")

// goesOn demands that the log which a report is of goes on from the one in a directory:
// that has the last checkpoint that an adoption names.
func goesOn(ctx context.Context, r *audit.Report, before string) error {
	old, err := openLog(before)
	if err != nil {
		return err
	}

	defer old.Close()
	p, err := tree.OpenProver(filepath.Join(before, tree.DirName), old.Reader)
	if err != nil {
		return committedError(err)
	}

	for i := range r.Adoptions {
		named, ok := checkpointOf(&r.Adoptions[i])
		if !ok || named.Origin != p.Checkpoint().Origin {
			continue
		}
		err := p.Contains(ctx, named)
		if err == nil {
			return nil
		}
		if exit.Unanswered(err) {
			return committedError(err)
		}
	}

	return exit.Refusedf("%s: %w", before, errNotLinked)
}

// checkpointOf is what an adoption says of the old log's last checkpoint.
func checkpointOf(a *audit.Adoption) (evidence.Checkpoint, bool) {
	lines := []string{a.Fact(audit.FactFromOrigin), a.Fact(audit.FactFromEntries), a.Fact(audit.FactFromRoot), ""}
	c, err := evidence.ParseCheckpoint(strings.Join(lines, "\n"))
	return c, err == nil
}
