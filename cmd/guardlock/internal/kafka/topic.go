package kafka

import (
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/spf13/cobra"
)

// NewTopicCommand is `guardlock topic`, the group for topics and their
// settings.
func NewTopicCommand() *cobra.Command {
	return cli.NewGroup("topic", "List, create and describe topics",
		`Topics of the broker behind a gateway, or of any Kafka broker.`,
		newTopicListCommand(),
		newTopicCreateCommand(),
		newTopicDescribeCommand(),
	)
}
