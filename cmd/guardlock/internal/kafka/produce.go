package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

type produceCommand struct {
	client        ClientFlags
	topic         string
	file          string
	keySeparator  string
	headers       []string
	partition     int32
	acks          string
	compression   string
	idempotent    bool
	transactional string
	onReject      string
}

const produceHelp = `Send each line of standard input, or of --file, as one record.

A gateway may refuse a record. Kafka then fails the record's whole batch; the
answer names the refused records, each with its reason and decision id, and
this command prints them with their line numbers. What happens to the other
records of the batch:
  --on-reject=continue   they are sent again without the refused ones (default)
  --on-reject=stop       nothing more is sent

With --transactional-id every line is one transaction: it is committed only if
all records were taken.

The command exits with 3 if any record was refused.`

// NewProduceCommand is `guardlock produce`, which sends lines as records.
func NewProduceCommand() *cobra.Command {
	var c produceCommand
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Send lines as records",
		Long:  produceHelp,
		Example: `  echo '{"amount":12.5}' | guardlock produce --topic payments
  guardlock produce --topic payments --file payments.jsonl --compression zstd
  echo 'customer-7:{"name":"Ada"}' | guardlock produce --topic customers --key-separator :
  guardlock produce --topic payments --header source=till-4 --json <payments.jsonl`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.client.Register(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&c.topic, "topic", "t", "", "topic to send to")
	fl.StringVarP(&c.file, "file", "f", "", "read lines from `FILE` instead of standard input")
	fl.StringVar(&c.keySeparator, "key-separator", "", "the key is what stands before the first `TEXT` of a line")
	fl.StringArrayVar(&c.headers, "header", nil, "header `KEY=VALUE` of every record; may be repeated")
	fl.Int32VarP(&c.partition, "partition", "p", -1, "partition to send to; -1 chooses by key")
	fl.StringVar(&c.acks, "acks", "all", "who must have a record before it counts: all, leader or none")
	fl.StringVar(&c.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	fl.BoolVar(&c.idempotent, "idempotent", true, "let the broker remove duplicates of retries; needs --acks=all")
	fl.StringVar(&c.transactional, "transactional-id", "", "send everything as one transaction of this `ID`")
	fl.StringVar(&c.onReject, "on-reject", "continue", "after a refused record: continue or stop")

	return cmd
}

func (c *produceCommand) run(cmd *cobra.Command, _ []string) error {
	opts, err := c.options(cmd)
	if err != nil {
		return err
	}

	headers, err := parseHeaders(c.headers)
	if err != nil {
		return err
	}

	in, size, err := c.open(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return err
	}

	defer in.Close()
	tap := NewTap()
	client, err := c.client.Connect(cmd.Context(), tap, opts...)
	if err != nil {
		return err
	}

	defer client.Close()
	if err := c.checkTopic(cmd, client); err != nil {
		return err
	}

	s := &sender{
		client:       client,
		tap:          tap,
		topic:        c.topic,
		headers:      headers,
		separator:    c.keySeparator,
		partition:    c.partition,
		stopOnReject: c.onReject == "stop" || c.transactional != "",
		report:       newProduceReport(cmd.OutOrStdout(), cmd.ErrOrStderr(), c.topic, cli.WantsJSON(cmd), size),
	}

	if c.transactional != "" {
		return s.sendTransaction(cmd.Context(), in)
	}
	return s.send(cmd.Context(), in)
}

// options checks the flags and turns them into kgo's. One request is in flight
// per broker, so that no later batch of a partition is on its way when an
// earlier one is refused; and batches go out by Flush alone, so that a refusal
// meets a round of records that is known (see sender).
func (c *produceCommand) options(cmd *cobra.Command) ([]kgo.Opt, error) {
	if c.topic == "" {
		return nil, cli.NeedFlag(cmd, "topic", "guardlock produce --topic payments")
	}
	if c.onReject != "continue" && c.onReject != "stop" {
		return nil, exit.Usagef("--on-reject %q is neither continue nor stop", c.onReject)
	}

	acks, err := parseAcks(c.acks)
	if err != nil {
		return nil, err
	}

	codec, err := parseCodec(c.compression)
	if err != nil {
		return nil, err
	}

	opts := []kgo.Opt{
		kgo.RequiredAcks(acks), kgo.ProducerBatchCompression(codec), kgo.ManualFlushing(),
		kgo.MaxProduceRequestsInflightPerBroker(1), kgo.MaxBufferedRecords(2 * roundRecords),
	}

	if c.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if c.transactional != "" {
		opts = append(opts, kgo.TransactionalID(c.transactional))
	}
	if c.acks == "all" && c.idempotent {
		return opts, nil
	}
	if c.transactional != "" {
		return nil, exit.Usagef("--transactional-id needs --acks=all and --idempotent")
	}
	if cmd.Flags().Changed("idempotent") && c.idempotent {
		return nil, exit.WithHint(exit.Usagef("--idempotent needs --acks=all, not %s", c.acks), "leave out one of the two")
	}

	return append(opts, kgo.DisableIdempotentWrite()), nil
}

// checkTopic makes a missing topic a plain error: the producer itself would
// wait for it to appear.
func (c *produceCommand) checkTopic(cmd *cobra.Command, client *kgo.Client) error {
	const doing = "sending to topic"
	details, err := kadm.NewClient(client).ListTopicsWithInternal(cmd.Context(), c.topic)
	if err != nil {
		return topicError(doing, c.topic, err)
	}
	if err := details[c.topic].Err; err != nil {
		return topicError(doing, c.topic, err)
	}
	if n := len(details[c.topic].Partitions); int(c.partition) >= n {
		return exit.NotFoundf("sending to topic %q: no partition %d, it has %d", c.topic, c.partition, n)
	}

	return nil
}

// open returns the source of the lines and its size in bytes, 0 where that is
// not known.
func (c *produceCommand) open(ctx context.Context, stdin io.Reader) (io.ReadCloser, int64, error) {
	if c.file == "" || c.file == "-" {
		return io.NopCloser(stdin), 0, nil
	}
	f, err := disk.OpenInput(ctx, c.file)
	if err != nil {
		return nil, 0, fmt.Errorf("reading --file: %w", err)
	}

	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("reading --file: %w", err), f.Close())
	}
	return f, info.Size(), nil
}

func parseAcks(s string) (kgo.Acks, error) {
	switch s {
	case "all", "-1":
		return kgo.AllISRAcks(), nil
	case "leader", "1":
		return kgo.LeaderAck(), nil
	case "none", "0":
		return kgo.NoAck(), nil
	}
	return kgo.Acks{}, exit.Usagef("--acks %q is none of all, leader, none", s)
}

func parseCodec(s string) (kgo.CompressionCodec, error) {
	switch s {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, exit.Usagef("--compression %q is none of none, gzip, snappy, lz4, zstd", s)
}

func parseHeaders(pairs []string) ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, exit.Usagef("--header is not KEY=VALUE")
		}
		headers = append(headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}

	return headers, nil
}
