package decisions

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditReconcileHelp = `Find records that are stored without a decision. Each offset that no decision names is
looked at in the cluster, and told apart:

  bypass      a batch of records that no gateway decided about
  pending     of a decision whose answer no log knows yet
  marker      a transaction's marker, which a broker writes
  before-era  stored before a gateway took its first batch for the partition
  before      stored before the first decision, and no log says since when it knows the partition
  overlap     given out by two leaders: what the first of them stored there was lost
  nothing     nothing is there any more: compacted away, or never visible

What decisions name beyond the partition's end is told as well:

  beyond      stored once and lost since: the topic was cut or made anew, or an unclean
              leader took over

Exit code 3 if there is a bypass, or what is beyond the end; with --strict also for what
is before, which looks the same. Give the logs of all gateways in front of the cluster:
one that is missing looks like a bypass. Ask the brokers themselves, not a gateway. Only
what no decision names is read, and nothing of a record is printed.`

type auditReconcileCommand struct {
	client   kafka.ClientFlags
	logs     logsFlags
	topics   []string
	cluster  string
	keyFiles []string
	strict   bool
}

func newAuditReconcileCommand() *cobra.Command {
	var c auditReconcileCommand
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Find records that are stored without a decision",
		Long:  auditReconcileHelp,
		Example: `  guardlock audit reconcile -b kafka-1:9092 --dir data/audit
  guardlock audit reconcile -b kafka-1:9092 --dir gw-a/audit --dir gw-b/audit --topic payments --json`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}

	c.client.Register(cmd)
	c.logs.register(cmd)
	cmd.Flags().StringSliceVarP(&c.topics, "topic", "t", nil, "only this `TOPIC`; without, every topic that has decisions")
	cmd.Flags().StringVar(&c.cluster, "cluster", "", "the cluster's `NAME` in the logs; needed where they know of several")
	cmd.Flags().StringArrayVar(&c.keyFiles, "audit-key", nil, "`FILE` with an audit key, which tells pending batches without a producer id (default: audit.key beside each log)")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "count what is before the first decision as a bypass, too")
	return cmd
}

// reconciled is one partition's result, as --json prints it.
type reconciled struct {
	Cluster   string              `json:"cluster"`
	Topic     string              `json:"topic"`
	Partition int32               `json:"partition"`
	Start     int64               `json:"start"`
	End       int64               `json:"end"`
	Findings  []reconcile.Finding `json:"findings"`
}

// gaps are the findings that no decision names.
func (r *reconciled) gaps() (n int) {
	for i := range r.Findings {
		switch r.Findings[i].Kind {
		case reconcile.Overlap, reconcile.Beyond:
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
		return err
	}
	defer client.Close()

	// Ends come first: what is stored below them has its decision in a log by now.
	ends, err := readEnds(ctx, client)
	if err != nil {
		return fmt.Errorf("reconciling: %w", err)
	}
	coverage, keys, err := c.read(cmd)
	if err != nil {
		return err
	}

	parts, err := c.partitions(coverage, ends)
	if err != nil {
		return err
	}
	var all []reconciled
	for _, at := range parts {
		r, err := ends.judge(ctx, coverage, at, keys)
		if err != nil {
			return exit.WithHint(fmt.Errorf("reconciling: not concluded: %w", err), "nothing is said of what was not read; try again")
		}
		all = append(all, *r)
	}
	return c.report(cmd, all)
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

// partitions are those that are to be judged: of topics that decisions are about, or
// that were named.
func (c *auditReconcileCommand) partitions(coverage *reconcile.Coverage, e *ends) ([]audit.Coord, error) {
	clusters := map[string]bool{}
	topics := map[string]bool{}
	for _, at := range coverage.Partitions() {
		if c.cluster == "" || at.Cluster == c.cluster {
			clusters[at.Cluster] = true
			topics[at.Topic] = true
		}
	}

	cluster := c.cluster
	for name := range clusters {
		if len(clusters) > 1 {
			return nil, exit.WithHint(exit.Usagef("reconciling: the logs know of several clusters"), "name the one that --bootstrap is of with --cluster")
		}
		cluster = name
	}
	for _, name := range c.topics {
		if len(e.starts[name]) == 0 {
			return nil, exit.NotFoundf("reconciling: topic %s is not there", name)
		}
	}

	var all []audit.Coord
	for name, partitions := range e.starts {
		if len(c.topics) > 0 && !slices.Contains(c.topics, name) || len(c.topics) == 0 && !topics[name] {
			continue
		}
		for p := range partitions {
			all = append(all, audit.Coord{Cluster: cluster, Topic: name, Partition: p})
		}
	}
	slices.SortFunc(all, func(a, b audit.Coord) int {
		if d := strings.Compare(a.Topic, b.Topic); d != 0 {
			return d
		}
		return int(a.Partition - b.Partition)
	})
	if len(all) == 0 {
		return nil, exit.WithHint(exit.NotFoundf("reconciling: nothing was compared: the logs hold no decision about a topic that is there"),
			"give the logs of all gateways, those that were set aside (audit adopt) as well; -t TOPIC asks about a topic of which no log knows")
	}
	return all, nil
}

func (c *auditReconcileCommand) report(cmd *cobra.Command, all []reconciled) error {
	bypass, before := int64(0), int64(0)
	beyond := 0
	for i := range all {
		for _, f := range all[i].Findings {
			switch f.Kind {
			case reconcile.Bypass:
				bypass += int64(f.Records)
			case reconcile.Before:
				before += int64(f.Records)
			case reconcile.Beyond:
				beyond++
			}
		}
	}

	var err error
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), all)
	} else {
		err = writeReconciled(cmd.OutOrStdout(), all)
	}
	switch {
	case err != nil:
		return err
	case bypass > 0:
		return exit.WithHint(exit.Refusedf("reconciling: %s stored without a decision", cli.Count(int(bypass), "record")),
			"is the log of every gateway among --dir? Else somebody wrote to the brokers themselves: docs/auditing.md says how to close that way")
	case beyond > 0:
		return exit.WithHint(exit.Refusedf("reconciling: decisions name offsets beyond the end of %s", cli.Count(beyond, "partition")),
			"was a topic cut, or made anew, or did an unclean leader take over? Until the ends are past them, these decisions hide what others store there")
	case before > 0 && c.strict:
		return exit.Refusedf("reconciling: %s from before the first decision", cli.Count(int(before), "record"))
	}
	return nil
}

