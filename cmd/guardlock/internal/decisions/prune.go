package decisions

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditPruneHelp = `Remove the oldest finished segments of the log: those whose every entry is before
a time, or whose number is below another. The last segment always stays. What the
rest goes on from is kept in the file "anchor", under the audit key, so that
verify, query and the gateway know that it was pruned, when, and how much.

A gateway may be writing meanwhile. Each segment is verified before it goes;
one that is damaged is not removed, and exits 3. What a legal hold is about stays
(guardlock audit hold), and if the holds cannot be read, everything does.

Copy what has to be kept for longer first: the segments are removed for good. A
copy of the whole directory stays a log of its own.`

type auditPruneCommand struct {
	pruneFlags
	before string
}

// pruneFlags are what prune and retain have in common.
type pruneFlags struct {
	keyedFlags
	dryRun bool
}

// keyedFlags name a log that is changed, and its audit keys.
type keyedFlags struct {
	dir      string
	keyFiles []string
}

func (k *keyedFlags) register(cmd *cobra.Command) {
	registerAuditDir(cmd, &k.dir)
	cmd.Flags().StringArrayVar(&k.keyFiles, "audit-key", nil, "`FILE` with an audit key of the log; may be given more than once (default: audit.key beside the log's directory)")
}

// keys reads the keys.
func (k *keyedFlags) keys() ([][32]byte, error) {
	files := k.keyFiles
	if len(files) == 0 {
		files = []string{keyBeside(k.dir)}
	}

	keys, err := readKeys(files)
	if err != nil {
		return nil, exit.WithHint(err, "give the gateway's audit.key_file with --audit-key")
	}
	return keys, nil
}

func (p *pruneFlags) register(cmd *cobra.Command) {
	p.keyedFlags.register(cmd)
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "say what would be removed, and remove nothing")
}

func newAuditPruneCommand() *cobra.Command {
	var c auditPruneCommand
	cmd := &cobra.Command{
		Use:   "prune --before TIME|SEGMENT",
		Short: "Remove the oldest segments of the log",
		Long:  auditPruneHelp,
		Example: `  guardlock audit prune --before 90d --dry-run
  guardlock audit prune --before 2030-01-01
  guardlock audit prune --before 17 --dir data/audit --audit-key data/audit.key`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	c.register(cmd)
	cmd.Flags().StringVar(&c.before, "before", "", "remove what is older: a period, a day or a time (`TIME`), or the number of the first segment to keep")

	return cmd
}

func (c *auditPruneCommand) run(cmd *cobra.Command) error {
	now := time.Now()
	cut, err := parseCut(c.before, now)
	if err != nil {
		return err
	}
	return c.prune(cmd, cut, now)
}

// prune removes what a cut takes, and says what went and what holds keep.
func (p *pruneFlags) prune(cmd *cobra.Command, cut audit.Cut, now time.Time) error {
	keys, err := p.keys()
	if err != nil {
		return err
	}

	done, err := audit.Prune(cmd.Context(), p.dir, audit.Pruning{
		Cut:    cut,
		Keys:   keys,
		DryRun: p.dryRun,
		Now:    now,
	})
	if err != nil {
		return pruneError(p.dir, err)
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), done)
	}

	if err := writePruned(cmd.OutOrStdout(), &done); err != nil {
		return err
	}
	return writeHeld(cmd.OutOrStdout(), done.Held)
}

// parseCut reads what --before may be.
func parseCut(s string, now time.Time) (cut audit.Cut, err error) {
	if s == "" {
		return cut, exit.Usagef("say with --before what to remove: a period like 90d, a day, a time, or the number of a segment")
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		if n == 0 {
			return cut, exit.Usagef("segments are numbered from 1")
		}
		return audit.Cut{Segment: uint32(n)}, nil
	}

	cut.Before, err = parseMoment(s, now, false)
	if err != nil {
		return cut, exit.Usagef("reading --before: %w", err)
	}

	return cut, nil
}

func pruneError(dir string, err error) error {
	switch {
	case errors.Is(err, audit.ErrNoMark):
		return exit.WithHint(exit.Refusedf("%w", err), "nothing was removed; run `guardlock audit verify --dir %s`", dir)
	}
	if err := holdError(dir, err); err != nil {
		return err
	}
	return auditError(dir, err)
}

func writePruned(w io.Writer, done *audit.Pruned) error {
	if len(done.Segments) == 0 && done.Held != nil {
		_, err := fmt.Fprintf(w, "nothing to remove: the log begins at segment %d\n", done.First)
		return err
	}
	if len(done.Segments) == 0 {
		_, err := fmt.Fprintf(w, "nothing to remove: no finished segment is that old, from %d on, with which the log begins\n", done.First)
		return err
	}

	verb := "removed"
	if done.DryRun {
		verb = "would remove"
	}

	first := done.Segments[0]
	last := done.Segments[len(done.Segments)-1]
	_, err := fmt.Fprintf(w, "%s segments %d to %d: %s entries, %s decisions, %s, from %s to %s\nthe log begins at segment %d, and goes on from %s\n",
		verb, first, last, humanize.Comma(int64(done.Entries)), humanize.Comma(int64(done.Decisions)), humanize.IBytes(uint64(done.Bytes)),
		done.Earliest.Format(time.RFC3339), done.Latest.Format(time.RFC3339), done.First, done.Head)

	return err
}

// writeHeld says what stays though it is old enough to go, and for which holds.
func writeHeld(w io.Writer, held *audit.Held) error {
	if held == nil {
		return nil
	}

	_, err := fmt.Fprintf(w, "held: segments %d to %d, %s, though they are old enough to go\n", held.First, held.Last, humanize.IBytes(uint64(held.Bytes)))
	for i := range held.Holds {
		if err == nil {
			_, err = fmt.Fprintf(w, "  segment %d by hold %s\n", held.First, describeHold(&held.Holds[i]))
		}
	}

	return err
}
