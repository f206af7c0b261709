package decisions

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/reconciling"
)

const auditReconcileHelp = `Find records that are stored without a decision. Each offset that no decision names is
looked at in the cluster, and told apart:

  bypass      a batch of records that no gateway decided about
  pending     of a decision whose answer no log knows yet
  marker      a transaction's marker, which a broker writes
  before-era  stored before a gateway took its first batch for the partition
  before      stored before the first decision, and no log says since when it knows the partition,
              or was pruned of what was before
  overlap     given out by two leaders: what the first of them stored there was lost
  nothing     nothing is there any more: compacted away, or never visible

What decisions name beyond the partition's end is told as well:

  beyond      stored once and lost since: the topic was cut or made anew, or an unclean
              leader took over
  gone        of a partition that the cluster has not got any more

A bypass that the gateway found too and that somebody acknowledged (see "reconcile acknowledge")
is told with his name and reason. It stays a bypass, and the exit code is the same.

With --content it also reads all that is kept of the topics, and compares each batch with the
MAC in its decision, as "audit compare" does for one. Batches that a broker compacted or
compressed anew can no longer be compared, and are counted. Of a topic that compacts, nothing
tells a batch that was taken out from one that was compacted away.

Exit code 3 if there is a bypass, what is beyond the end, or a batch that differs; with --strict also for what
is before, which looks the same. Give the logs of all gateways in front of the cluster:
one that is missing looks like a bypass. A signed --manifest says which there must be. Ask
the brokers themselves, not a gateway. Only what no decision names is read, unless there is
--content, and nothing of a record is printed. Nothing is written into a log either: only a
gateway writes its log. With audit.reconcile it looks by itself, and "guardlock audit query
--kind reconciliation" tells what it found.`

type auditReconcileCommand struct {
	client   kafka.ClientFlags
	logs     logsFlags
	topics   []string
	cluster  string
	keyFiles []string
	strict   bool
	content  bool
}

func newAuditReconcileCommand() *cobra.Command {
	var c auditReconcileCommand
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Find records that are stored without a decision",
		Long:  auditReconcileHelp,
		Example: `  guardlock audit reconcile -b kafka-1:9092 --dir data/audit
  guardlock audit reconcile -b kafka-1:9092 --dir gw-a/audit --dir gw-b/audit --topic payments --json
  guardlock audit reconcile -b kafka-1:9092 --dir data/audit --content --audit-key data/audit.key`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	c.client.Register(cmd)
	c.logs.register(cmd)
	cmd.Flags().StringSliceVarP(&c.topics, "topic", "t", nil, "only this `TOPIC`; without, every topic that has decisions")
	cmd.Flags().StringVar(&c.cluster, "cluster", "", "the cluster's `NAME` in the logs; needed where they know of several")
	cmd.Flags().StringArrayVar(&c.keyFiles, "audit-key", nil, "`FILE` with an audit key, which tells pending batches without a producer id; give all that are needed, one each (default: audit.key beside each log)")
	cmd.Flags().BoolVar(&c.content, "content", false, "compare the content of each batch with its decision, too; reads the topics, and needs the audit key")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "count what is before the first decision as a bypass, too")
	cmd.AddCommand(newAcknowledgeCommand())
	return cmd
}

// gapsIn counts the findings that no decision names.
func gapsIn(all []reconcile.Finding) (n int) {
	for i := range all {
		switch all[i].Kind {
		case reconcile.Overlap, reconcile.Beyond, reconcile.Gone:
		default:
			n++
		}
	}
	return n
}

func (c *auditReconcileCommand) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	client, err := c.client.Connect(ctx, nil, kgo.ClientID(gateway.AuditClientID))
	if err != nil {
		return notConcluded(err)
	}
	defer client.Close()

	// Ends come first: what is stored below them has its decision in a log by now.
	ends, err := reconciling.Ask(ctx, client)
	if err != nil {
		return notConcluded(err)
	}
	coverage, keys, err := c.read(cmd)
	if err != nil {
		return err
	}

	parts, err := ends.Choose(ctx, coverage, reconciling.Choice{Cluster: c.cluster, Topics: c.topics})
	if err != nil {
		return c.chosen(err)
	}
	var all []reconciling.Judged
	for _, at := range parts.There {
		r, err := ends.Judge(ctx, coverage, at, keys)
		if err == nil && c.content {
			r.Content, err = ends.Compare(ctx, coverage, at)
		}
		if err != nil {
			return notConcluded(err)
		}
		all = append(all, r)
	}
	for _, at := range parts.Gone {
		all = append(all, reconciling.Judged{
			Cluster:   at.Cluster,
			Topic:     at.Topic,
			Partition: at.Partition,
			Findings:  []reconcile.Finding{coverage.Gone(at)},
		})
	}
	return c.report(cmd, all)
}

func notConcluded(err error) error {
	if exit.CodeOf(err) == exit.Usage {
		return err
	}
	err = fmt.Errorf("reconciling: not concluded: %w", err)
	if exit.HintOf(err) != "" {
		return err
	}
	return exit.WithHint(err, "nothing is said of what was not read; try again")
}