func writeReconciled(w io.Writer, all []reconciled) error {
	p := cli.PaletteFor(w)
	for i := range all {
		r := &all[i]
		gaps := "every offset has its decision"
		if n := r.gaps(); n > 0 {
			gaps = cli.Count(n, "gap")
		}
		if _, err := fmt.Fprintf(w, "%s/%d  offsets %d to %d: %s\n", cli.Printable(r.Topic), r.Partition, r.Start, r.End-1, gaps); err != nil {
			return err
		}

		for _, f := range r.Findings {
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
			if _, err := fmt.Fprintln(w, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// ends are where partitions began and ended when they were asked for.
type ends struct {
	client *kgo.Client
	topics kadm.TopicDetails
	starts map[string]map[int32]kafkaEnds
}

type kafkaEnds struct {
	start, end int64
	valid      bool
}

func readEnds(ctx context.Context, client *kgo.Client) (*ends, error) {
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	last, err := admin.ListEndOffsets(ctx)
	if err != nil {
		return nil, err
	}
	first, err := admin.ListStartOffsets(ctx)
	if err != nil {
		return nil, err
	}

	e := &ends{client: client, topics: topics, starts: make(map[string]map[int32]kafkaEnds)}
	for _, t := range topics {
		e.starts[t.Topic] = make(map[int32]kafkaEnds)
		for p := range t.Partitions {
			start, okStart := first.Lookup(t.Topic, p)
			end, okEnd := last.Lookup(t.Topic, p)
			e.starts[t.Topic][p] = kafkaEnds{start.Offset, end.Offset, okStart && okEnd && start.Err == nil && end.Err == nil}
		}
	}
	return e, nil
}

func (e *ends) judge(ctx context.Context, c *reconcile.Coverage, at audit.Coord, keys [][32]byte) (*reconciled, error) {
	k := e.starts[at.Topic][at.Partition]
	if !k.valid {
		return nil, fmt.Errorf("the ends of %s/%d are not known", at.Topic, at.Partition)
	}

	found, err := c.Judge(ctx, e.partition(at), keys)
	if err != nil {
		return nil, err
	}
	return &reconciled{at.Cluster, at.Topic, at.Partition, k.start, k.end, found}, nil
}

// partition is one as its brokers had it when they were asked.
func (e *ends) partition(at audit.Coord) *reconcile.Partition {
	k := e.starts[at.Topic][at.Partition]
	t := e.topics[at.Topic]
	reach := func(ctx context.Context, offset int64) (int64, error) { return e.reach(ctx, at, offset) }
	return &reconcile.Partition{At: at, Topic: t.ID, Start: k.start, End: k.end, Reach: reach, Batch: func(ctx context.Context, offset int64) ([]byte, error) {
		records, err := fetchAt(ctx, e.client, t, t.Partitions[at.Partition], offset)
		if err != nil {
			return nil, err
		}
		for batch, err := range recordbatch.SplitBatches(records) {
			if err != nil {
				return nil, err
			}
			h, err := recordbatch.ParseHeader(batch)
			if err != nil || h.BaseOffset+int64(h.LastOffsetDelta) >= offset {
				return batch, err
			}
		}
		return nil, nil
	}}
}

// endAsked is how often an end is asked for again, and endPause how long in between: a
// follower of a healthy cluster has fetched twice by then what its leader acknowledged
// alone (acks=1), and only what followers have lies below the end.
const (
	endAsked = 6
	endPause = 500 * time.Millisecond
)

// reach gives the end of a partition once it is at offset, or the one it stays at.
func (e *ends) reach(ctx context.Context, at audit.Coord, offset int64) (int64, error) {
	admin := kadm.NewClient(e.client)
	for asked := 1; ; asked++ {
		listed, err := admin.ListEndOffsets(ctx, at.Topic)
		if err != nil {
			return 0, err
		}
		end, ok := listed.Lookup(at.Topic, at.Partition)
		switch {
		case !ok:
			return 0, fmt.Errorf("the end of %s/%d is not known", at.Topic, at.Partition)
		case end.Err != nil:
			return 0, end.Err
		case end.Offset >= offset || asked == endAsked:
			return end.Offset, nil
		}

		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(endPause):
		}
	}
}
