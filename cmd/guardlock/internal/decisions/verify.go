package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditVerifyHelp = `Read the whole log and check every checksum, every link of the hash chain, every
entry and every seal, and that each was written by somebody who had the audit
key. Exit code 3 if the bytes are not what was committed, if the mark is gone
without which a log that was cut short looks whole, if a part of the log is
under a key that was not given, or if an index beside a segment disagrees with
it; 4 if there is no log.

The audit key is the gateway's audit.key_file. Without it only the public chain
can be checked, which anybody who can write the files can make anew: that is not
called intact, and exits 1 unless --without-key asks for no more.

Whoever has the key can rewrite the log, and whoever kept an old copy can put it
back. So keep the line "keep SEQ:CHAIN" that this prints in another place, and
give it to --expect the next time: a log that was rewritten or cut since then does
not go through it. That needs no key. What an erasure rewrote since it was kept it does
not speak for: there a checkpoint does, see --since.

A gateway signs a checkpoint of its log every ten seconds. Where there is one, each
entry that it speaks for is held against it, and its signature checked with --log-key
or --trust, or the log.key.pub beside the log. Keep a checkpoint, and --since tells
whether the log goes on from it.

Several logs are verified one by one, each with its own keys, and the last line says
whether all are what they were; the exit code is that of the worst. Repeat --dir, or
name the gateways in a --manifest (see audit query --help).

With a FILE that "guardlock audit prove" wrote, check that instead: offline, without
any log, by the log's public key alone. Give the key with --log-key, or all that you
trust in a file with --trust: "logs:", a list of such keys, and "witnesses:" with
"threshold:" and "keys:". Exit code 3 if the file does not prove what it says.`

type auditVerifyCommand struct {
	logs       logsFlags
	expect     string
	keyFiles   []string
	withoutKey bool
	since      string
	before     string
	evidence   evidenceFlags
}

func newAuditVerifyCommand() *cobra.Command {
	var c auditVerifyCommand
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Check that nobody changed the log, or what a file of evidence proves",
		Long:  auditVerifyHelp,
		Example: `  guardlock audit verify --dir data/audit
  guardlock audit verify --audit-key old.key --audit-key data/audit.key
  guardlock audit verify --without-key --expect "$(cat kept)"
  guardlock audit verify --json | jq -r .head
  guardlock audit verify --manifest cluster.yaml
  guardlock audit verify 3380.evidence.json --log-key log.key.pub
  guardlock audit verify 3380.evidence.json --trust auditors.yaml`,
		Args: cli.OptionalArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return c.evidence.verify(cmd, args[0])
			}
			return c.run(cmd)
		},
	}

	c.evidence.register(cmd)
	c.logs.register(cmd)
	cmd.Flags().StringVar(&c.expect, "expect", "", "a head that was kept: the log must go through it (`SEQ:CHAIN`)")
	cmd.Flags().StringArrayVar(&c.keyFiles, "audit-key", nil, "`FILE` with an audit key of the log; may be given more than once (default: audit.key beside the log's directory)")
	cmd.Flags().BoolVar(&c.withoutKey, "without-key", false, "check only what needs no key, and exit 0 for that")
	cmd.Flags().StringVar(&c.since, "since", "", "`FILE` with a checkpoint that was kept (tree/checkpoint in the log's directory): the log must go on from it")
	cmd.Flags().StringVar(&c.before, "goes-on-from", "", "`DIRECTORY` of a copy of another log: this one must say that it was begun in the place of that (see audit adopt)")

	return cmd
}

func (c *auditVerifyCommand) run(cmd *cobra.Command) error {
	sources, err := c.logs.sources(cmd)
	if err != nil {
		return err
	}
	if len(sources) > 1 || c.logs.signed != nil {
		return c.several(cmd, sources)
	}

	v, err := c.log(cmd.Context(), sources[0])
	if err != nil {
		return err
	}
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), v)
	} else {
		err = v.write(cmd.OutOrStdout())
	}
	return errors.Join(v.verdict, err)
}

// verified is what was found of one log.
type verified struct {
	audit.Report
	Checkpoint *committed `json:"checkpoint,omitempty"`

	known     audit.Known
	whole     bool
	otherwise error // than the checkpoint says
	verdict   error // nil: the log is as it was written
}