// chosen says what to do where nothing can be judged.
func (c *auditReconcileCommand) chosen(err error) error {
	switch {
	case errors.Is(err, reconciling.ErrSeveralClusters):
		return exit.WithHint(exit.Usagef("reconciling: %w", err), "name the one that --bootstrap is of with --cluster")
	case errors.Is(err, reconciling.ErrNoTopic):
		return exit.NotFoundf("reconciling: %w", err)
	case errors.Is(err, reconciling.ErrNothing):
		return exit.WithHint(exit.NotFoundf("reconciling: %w", err),
			"give the logs of all gateways, those that were set aside (audit adopt) as well; -t TOPIC asks about a topic of which no log knows")
	}
	return notConcluded(err)
}

// read reads every log, and the keys.
func (c *auditReconcileCommand) read(cmd *cobra.Command) (*reconcile.Coverage, [][32]byte, error) {
	keys, err := readKeys(c.keyFiles)
	if err != nil {
		return nil, nil, err
	}

	coverage := new(reconcile.Coverage)
	sources, err := c.logs.sources(cmd)
	if err != nil {
		return nil, nil, err
	}
	for _, from := range sources {
		if key, err := disk.ReadKey(keyBeside(from.Dir)); err == nil && len(c.keyFiles) == 0 {
			keys = append(keys, key)
		}
	}

	if c.content {
		if len(keys) == 0 {
			return nil, nil, exit.WithHint(exit.Usagef("reconciling: --content needs the audit key"), "give each gateway's audit.key_file with --audit-key")
		}
		coverage.Contents = &reconcile.Contents{Keys: keys, Of: c.compares}
	}

	logs, err := c.logs.open(cmd)
	if err != nil {
		return nil, nil, err
	}
	defer logs.Close()
	for _, log := range logs {
		if err := coverage.Read(cmd.Context(), log.Reader.Reader); err != nil {
			return nil, nil, c.logs.failed(err)
		}
	}
	return coverage, keys, nil
}

// compares says whether a partition's content is to be compared.
func (c *auditReconcileCommand) compares(at audit.Coord) bool {
	return (c.cluster == "" || at.Cluster == c.cluster) && (len(c.topics) == 0 || slices.Contains(c.topics, at.Topic))
}

// print writes a result for programs: with a manifest, also whose logs it rests on.
func (c *auditReconcileCommand) print(cmd *cobra.Command, all []reconciling.Judged) error {
	by := c.logs.listing()
	if by == nil {
		return cli.PrintJSON(cmd.OutOrStdout(), all)
	}
	return cli.PrintJSON(cmd.OutOrStdout(), struct {
		Manifest   *listing             `json:"manifest"`
		Partitions []reconciling.Judged `json:"partitions"`
	}{by, all})
}

func (c *auditReconcileCommand) report(cmd *cobra.Command, all []reconciling.Judged) error {
	sum := sumOf(all)
	var err error
	if cli.WantsJSON(cmd) {
		err = c.print(cmd, all)
	} else if err = c.logs.listing().write(cmd.OutOrStdout()); err == nil {
		err = writeReconciled(cmd.OutOrStdout(), all)
	}
	if err != nil {
		return err
	}
	return sum.verdict(c.strict, bypassHint(c.logs.listing()))
}

// reconciledSum is what all partitions came to.
type reconciledSum struct {
	bypass    int64 // records
	known     int64 // of these, acknowledged
	before    int64
	beyond    int // partitions
	different int64
	unkeyed   int64 // batches
}

func sumOf(all []reconciling.Judged) (sum reconciledSum) {
	for i := range all {
		for _, f := range all[i].Findings {
			switch f.Kind {
			case reconcile.Bypass:
				sum.bypass += int64(f.Records)
				if f.Acknowledged != nil {
					sum.known += int64(f.Records)
				}
			case reconcile.Before:
				sum.before += int64(f.Records)
			case reconcile.Beyond:
				sum.beyond++
			}
		}
		if r := all[i].Content; r != nil {
			sum.different += r.Different
			sum.unkeyed += r.Unkeyed
		}
	}
	return sum
}

// bypassHint says what to look at after a bypass. Where approvers signed which logs
// there are, and all were read, a log that is missing is not what it looks like.
func bypassHint(by *listing) string {
	const direct = "somebody wrote to the brokers themselves: docs/operating.md says how to close that way"
	if by != nil && len(by.Signers) > 0 {
		return "every log of the manifest was read, so that " + direct
	}
	return "is the log of every gateway among --dir? Else " + direct
}

