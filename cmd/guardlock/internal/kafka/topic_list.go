package kafka

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// topicLine is one row of `topic list`, and its JSON form.
type topicLine struct {
	Topic      string `json:"topic"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal"`
	Error      string `json:"error,omitempty"`
}

type topicListCommand struct {
	client   ClientFlags
	internal bool
}

func newTopicListCommand() *cobra.Command {
	var c topicListCommand
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List topics with their partitions and replicas",
		Example: `  guardlock topic list
  guardlock topic list --bootstrap kafka-1:9092,kafka-2:9092 --tls --ca ca.pem
  guardlock topic list --json | jq -r '.[].topic'`,
		Args: cli.NeedArgs(),
		RunE: c.run,
	}

	c.client.Register(cmd)
	cmd.Flags().BoolVar(&c.internal, "internal", false, "show the broker's own topics too")
	return cmd
}

func (c *topicListCommand) run(cmd *cobra.Command, _ []string) error {
	admin, err := c.client.admin(cmd.Context())
	if err != nil {
		return err
	}

	defer admin.Close()
	topics, err := admin.ListTopicsWithInternal(cmd.Context())
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}

	lines := c.lines(topics)
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), lines)
	}

	if len(lines) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no topics yet; make one with `guardlock topic create NAME`")
		return nil
	}

	t := cli.NewTable("TOPIC", "PARTITIONS", "REPLICAS")
	for _, l := range lines {
		t.Add(l.Topic, l.Partitions, l.Replicas)
	}

	return t.Write(cmd.OutOrStdout())
}

func (c *topicListCommand) lines(topics kadm.TopicDetails) []topicLine {
	lines := []topicLine{}
	for _, t := range topics.Sorted() {
		if t.IsInternal && !c.internal {
			continue
		}
		l := topicLine{
			Topic:      t.Topic,
			ID:         t.ID.String(),
			Partitions: len(t.Partitions),
			Replicas:   t.Partitions.NumReplicas(),
			Internal:   t.IsInternal,
		}

		if t.Err != nil {
			l.Error = t.Err.Error()
		}
		lines = append(lines, l)
	}

	return lines
}