// log verifies one log. An error means that nothing was found out.
func (c *auditVerifyCommand) log(ctx context.Context, of gatewayLog) (*verified, error) {
	known, keyErr, err := c.known(of.Dir)
	if err != nil {
		return nil, err
	}

	report, failure := audit.VerifyWith(ctx, of.Dir, known)
	if errors.Is(failure, context.Canceled) {
		return nil, failure // what was read until then says nothing of the whole
	}
	if errors.Is(failure, audit.ErrPruned) {
		known.Head = nil // nothing is known of it
	}

	v := &verified{Report: report, known: known}
	v.whole = failure == nil || errors.Is(failure, audit.ErrIndex) || errors.Is(failure, audit.ErrPruned)
	if v.whole {
		v.Checkpoint, v.otherwise = c.committed(ctx, of, &report)
	}

	v.verdict = errors.Join(c.judge(of.Dir, failure), v.otherwise)
	if failure == nil || errors.Is(failure, audit.ErrIndex) {
		v.verdict = errors.Join(v.verdict, c.notProven(of.Dir, report, &known, keyErr))
	}
	return v, nil
}

// judge gives what is wrong with a log its exit code and hint.
func (c *auditVerifyCommand) judge(dir string, failure error) error {
	switch {
	case failure == nil:
		return nil
	case errors.Is(failure, audit.ErrIndex):
		return exit.WithHint(exit.Refusedf("%w", failure), "the log is whole; queries may have missed decisions: delete these indexes, they are made anew")
	case errors.Is(failure, audit.ErrPruned):
		return exit.WithHint(exit.Refusedf("%w", failure), "give a head that was kept later; prune prints the one that the log goes on from, and a checkpoint that was kept (--since) speaks for what an erasure rewrote")
	case errors.Is(failure, audit.ErrCorrupt), errors.Is(failure, audit.ErrNoMark):
		return exit.WithHint(exit.Refusedf("%w", failure), "keep the files as they are, and compare them with a copy or a backup")
	}
	return auditError(dir, failure)
}

// write reports on one log.
func (v *verified) write(w io.Writer) error {
	if len(v.Segments) > 0 {
		if err := writeChainReport(w, v.Report, &v.known, v.whole); err != nil {
			return err
		}
	}
	if v.otherwise != nil {
		return nil
	}
	return writeCommitted(w, v.Checkpoint)
}

// committed holds the log against its checkpoints, and against the log that it is to go
// on from.
func (c *auditVerifyCommand) committed(ctx context.Context, of gatewayLog, r *audit.Report) (*committed, error) {
	checkpoint, err := c.evidence.committed(ctx, of, c.since)
	if err == nil && c.before != "" {
		err = goesOn(ctx, r, c.before)
	}
	return checkpoint, err
}

// known reads what the flags name. keyErr says why the key is missing that nobody
// named.
func (c *auditVerifyCommand) known(dir string) (known audit.Known, keyErr, err error) {
	if c.expect != "" {
		head, err := audit.ParseHead(c.expect)
		if err != nil {
			return known, nil, exit.Usagef("reading --expect: %w", err)
		}
		known.Head = &head
	}

	if c.withoutKey && len(c.keyFiles) > 0 {
		return known, nil, exit.Usagef("--audit-key and --without-key exclude each other")
	}
	if c.withoutKey {
		return known, nil, nil
	}

	if known.Keys, err = readKeys(c.keyFiles); err != nil {
		return known, nil, err
	}
	if len(known.Keys) == 0 {
		var key [32]byte
		if key, keyErr = disk.ReadKey(keyBeside(dir)); keyErr == nil {
			known.Keys = append(known.Keys, key)
		}
	}

	return known, keyErr, nil
}

