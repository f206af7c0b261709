//go:build kafka

package clients

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

func TestEveryClientSeesKafkaItselfAsExpected(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Config{})
	CreateTopics(t, kafka.Bootstrap(), DefaultTopics())
	Matrix(t, strings.Join(kafka.Bootstrap(), ","), DefaultTopics(), false)
}

func TestOnlyPolicyTellsTheGatewayFromKafka(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Config{})
	CreateTopics(t, kafka.Bootstrap(), DefaultTopics())
	gateway := StartGateway(t, kafka.Bootstrap(), DefaultTopics())
	Matrix(t, gateway, DefaultTopics(), true)
	t.Run("tools", func(t *testing.T) { kafkasTools(t, kafka, gateway) })
}

// kafkasTools runs Kafka's own programs through the gateway.
func kafkasTools(t *testing.T, kafka *kafkatest.Cluster, gateway string) {
	const topic = "plain-tools"
	for _, step := range []struct {
		tool, args, says string
	}{
		{"topics", "--create --partitions 2 --replication-factor 3 --topic " + topic, "Created topic plain-tools"},
		{"topics", "--list", "upper-java"},
		{"topics", "--describe --topic " + topic, "PartitionCount: 2"},
		{"topics", "--alter --partitions 4 --topic " + topic, ""},
		{"configs", "--alter --entity-type topics --entity-name plain-tools --add-config retention.ms=777000", "Completed updating"},
		{"configs", "--describe --entity-type topics --entity-name plain-tools", "retention.ms=777000"},
		{"verifiable-producer", "--max-messages 200 --topic " + topic, `"acked":200`},
		{"verifiable-consumer", "--group-id tools --max-messages 200 --reset-policy earliest --topic " + topic, `"name":"shutdown_complete"`},
		{"get-offsets", "--topic " + topic, "plain-tools:0:"},
		{"consumer-groups", "--list", "tools"},
		{"consumer-groups", "--describe --group tools", "plain-tools"},
		{"consumer-groups", "--reset-offsets --to-earliest --execute --group tools --topic " + topic, "plain-tools"},
		{"consumer-groups", "--delete --group tools", "was successful"},
		{"topics", "--delete --topic " + topic, ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := kafka.Tool(ctx, step.tool, append([]string{"--bootstrap-server", gateway}, strings.Fields(step.args)...)...)
		cancel()
		if err != nil || !strings.Contains(out, step.says) {
			t.Errorf("kafka-%s %s: %v: %.600s", step.tool, step.args, err, out)
		}
	}
}
