package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway/replay"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/pattern"
	"github.com/guardlock/guardlock/transforms"
)

const auditReplayHelp = `Make a decision of the log once more, on this machine, and compare. The modules and their
configurations are read from the objects beside the log by the digests that the log
names, and run with the grant and limits that it names, over an input that you have kept:
the log holds nothing of records.

The input is the batch as its producer sent it (the bytes of one record batch), or
records in JSON lines, as "guardlock consume --json" prints them. A whole batch is
compared by outcome, reason and verdicts, and its output by the MAC of what was
forwarded, for which the audit key is needed. One record of a larger batch is compared
by its own verdict and reason. Of a batch that its producer compressed only its own bytes
tell all.

What modules count or remember starts empty, and records have the only clock. A module
that seals under random nonces, or counts, may come to something else; that is said.

Exit code 0: it came to the same. 3: something differs, or an object was changed. 4:
something could not be compared, or is not there that the decision was made of.`

type auditReplayCommand struct {
	logs     logsFlags
	input    string
	keyFiles []string
	secrets  []string
	tables   []string
}

func newAuditReplayCommand() *cobra.Command {
	var c auditReplayCommand
	cmd := &cobra.Command{
		Use:   "replay DECISION_ID --input FILE",
		Short: "Make a decision once more, and compare",
		Long:  auditReplayHelp,
		Example: `  guardlock audit replay gl-5c3a91f0-2k --input batch.bin
  guardlock audit replay gl-5c3a91f0-2k-0 --input record.json --dir data/audit
  guardlock audit replay gl-5c3a91f0-2k --input batch.json --module-key pan=pan.key --table bins=bins.csv`,
		Args: cli.NeedArgs("DECISION_ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}

	c.logs.register(cmd)
	f := cmd.Flags()
	f.StringVar(&c.input, "input", "", "`FILE` with the batch, or with records in JSON lines")
	f.StringArrayVar(&c.keyFiles, "audit-key", nil, "`FILE` with an audit key (default: audit.key beside the log)")
	f.StringArrayVar(&c.secrets, "module-key", nil, "`NAME=FILE` of a key that the modules were granted; more than once for more")
	f.StringArrayVar(&c.tables, "table", nil, "`NAME=FILE` of a table that the modules look up in; more than once for more")

	return cmd
}

// replayed is what --json prints.
type replayed struct {
	DecisionID string `json:"decision_id"`
	*replay.Result
}

func (c *auditReplayCommand) run(cmd *cobra.Command, id string) error {
	if c.input == "" {
		return cli.NeedFlag(cmd, "input", "guardlock audit replay gl-5c3a91f0-2k --input batch.bin")
	}
	raw, err := disk.ReadInput(cmd.Context(), c.input, replay.MaxInput)
	if err != nil {
		return fmt.Errorf("reading --input: %w", err)
	}

	in, err := replay.ParseInput(raw)
	if err != nil {
		return exit.Usagef("reading --input %s: %w", c.input, err)
	}

	m, err := c.materials()
	if err != nil {
		return err
	}

	d, err := c.decision(cmd, id, m)
	if err != nil {
		return err
	}

	result, err := replay.Run(cmd.Context(), d, in, m)
	if err != nil {
		return replayError(id, err)
	}

	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), replayed{id, result})
	} else {
		err = writeReplayed(cmd.OutOrStdout(), id, result)
	}

	switch {
	case err != nil:
		return err
	case result.State == replay.Differs:
		return exit.Refusedf("replaying %s: it did not come to what the log says", id)
	case result.State == replay.Unknown:
		return exit.NotFoundf("replaying %s: not all of it could be compared", id)
	}

	return nil
}

// replayError says what is missing, and what helps.
func replayError(id string, err error) error {
	err = fmt.Errorf("replaying %s: %w", id, err)
	switch {
	case errors.Is(err, objects.ErrMissing), errors.Is(err, objects.ErrDamaged):
		code := exit.NotFound
		if errors.Is(err, objects.ErrDamaged) {
			code = exit.Refused
		}
		return exit.WithHint(exit.WithCode(err, code), "put the object back from a copy of the log's directory: it is right if its SHA-256 is its name")
	case errors.Is(err, replay.ErrNoKey):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "give the file of the key with --module-key NAME=FILE")
	case errors.Is(err, replay.ErrNoTable), errors.Is(err, transforms.ErrTableNotApproved):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "give the file of the table as it was with --table NAME=FILE")
	case errors.Is(err, replay.ErrNoAdmission):
		return exit.WithCode(err, exit.NotFound)
	}

	return err
}

// materials reads the files that the flags name.
func (c *auditReplayCommand) materials() (*replay.Materials, error) {
	keys, err := readKeys(c.keyFiles)
	if err != nil {
		return nil, err
	}

	m := &replay.Materials{Audit: keys, Trial: []string{transforms.TrialCommand}}
	m.Keys, err = readNamed("--module-key", c.secrets, disk.ReadSecret)
	if err != nil {
		return nil, err
	}

	m.Tables, err = readNamed("--table", c.tables, func(path string) ([]byte, error) { return disk.Read(path, transforms.MaxTableBytes) })
	return m, err
}

