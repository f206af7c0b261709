package main

import "github.com/spf13/cobra"

func newTopicCommand() *cobra.Command {
	return newGroup("topic", "List, create and describe topics",
		`Topics of the broker behind a gateway, or of any Kafka broker.`,
		newTopicListCommand(),
		newTopicCreateCommand(),
		newTopicDescribeCommand(),
	)
}