func readKeys(paths []string) (keys [][32]byte, err error) {
	for _, path := range paths {
		key, err := disk.ReadKey(path)
		if err != nil {
			return nil, fmt.Errorf("reading the audit key: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// keyBeside is where a gateway keeps the audit key unless it is told otherwise.
func keyBeside(dir string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(dir)), "audit.key")
}

// notProven is the error for a log that fits together, but could be anybody's.
func (c *auditVerifyCommand) notProven(dir string, r audit.Report, known *audit.Known, keyErr error) error {
	const hint = "give the gateway's audit.key_file with --audit-key; --without-key checks only what needs no key"
	switch {
	case r.Proven || len(known.Keys) == 0 && (c.withoutKey || known.Head != nil):
		return nil
	case len(known.Keys) == 0:
		return exit.WithHint(fmt.Errorf("the tags of the log in %s were not checked: reading the audit key: %w", dir, keyErr), hint)
	}

	if a := r.Anchor; a != nil && a.Tags == audit.TagsUnchecked {
		return exit.WithHint(exit.Refusedf("the anchor of the log in %s is under the audit key %s, which was not given", dir, a.KeyID), hint)
	}
	for _, s := range r.Segments {
		if s.Tags == audit.TagsUnchecked {
			return exit.WithHint(exit.Refusedf("segment %d of the log in %s is under the audit key %s, which was not given", s.Number, dir, s.KeyID), hint)
		}
	}

	return exit.WithHint(exit.Refusedf("no segment of the log in %s has tags, so that nothing proves who wrote it", dir),
		"a log from before there were tags can be anybody's; a gateway goes on with it only where audit.adopt says so, and with tags from there on")
}

func writeChainReport(w io.Writer, r audit.Report, known *audit.Known, whole bool) error {
	t := cli.NewTable("SEGMENT", "ENTRIES", "BATCHES", "DECISIONS", "SEALED", "TAGS", "CHAIN AT ITS END")
	for _, s := range r.Segments {
		t.Add(s.Number, humanize.Comma(int64(s.NextSeq-s.FirstSeq)), humanize.Comma(int64(s.Batches)), humanize.Comma(int64(s.Decisions)),
			yesNo(s.Sealed), string(s.Tags), fmt.Sprintf("%.16s", s.Chain))
	}

	if err := t.Write(w); err != nil {
		return err
	}
	p := cli.PaletteFor(w)
	verdict := p.Green("intact")

	switch {
	case !whole:
		verdict = p.Red("damaged") + " after"
	case !r.Proven:
		verdict = p.Yellow("unbroken, but not proven")
	}

	fmt.Fprintf(w, "\n%s: %s decisions, next entry %d\nchain  %s\n", verdict, humanize.Comma(int64(r.Decisions)), r.NextSeq, r.Chain)
	if whole {
		fmt.Fprintf(w, "keep   %s\n", r.Head)
		writeProof(w, r, known)
	}

	if a := r.Anchor; a != nil {
		fmt.Fprintf(w, "begins at segment %d by an anchor of %s; %s entries before it were pruned (%s to %s)\n", a.Segment,
			a.Pruned.Format(time.RFC3339), humanize.Comma(int64(a.Entries)), a.Earliest.Format(time.RFC3339), a.Latest.Format(time.RFC3339))
	}

	writeWords(w, &r)
	if r.Unbound > 0 {
		fmt.Fprintf(w, "%s without a known answer of the broker\n", cli.Count(r.Unbound, "forwarded batch"))
	}
	if r.TornBytes > 0 {
		fmt.Fprintf(w, "%d bytes of an unfinished write at the end: the gateway cuts them when it starts\n", r.TornBytes)
	}

	return nil
}

// writeWords lists what the log took on somebody's word.
func writeWords(w io.Writer, r *audit.Report) {
	for _, c := range r.Continued {
		for _, s := range c.Steps {
			fmt.Fprintf(w, "entry %d of %s: the gateway was told to go on: %s %s, %s\n", c.Entry, c.Time.UTC().Format(time.RFC3339), s.Name, s.Verdict, s.Detail)
		}
	}
	for i := range r.Segments {
		if s := &r.Segments[i]; s.Erasure != "" {
			fmt.Fprintf(w, "segment %d: personal values were erased under request %s, as a later entry tells\n", s.Number, s.Erasure)
		}
	}
	for i := range r.Adoptions {
		fmt.Fprintf(w, "entry %d of %s: %s\n", r.Adoptions[i].Entry, r.Adoptions[i].Time.UTC().Format(time.RFC3339), cli.Printable(adoptionText(&r.Adoptions[i])))
	}
}

// writeProof says what the tags leave open.
func writeProof(w io.Writer, r audit.Report, known *audit.Known) {
	if !r.Proven {
		fmt.Fprintln(w, "without the tags, which take the audit key, anybody who can write the files could have made this chain")
	}
	if known.Head != nil {
		fmt.Fprintf(w, "what comes before entry %d is what it was when its head was kept\n", known.Head.NextSeq)
	}

	untagged := 0
	for untagged < len(r.Segments) && r.Segments[untagged].Tags == audit.TagsAbsent {
		untagged++
	}

	if r.Proven && untagged > 0 {
		fmt.Fprintf(w, "%s from before there were tags: unchanged since %s, when the first with tags was begun; not proven before\n",
			cli.Count(untagged, "segment"), r.Segments[untagged].Created.Format(time.RFC3339))
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
