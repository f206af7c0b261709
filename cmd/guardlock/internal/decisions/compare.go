package decisions

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/reconcile"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/reconciling"
)

const auditCompareHelp = `Read the batch that a decision is about from its topic, and tell whether it is
what the gateway forwarded. Exit code 3 if it is not.

The log holds a MAC of every batch. It covers every byte of the batch, or its
header: producer, sequence, times, record count and the checksum of the rest.
Which one is the binding's "evidence"; only content shows a change by somebody
who can make a checksum fit.

This needs the audit key, which the gateway keeps in audit.key_file. Records are
read, from a gateway or a broker itself, and compared here; nothing of them is
printed.
` + logsHelp

type auditCompareCommand struct {
	client  kafka.ClientFlags
	logs    logsFlags
	keyFile string
}

func newAuditCompareCommand() *cobra.Command {
	var c auditCompareCommand
	cmd := &cobra.Command{
		Use:   "compare DECISION_ID",
		Short: "Compare a stored batch with its decision",
		Long:  auditCompareHelp,
		Example: `  guardlock audit compare gl-5c3a91f0-2k-0
  guardlock audit compare gl-5c3a91f0-2k -b kafka-1:9092 --dir data/audit --audit-key data/audit.key`,
		Args: cli.NeedArgs("DECISION_ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}

	c.client.Register(cmd)
	c.logs.register(cmd)
	cmd.Flags().StringVar(&c.keyFile, "audit-key", "", "`FILE` with the audit key (default: audit.key beside the log that has the decision)")
	return cmd
}

// comparison is what --json prints.
type comparison struct {
	DecisionID audit.DecisionID `json:"decision_id"`
	Gateway    string           `json:"gateway,omitempty"`
	Cluster    string           `json:"cluster"`
	Topic      string           `json:"topic"`
	Partition  int32            `json:"partition"`
	BaseOffset int64            `json:"base_offset"`
	Records    int              `json:"records"` // in the batch that was read
	Evidence   string           `json:"evidence"`
	Same       bool             `json:"same"`
}

func (c *auditCompareCommand) run(cmd *cobra.Command, id string) error {
	ctx := cmd.Context()
	d, key, err := c.decision(cmd, id)
	if err != nil {
		return err
	}

	batch, err := c.stored(ctx, d)
	if err != nil {
		return fmt.Errorf("comparing %s with %s: %w", id, coordinateText(d.Coordinate), err)
	}

	result := comparison{
		DecisionID: d.ID,
		Gateway:    d.Gateway,
		Cluster:    d.Cluster,
		Topic:      d.Topic,
		Partition:  d.Partition,
		BaseOffset: d.Batch.BaseOffset,
		Evidence:   d.Batch.Evidence.String(),
	}

	if h, err := recordbatch.ParseHeader(batch); err == nil {
		result.Records = int(h.NumRecords)
	}
	result.Same = reconcile.Unchanged(batch, d.Batch.Evidence, func(part []byte) bool { return d.Batch.CheckMAC(key, part) })
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), result)
	} else if result.Same {
		err = writeSame(cmd.OutOrStdout(), &result)
	}

	if result.Same || err != nil {
		return err
	}
	return exit.WithHint(exit.Refusedf("comparing %s: the batch of %s at offset %d is not what the gateway forwarded", id, d.Topic, result.BaseOffset),
		"a topic that compacts, or compresses anew (compression.type), changes its batches; if it does neither, somebody else did")
}

