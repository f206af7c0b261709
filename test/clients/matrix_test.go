//go:build kafka

package clients

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// What all passes share: set by TestMain, changed by nobody.
var (
	kafka     *kafkatest.Cluster
	guardlock string   // the built program
	clients   []Client // built, too
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var err error
	if kafka, err = kafkatest.Open(ctx, kafkatest.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	defer kafka.Close()
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	defer os.RemoveAll(dir)
	if guardlock, err = build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	if clients, err = All(ctx, packageDir(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	return m.Run()
}

func TestEveryClientSeesKafkaItselfAsExpected(t *testing.T) {
	Matrix(t, kafka, clients, Pass{Bootstrap: strings.Join(kafka.Bootstrap(), ","), Topics: TopicsOf("direct")})
}

func TestOnlyPolicyTellsTheGatewayFromKafka(t *testing.T) {
	topics := TopicsOf("gateway")
	gateway := startGateway(t, guardlock, gatewayConfig{upstream: kafka.Bootstrap(), topics: topics})
	Matrix(t, kafka, clients, Pass{Bootstrap: gateway, Topics: topics, Gateway: true})
	t.Run("tools", func(t *testing.T) { kafkasTools(t, gateway) })
}

// kafkasTools runs Kafka's own programs through the gateway.
func kafkasTools(t *testing.T, gateway string) {
	const topic = "plain-gateway-tools"
	for _, step := range []struct {
		tool, args, says string
	}{
		{"topics", "--create --partitions 2 --replication-factor 3 --topic " + topic, "Created topic plain-gateway-tools"},
		{"topics", "--list", "upper-gateway-java"},
		{"topics", "--describe --topic " + topic, "PartitionCount: 2"},
		{"topics", "--alter --partitions 4 --topic " + topic, ""},
		{"configs", "--alter --entity-type topics --entity-name plain-gateway-tools --add-config retention.ms=777000", "Completed updating"},
		{"configs", "--describe --entity-type topics --entity-name plain-gateway-tools", "retention.ms=777000"},
		{"verifiable-producer", "--max-messages 200 --topic " + topic, `"acked":200`},
		{"verifiable-consumer", "--group-id tools --max-messages 200 --reset-policy earliest --topic " + topic, `"name":"shutdown_complete"`},
		{"get-offsets", "--topic " + topic, "plain-gateway-tools:0:"},
		{"consumer-groups", "--list", "tools"},
		{"consumer-groups", "--describe --group tools", "plain-gateway-tools"},
		{"consumer-groups", "--reset-offsets --to-earliest --execute --group tools --topic " + topic, "plain-gateway-tools"},
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