// verdict is the command's end.
func (s *reconciledSum) verdict(strict bool, bypassed string) error {
	switch {
	case s.bypass > 0 && s.known == s.bypass:
		return exit.WithHint(exit.Refusedf("reconciling: %s stored without a decision, all of them acknowledged", cli.Count(int(s.bypass), "record")),
			"who acknowledged them answers for that; the gateway raises no alarm about them")
	case s.known > 0:
		return exit.WithHint(exit.Refusedf("reconciling: %s stored without a decision, %d of them acknowledged", cli.Count(int(s.bypass), "record"), s.known), "%s", bypassed)
	case s.bypass > 0:
		return exit.WithHint(exit.Refusedf("reconciling: %s stored without a decision", cli.Count(int(s.bypass), "record")), "%s", bypassed)
	case s.beyond > 0:
		return exit.WithHint(exit.Refusedf("reconciling: decisions name offsets beyond the end of %s", cli.Count(s.beyond, "partition")),
			"was a topic cut, or made anew, or did an unclean leader take over? Until the ends are past them, these decisions hide what others store there")
	case s.different > 0:
		return exit.WithHint(exit.Refusedf("reconciling: %d of the stored batches are not what a gateway forwarded", s.different),
			"guardlock audit compare DECISION_ID looks at one of them again; it is no compaction, and no compression by the broker")
	case s.before > 0 && strict:
		return exit.Refusedf("reconciling: %s from before the first decision", cli.Count(int(s.before), "record"))
	case s.unkeyed > 0:
		return exit.WithHint(fmt.Errorf("reconciling: not concluded: %d batches were decided under an audit key that was not given", s.unkeyed),
			"give the audit.key_file of each gateway and of each time with --audit-key; with it none beside a log is taken")
	}
	return nil
}

func writeReconciled(w io.Writer, all []reconciling.Judged) error {
	p := cli.PaletteFor(w)
	for i := range all {
		r := &all[i]
		if err := writeLooked(w, r); err != nil {
			return err
		}

		for _, f := range r.Findings {
			if f.Last < f.First { // of a partition that is gone, and of which no offset is known
				continue
			}
			kind := string(f.Kind)
			if f.Kind == reconcile.Bypass || f.Kind == reconcile.Beyond {
				kind = p.Red(kind)
			}
			text := fmt.Sprintf("  %s to %s  %s", humanize.Comma(f.First), humanize.Comma(f.Last), kind)
			if f.Records > 0 && f.Kind != reconcile.Marker {
				text += fmt.Sprintf(", %s, producer id %d", cli.Count(int(f.Records), "record"), f.ProducerID)
			}
			if len(f.Epochs) == 2 {
				text += fmt.Sprintf(", leader epochs %d and %d", f.Epochs[0], f.Epochs[1])
			}
			if f.Decision != "" {
				text += ", decision " + f.Decision
			}
			if a := f.Acknowledged; a != nil {
				text += fmt.Sprintf(", acknowledged by %s %s: %q", cli.Printable(a.By), a.Given.Format(time.RFC3339), a.Reason)
			}
			if _, err := fmt.Fprintln(w, text); err != nil {
				return err
			}
		}
		if err := writeContent(w, p, r.Content); err != nil {
			return err
		}
	}
	return nil
}

// writeContent tells what comparing the content of a partition's batches came to.
func writeContent(w io.Writer, p cli.Palette, r *reconcile.Compared) error {
	if r == nil {
		return nil
	}

	text := fmt.Sprintf("  content: %s as forwarded", cli.Count(int(r.Same), "batch"))
	for _, part := range []struct {
		batches int64
		what    string
	}{
		{r.Different, "NOT AS FORWARDED"},
		{r.Unkeyed, "decided under an audit key that was not given"},
		{r.Rewritten, "rewritten by the broker (compaction, compression): their content can no longer be compared"},
		{r.Removed, "not kept any longer"},
		{r.Unmarked, "of which the log has no MAC"},
	} {
		if part.batches > 0 {
			text += fmt.Sprintf("; %d %s", part.batches, part.what)
		}
	}
	if _, err := fmt.Fprintln(w, text); err != nil {
		return err
	}

	for _, d := range r.Examples {
		what := p.Red("different")
		if d.Missing {
			what = p.Red("missing")
		}
		if _, err := fmt.Fprintf(w, "  %s to %s  %s, decision %s\n", humanize.Comma(d.First), humanize.Comma(d.Last), what, d.Decision); err != nil {
			return err
		}
	}
	return nil
}

// writeLooked tells what was looked at of a partition.
func writeLooked(w io.Writer, r *reconciling.Judged) error {
	gone := slices.ContainsFunc(r.Findings, func(f reconcile.Finding) bool { return f.Kind == reconcile.Gone })
	gaps := gapsIn(r.Findings)
	looked := fmt.Sprintf("offsets %d to %d: every offset has its decision", r.Start, r.End-1)
	switch {
	case gone:
		looked = "is not in the cluster any more: nothing was looked at"
	case r.End <= r.Start:
		looked = "nothing is kept"
	case gaps > 0:
		looked = fmt.Sprintf("offsets %d to %d: %s", r.Start, r.End-1, cli.Count(gaps, "gap"))
	}

	_, err := fmt.Fprintf(w, "%s/%d  %s\n", cli.Printable(r.Topic), r.Partition, looked)
	return err
}