// readNamed reads the files of NAME=FILE flags.
func readNamed(flag string, values []string, read func(path string) ([]byte, error)) (map[string][]byte, error) {
	all := make(map[string][]byte)
	for _, value := range values {
		name, path, ok := strings.Cut(value, "=")
		if !ok || name == "" {
			return nil, exit.Usagef("%s %q is not of the form NAME=FILE", flag, value)
		}

		content, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("reading %s %s: %w", flag, name, err)
		}
		all[name] = content
	}

	return all, nil
}

// decision reads all that the logs hold of a decision, and finds its objects and key.
func (c *auditReplayCommand) decision(cmd *cobra.Command, id string, m *replay.Materials) (*replay.Decision, error) {
	logs, err := c.logs.open(cmd)
	if err != nil {
		return nil, err
	}
	defer logs.Close()

	log, row, err := c.logs.lookUp(cmd.Context(), logs, id)
	if err != nil {
		return nil, err
	}

	m.Objects = objects.Of(log.Dir)
	if err := c.keyOf(log, row, m); err != nil {
		return nil, err
	}
	return readDecision(cmd.Context(), log, row, m.Objects)
}

// keyOf leaves of the audit keys the one that a decision was made under. Of keys that were
// named one must be it; the one beside the log may be newer, and then there is none.
func (c *auditReplayCommand) keyOf(log query.Log, row query.Decision, m *replay.Materials) error {
	if key, err := disk.ReadKey(keyBeside(log.Dir)); err == nil && len(c.keyFiles) == 0 {
		m.Audit = append(m.Audit, key)
	}

	for _, key := range m.Audit {
		under, err := log.IsUnder(row.ID.Seq, key)
		if err != nil {
			return auditError(log.Dir, err)
		}
		if under {
			m.Audit = [][32]byte{key}
			return nil
		}
	}

	m.Audit = nil
	if len(c.keyFiles) > 0 {
		return otherKey(strings.Join(c.keyFiles, ", "), row.ID.String())
	}
	return nil
}

func readDecision(ctx context.Context, r query.Log, row query.Decision, store *objects.Store) (*replay.Decision, error) {
	if row.Batch == nil {
		return nil, exit.Usagef("replaying %s: it is about no batch, but about %s", row.ID, row.Kind)
	}

	d := &replay.Decision{Index: row.ID.Index}
	err := r.At(row.ID.Seq, func(it *audit.Item) {
		d.Entry = it.Batch.Clone()
		d.Entry.Rulings = slices.Clone(it.Batch.Rulings)
		d.Entry.Runs = slices.Clone(it.Batch.Runs)
		d.MAC = it.MAC()
	})
	if err != nil {
		return nil, auditError(r.Dir, err)
	}

	admissions, err := r.Admissions(ctx, row)
	if err != nil {
		return nil, auditError(r.Dir, err)
	}

	for i := range admissions {
		d.Admissions = append(d.Admissions, admissions[i].Control)
	}

	d.Bindings, err = servedBindings(ctx, r.Reader, store, row)
	return d, err
}

// servedBindings are those of the authority in force that the batch may have been of. A
// snapshot that is not kept, or not as it was, says nothing.
func servedBindings(ctx context.Context, r *query.Reader, store *objects.Store, row query.Decision) (all []objects.Binding, err error) {
	in, err := r.AuthorityOf(ctx, row)
	if errors.Is(err, audit.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	for _, f := range in.Control.Loaded.Files {
		if f.Role != objects.RoleSnapshot {
			continue
		}
		raw, err := store.Read(f.Digest, objects.MaxSnapshot)
		if errors.Is(err, objects.ErrMissing) || errors.Is(err, objects.ErrDamaged) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}

		s, err := objects.ParseSnapshot(raw)
		if err != nil {
			return nil, err
		}

		all = append(all, matching(s, row)...)
	}

	return all, nil
}

func matching(s *objects.Snapshot, row query.Decision) (all []objects.Binding) {
	for i := range s.Bindings {
		b := &s.Bindings[i]
		runs := slices.EqualFunc(b.Modules, row.Batch.Modules, func(at int, ref audit.ModuleRef) bool { return s.Modules[at].Wasm == ref.Digest })
		if b.Cluster == row.Cluster && runs && pattern.Any(b.Topics, row.Topic) {
			all = append(all, *b)
		}
	}
	return all
}

func writeReplayed(w io.Writer, id string, r *replay.Result) error {
	p := cli.PaletteFor(w)
	f := &fieldWriter{w: w, p: p}
	f.field("decision", "%s", id)

	for _, one := range r.Findings {
		f.field(string(one.State), "%-8s %s", one.What, one.Text)
	}
	for _, note := range r.Notes {
		f.field("note", "%s", note)
	}

	return f.err
}
