package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

type topicCreateCommand struct {
	client      ClientFlags
	partitions  int32
	replicas    int16
	configs     []string
	ifNotExists bool
	dryRun      bool
}

func newTopicCreateCommand() *cobra.Command {
	var c topicCreateCommand
	cmd := &cobra.Command{
		Use:   "create TOPIC",
		Short: "Create a topic",
		Long: `Create a topic. The embedded broker refuses cleanup.policy=compact: it would
forget keys that a log of decisions still names.`,
		Example: `  guardlock topic create payments --partitions 6
  guardlock topic create payments --replicas 3 --config retention.ms=604800000
  guardlock topic create payments --if-not-exists`,
		Args: cli.NeedArgs("TOPIC"),
		RunE: c.run,
	}

	c.client.Register(cmd)
	fl := cmd.Flags()
	fl.Int32Var(&c.partitions, "partitions", 1, "number of partitions")
	fl.Int16Var(&c.replicas, "replicas", -1, "copies of each partition; -1 is the broker's default")
	fl.StringArrayVar(&c.configs, "config", nil, "topic setting as `NAME=VALUE`; may be repeated")
	fl.BoolVar(&c.ifNotExists, "if-not-exists", false, "a topic that exists already is no error")
	fl.BoolVar(&c.dryRun, "dry-run", false, "only ask the broker whether it would")

	return cmd
}

func (c *topicCreateCommand) run(cmd *cobra.Command, args []string) error {
	topic := args[0]
	configs, err := parseConfigs(c.configs)
	if err != nil {
		return err
	}

	admin, err := c.client.admin(cmd.Context())
	if err != nil {
		return err
	}

	defer admin.Close()
	created, err := c.create(cmd, admin, topic, configs)
	if err != nil {
		return err
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]any{"topic": topic, "created": created && !c.dryRun, "partitions": c.partitions})
	}

	verb := "created"
	switch {
	case !created:
		verb = "exists already:"
	case c.dryRun:
		verb = "could be created:"
	}

	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s topic %s\n", verb, cli.Printable(topic))
	return err
}

// create makes a topic. It reports false where the topic was there, and that is
// fine.
func (c *topicCreateCommand) create(cmd *cobra.Command, admin *kadm.Client, topic string, configs map[string]*string) (bool, error) {
	send := admin.CreateTopics
	if c.dryRun {
		send = admin.ValidateCreateTopics
	}

	responses, err := send(cmd.Context(), c.partitions, c.replicas, configs, topic)
	if err != nil {
		return false, fmt.Errorf("creating topic %q: %w", topic, err)
	}

	r, err := responses.On(topic, nil)
	if err != nil {
		return false, fmt.Errorf("creating topic %q: %w", topic, err)
	}

	switch {
	case r.Err == nil:
		return true, nil
	case errors.Is(r.Err, kerr.TopicAlreadyExists) && c.ifNotExists:
		return false, nil
	case errors.Is(r.Err, kerr.TopicAlreadyExists):
		return false, exit.WithHint(topicError("creating topic", topic, r.Err), "--if-not-exists makes this no error")
	case r.ErrMessage != "":
		return false, exit.WithCode(fmt.Errorf("creating topic %q: %s: %s", topic, ErrorName(r.Err), r.ErrMessage), exit.CodeOf(topicError("", topic, r.Err)))
	}

	return false, topicError("creating topic", topic, r.Err)
}

func parseConfigs(pairs []string) (map[string]*string, error) {
	configs := make(map[string]*string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, exit.Usagef("--config %q is not NAME=VALUE", pair)
		}
		configs[name] = &value
	}

	return configs, nil
}
