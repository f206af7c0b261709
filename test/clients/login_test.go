//go:build kafka

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// alicesOnly binds topics to alice: where the gateway does not know the client for her, it takes nothing.
const alicesOnly = `, principals: ["User:alice"]`

// TestEveryClientLogsIn: to Kafka itself; to Kafka through the gateway, which learns who it is along the way; and to the
// gateway, with a password that Kafka does not know.
func TestEveryClientLogsIn(t *testing.T) {
	tls := fmt.Sprintf(", tls: {cert_file: %[1]s, key_file: %[1]s}", kafka.NodeFile())
	kafkas := Security{User: "alice", Password: kafka.Users()["alice"], CAFile: kafka.CAFile()}
	gateways := Security{User: "alice", Password: "known-to-the-gateway-alone", CAFile: kafka.CAFile()}
	for _, c := range []struct {
		name, listen, protocol, mechanism string
		as                                Security
	}{
		{"kafka", "", "SASL_PLAINTEXT", "SCRAM-SHA-512", kafkas},
		{"passed", tls + ", sasl: {mode: passthrough}", "SASL_SSL", "SCRAM-SHA-512", kafkas},
		{"passed", ", sasl: {mode: passthrough}", "SASL_PLAINTEXT", "PLAIN", kafkas},
		{"ended", tls + ", sasl: {mode: terminate, credentials_file: users.yaml, mechanisms: [SCRAM-SHA-256]}", "SASL_SSL", "SCRAM-SHA-256", gateways},
		{"ended", tls + ", sasl: {mode: terminate, credentials_file: users.yaml, mechanisms: [PLAIN]}", "SASL_SSL", "PLAIN", gateways},
	} {
		t.Run(c.name+" "+c.mechanism, func(t *testing.T) {
			t.Parallel()
			c.as.Protocol = c.protocol
			c.as.Mechanism = c.mechanism

			p := Pass{Bootstrap: strings.Join(kafka.Addresses(kafkatest.SASL), ","), Topics: TopicsOf(c.name + "-" + c.mechanism),
				Gateway: c.listen != "", Cases: FewCases(), Security: &c.as}
			if p.Gateway {
				p.Bootstrap = startGateway(t, guardlock, gatewayConfig{upstream: kafka.Addresses(kafkatest.SASL), topics: p.Topics, listen: c.listen,
					broker: service(t), who: alicesOnly, user: &gateways})
			}

			Matrix(t, kafka, clients, p)
		})
	}
}

// service is the upstream section of a gateway that is admin to the cluster.
func service(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(kafka.Users()["admin"]), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(", sasl: {mechanism: SCRAM-SHA-512, username: admin, password_file: %s}", file)
}