// decision looks the decision up and reads the key that it was made under.
func (c *auditCompareCommand) decision(cmd *cobra.Command, id string) (d query.Decision, key [32]byte, err error) {
	logs, err := c.logs.open(cmd)
	if err != nil {
		return d, key, err
	}

	defer logs.Close()
	log, d, err := c.logs.lookUp(cmd.Context(), logs, id)
	if err != nil {
		return d, key, err
	}

	switch {
	case d.Batch == nil:
		return d, key, exit.Usagef("comparing %s: it is about no batch, but about %s", id, d.Kind)
	case d.Batch.State != query.StateStored || d.Batch.BaseOffset < 0:
		return d, key, exit.NotFoundf("comparing %s: its batch is not known to be stored (%s)", id, d.Batch.State)
	case !d.Batch.HasMAC():
		return d, key, exit.NotFoundf("comparing %s: the log has no evidence of its batch", id)
	}

	path := c.keyFile
	if path == "" {
		path = keyBeside(log.Dir)
	}
	if key, err = disk.ReadKey(path); err != nil {
		return d, key, exit.WithHint(fmt.Errorf("reading the audit key: %w", err), "give the gateway's audit.key_file with --audit-key")
	}

	under, err := log.IsUnder(d.ID.Seq, key)
	if err != nil {
		return d, key, auditError(log.Dir, err)
	}
	if !under {
		return d, key, otherKey(path, id)
	}
	return d, key, nil
}

// otherKey refuses an audit key that a decision was not made under: by another one each
// batch looks changed.
func otherKey(path, id string) error {
	return exit.WithHint(exit.Usagef("%s is not the key that %s was made under", path, id), "give the gateway's audit.key_file of that time with --audit-key")
}

// stored reads the batch as its producer, or the gateway, sent it.
func (c *auditCompareCommand) stored(ctx context.Context, d query.Decision) ([]byte, error) {
	client, err := c.client.Connect(ctx, nil, kgo.ClientID(gateway.AuditClientID))
	if err != nil {
		return nil, err
	}

	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopicsWithInternal(ctx, d.Topic)
	if err != nil {
		return nil, err
	}

	t := topics[d.Topic]
	p, ok := t.Partitions[d.Partition]
	id := d.Batch.TopicID

	switch {
	case errors.Is(t.Err, kerr.UnknownTopicOrPartition) || t.Err == nil && !ok:
		return nil, exit.NotFoundf("the partition is not there")
	case t.Err != nil:
		return nil, t.Err
	case id != [16]byte{} && [16]byte(t.ID) != [16]byte{} && [16]byte(t.ID) != id:
		return nil, exit.NotFoundf("the topic was deleted and made again: it was %s", hex.EncodeToString(id[:]))
	}

	records, err := reconciling.Fetch(ctx, client, t, p, d.Batch.BaseOffset, 1<<20)
	if err != nil {
		return nil, err
	}

	for batch, err := range recordbatch.SplitBatches(records) {
		if err != nil {
			return nil, fmt.Errorf("reading the partition: %w", err)
		}
		h, err := recordbatch.ParseHeader(batch)
		if err != nil {
			return nil, fmt.Errorf("reading the partition: %w", err)
		}
		if h.BaseOffset == d.Batch.BaseOffset {
			return recordbatch.NewCodec(recordbatch.Limits{}).AsProduced(nil, batch)
		}

		break // batches come in order, beginning with the one that holds the offset
	}

	return nil, exit.WithHint(exit.NotFoundf("no batch begins at offset %d any more", d.Batch.BaseOffset), "retention or compaction may have removed it")
}

func writeSame(w io.Writer, c *comparison) error {
	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	f.field("decision", "%s", c.DecisionID)
	f.field("gateway", "%s", c.Gateway)
	f.field("batch", "%s, %s", coordinateText(query.Coordinate{
		Cluster:   c.Cluster,
		Topic:     c.Topic,
		Partition: c.Partition,
		Offset:    c.BaseOffset,
	}), cli.Count(c.Records, "record"))

	covered := "every byte is what the gateway forwarded"
	if c.Evidence == audit.EvidenceHeader.String() {
		covered = "producer, sequence, times, count and checksum are what the gateway forwarded"
	}

	f.field("same", "%s", f.p.Green("yes")+": "+covered)
	return f.err
}
