package kafka

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// topicDescription is what `topic describe` shows of one topic, in JSON too.
type topicDescription struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Partitions []partitionLine   `json:"partitions"`
	Configs    map[string]string `json:"configs"` // only those set on the topic itself
}

type partitionLine struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	InSync    []int32 `json:"in_sync"`
	Start     int64   `json:"start"`
	End       int64   `json:"end"`
}

type topicDescribeCommand struct{ client ClientFlags }

func newTopicDescribeCommand() *cobra.Command {
	var c topicDescribeCommand
	cmd := &cobra.Command{
		Use:   "describe TOPIC",
		Short: "Show a topic's partitions, offsets and settings",
		Example: `  guardlock topic describe payments
  guardlock topic describe payments --json | jq '.partitions[] | .end - .start'`,
		Args: cli.NeedArgs("TOPIC"),
		RunE: c.run,
	}

	c.client.Register(cmd)
	return cmd
}

func (c *topicDescribeCommand) run(cmd *cobra.Command, args []string) error {
	admin, err := c.client.admin(cmd.Context())
	if err != nil {
		return err
	}

	defer admin.Close()
	d, err := describeTopic(cmd.Context(), admin, args[0])
	if err != nil {
		return err
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), d)
	}

	return d.write(cmd.OutOrStdout())
}

func describeTopic(ctx context.Context, admin *kadm.Client, topic string) (topicDescription, error) {
	const doing = "describing topic"
	d := topicDescription{Topic: topic, Configs: map[string]string{}}
	details, err := admin.ListTopicsWithInternal(ctx, topic)
	if err != nil {
		return d, topicError(doing, topic, err)
	}
	if err := details[topic].Err; err != nil {
		return d, topicError(doing, topic, err)
	}

	d.ID = details[topic].ID.String()
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return d, topicError(doing, topic, err)
	}

	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return d, topicError(doing, topic, err)
	}

	for _, p := range details[topic].Partitions.Sorted() {
		start, _ := starts.Lookup(topic, p.Partition)
		end, _ := ends.Lookup(topic, p.Partition)
		d.Partitions = append(d.Partitions, partitionLine{p.Partition, p.Leader, p.Replicas, p.ISR, start.Offset, end.Offset})
	}

	return d, d.readConfigs(ctx, admin)
}

// readConfigs keeps the settings that somebody gave this topic: the broker's
// defaults are not the topic's.
func (d *topicDescription) readConfigs(ctx context.Context, admin *kadm.Client) error {
	resources, err := admin.DescribeTopicConfigs(ctx, d.Topic)
	if err != nil {
		return topicError("reading settings of topic", d.Topic, err)
	}

	for _, r := range resources {
		if r.Err != nil {
			return topicError("reading settings of topic", d.Topic, r.Err)
		}
		for _, config := range r.Configs {
			if config.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				d.Configs[config.Key] = config.MaybeValue()
			}
		}
	}

	return nil
}

func (d topicDescription) write(w io.Writer) error {
	fmt.Fprintf(w, "topic    %s\nid       %s\n", cli.Printable(d.Topic), d.ID)
	for _, name := range cli.SortedKeys(d.Configs) {
		fmt.Fprintf(w, "setting  %s=%s\n", cli.Printable(name), cli.Printable(d.Configs[name]))
	}

	fmt.Fprintln(w)
	t := cli.NewTable("PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END", "OFFSETS")
	for _, p := range d.Partitions {
		t.Add(p.Partition, p.Leader, p.Replicas, p.InSync, p.Start, p.End, p.End-p.Start)
	}

	return t.Write(w)
}
