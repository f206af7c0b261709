package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

type consumeCommand struct {
	client      ClientFlags
	topic       string
	group       string
	beginning   bool
	offset      int64
	offsetSet   bool
	partitions  []int32
	count       int
	follow      bool
	meta        bool
	uncommitted bool
}

const consumeHelp = `Print a topic's records, one per line.

Without --follow it prints what is there and ends. It starts at the beginning,
with --follow at the end, with --group where the group stopped last; say
otherwise with --from-beginning or --offset. A negative offset counts from the
end: --offset -5 are the last five of each partition.

On a terminal, control characters in records are shown as \x1b and the like.`

// NewConsumeCommand is `guardlock consume`, which prints the records of a
// topic.
func NewConsumeCommand() *cobra.Command {
	var c consumeCommand
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Print the records of a topic",
		Long:  consumeHelp,
		Example: `  guardlock consume --topic payments
  guardlock consume --topic payments --offset -5 --meta
  guardlock consume --topic payments --partition 0 --offset 42 --count 1 --json
  guardlock consume --topic alerts --follow
  guardlock consume --topic payments --group reports`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.client.Register(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&c.topic, "topic", "t", "", "topic to read")
	fl.StringVarP(&c.group, "group", "g", "", "consumer group: share the work, and go on there next time")
	fl.BoolVar(&c.beginning, "from-beginning", false, "start with the oldest record")
	fl.Int64VarP(&c.offset, "offset", "o", 0, "start at this offset; negative counts from the end")
	fl.Int32SliceVarP(&c.partitions, "partition", "p", nil, "only these partitions")
	fl.IntVarP(&c.count, "count", "c", 0, "end after this many records")
	fl.BoolVarP(&c.follow, "follow", "f", false, "wait for new records until Ctrl-C")
	fl.BoolVarP(&c.meta, "meta", "m", false, "print partition, offset, time, key and headers too")
	fl.BoolVar(&c.uncommitted, "uncommitted", false, "print records of open and aborted transactions too")

	return cmd
}

func (c *consumeCommand) run(cmd *cobra.Command, _ []string) error {
	c.offsetSet = cmd.Flags().Changed("offset")
	if err := c.check(cmd); err != nil {
		return err
	}

	ctx := cmd.Context()
	rng, err := c.findRange(ctx)
	if err != nil {
		return err
	}
	if !c.follow && rng.done() {
		return c.summary(cmd, 0)
	}

	client, err := c.client.Connect(ctx, nil, c.options(rng)...)
	if err != nil {
		return err
	}

	defer client.Close()
	printed, err := c.print(ctx, cmd, client, rng)
	if c.group != "" {
		// The commit is made after Ctrl-C too: what was printed shall not be
		// printed again.
		err = errors.Join(err, commit(context.WithoutCancel(ctx), client))
	}

	if err != nil {
		return err
	}
	return c.summary(cmd, printed)
}

func (c *consumeCommand) check(cmd *cobra.Command) error {
	switch {
	case c.topic == "":
		return cli.NeedFlag(cmd, "topic", "guardlock consume --topic payments")
	case c.group != "" && (c.offsetSet || c.beginning || len(c.partitions) > 0):
		return exit.WithHint(exit.Usagef("--group decides itself where to read"), "leave out --group, or --offset, --from-beginning and --partition")
	case c.offsetSet && c.beginning:
		return exit.Usagef("--offset and --from-beginning contradict each other")
	case c.count < 0:
		return exit.Usagef("--count %d is negative", c.count)
	}
	return nil
}

func (c *consumeCommand) options(rng offsetRange) []kgo.Opt {
	isolation := kgo.ReadCommitted()
	if c.uncommitted {
		isolation = kgo.ReadUncommitted()
	}

	opts := []kgo.Opt{kgo.FetchIsolationLevel(isolation), kgo.FetchMaxWait(500 * time.Millisecond)}
	if c.group != "" {
		return append(opts, kgo.ConsumerGroup(c.group), kgo.ConsumeTopics(c.topic), kgo.AutoCommitMarks(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}

	starts := make(map[int32]kgo.Offset, len(rng))
	for partition, r := range rng {
		starts[partition] = kgo.NewOffset().At(r.next)
	}

	return append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: starts}))
}

// quiet is how long nothing may come before a reader that wants the end calls
// it the end. Counting to the end offset is not enough: the last offsets may
// be transaction markers, which are never handed out.
const quiet = 3 * time.Second

// print prints records until the end of the range, the count or Ctrl-C, and
// returns how many it printed.
func (c *consumeCommand) print(ctx context.Context, cmd *cobra.Command, client *kgo.Client, rng offsetRange) (int, error) {
	out := newRecordPrinter(cmd.OutOrStdout(), cli.WantsJSON(cmd), c.meta)
	silence := quiet
	if c.follow {
		silence = 0
	}

	for printed := 0; ; {
		fetches, last := poll(ctx, client, silence)
		if err := fetchError(fetches); err != nil {
			return printed, topicError("reading topic", c.topic, err)
		}

		for r := range fetches.RecordsAll() {
			if err := out.print(r); err != nil {
				return printed, fmt.Errorf("printing records: %w", err)
			}
			client.MarkCommitRecords(r)
			rng.seen(r)

			if printed++; printed == c.count {
				return printed, out.flush()
			}
		}

		if err := out.flush(); err != nil {
			return printed, fmt.Errorf("printing records: %w", err)
		}
		if last || !c.follow && rng.done() {
			return printed, nil
		}
	}
}

// poll waits for records, without end where quiet is 0. The second result tells that
// there will be none: Ctrl-C, or silence where the end is wanted.
func poll(ctx context.Context, client *kgo.Client, quiet time.Duration) (kgo.Fetches, bool) {
	waiting := ctx
	if quiet > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, quiet)
		defer cancel()
	}

	fetches := client.PollFetches(waiting)
	return fetches, waiting.Err() != nil && fetches.NumRecords() == 0
}

// fetchError is the first error of a poll, apart from those that only say that
// the poll has ended.
func fetchError(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.Canceled) && !errors.Is(e.Err, context.DeadlineExceeded) {
			return e.Err
		}
	}
	return nil
}

func commit(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		return fmt.Errorf("committing the group's offsets: %w", err)
	}
	return nil
}

// summary says how much was printed, on stderr and only to a person: stdout
// holds records alone.
func (c *consumeCommand) summary(cmd *cobra.Command, printed int) error {
	if !cli.WantsJSON(cmd) && cli.IsTerminal(cmd.ErrOrStderr()) {
		p := cli.PaletteFor(cmd.ErrOrStderr())
		fmt.Fprintln(cmd.ErrOrStderr(), p.Dim(cli.Count(printed, "record")+" of topic "+cli.Printable(c.topic)))
	}
	return nil
}
