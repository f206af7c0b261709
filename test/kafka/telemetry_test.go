//go:build kafka

package kafka

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pushes is the file to which nodes write the client ids of those that push metrics: set by TestMain.
var pushes string

const getSubscriptions, pushTelemetry = 71, 72

// wantMetrics makes the cluster ask Java's clients for metrics of theirs, twice a second.
func wantMetrics(t *testing.T) {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType = kmsg.ConfigResourceTypeClientMetrics
	r.ResourceName = "producers"

	for name, value := range map[string]string{"metrics": "org.apache.kafka.producer.", "interval.ms": "500", "match": "client_software_name=apache-kafka-java"} {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name = name
		c.Value = &value
		r.Configs = append(r.Configs, c)
	}

	req.Resources = append(req.Resources, r)
	if err := kerr.ErrorForCode(must(req.RequestWith(patient(t), direct().client(t)))(t).Resources[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

// pushed reports whether a client's metrics reached a node.
func pushed(t *testing.T, clientID string) bool {
	t.Helper()
	text, err := os.ReadFile(pushes)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return slices.Contains(strings.Split(string(text), "\n"), clientID)
}

// TestMetricsOfClientsPassOnlyWhereAllowed: Java's producer pushes its metrics to the cluster when it is asked to (KIP-714); at
// the gateway it is not asked, unless insecure_telemetry is set.
func TestMetricsOfClientsPassOnlyWhereAllowed(t *testing.T) {
	wantMetrics(t)
	open := start(t, options{node: "telling", upstream: cluster.Bootstrap(), listen: ", insecure_telemetry: true"})
	for _, c := range []struct {
		w      way
		passes bool
	}{
		{direct(), true},
		{through(shared), false},
		{way{name: "open", seeds: []string{open.addr}}, true},
	} {
		t.Run(c.w.name, func(t *testing.T) {
			offer := map[int16]bool{}
			for _, api := range offered(t, c.w.seeds[0]) {
				offer[api.ApiKey] = true
			}

			if offer[getSubscriptions] != c.passes || offer[pushTelemetry] != c.passes {
				t.Errorf("offered: GetTelemetrySubscriptions %v, PushTelemetry %v", offer[getSubscriptions], offer[pushTelemetry])
			}
			id := "telemetry-" + c.w.name
			verify(t, c.w, id, topic(t, c.w, "plain", 1))

			if got := pushed(t, id); got != c.passes {
				t.Errorf("metrics of %s reached the cluster: %v", id, got)
			}
			asked(t, c.w.seeds[0], c.passes)
		})
	}
}

// verify runs Kafka's own producer for two seconds, and checks that it is not hindered. It pushes once more when it ends.
func verify(t *testing.T, w way, clientID, topic string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "client.properties")
	if err := os.WriteFile(config, fmt.Appendf(nil, "client.id=%s\nenable.metrics.push=true\n", clientID), 0o600); err != nil {
		t.Fatal(err)
	}

	out, err := cluster.Tool(patient(t), "verifiable-producer", "--bootstrap-server", strings.Join(w.seeds, ","), "--topic", topic,
		"--max-messages", "200", "--throughput", "100", "--command-config", config)
	if err != nil || !strings.Contains(out, `"acked":200`) {
		t.Errorf("%v: %.600s", err, out)
	}
}

// asked sends both requests by hand: answered as by the cluster where they pass; otherwise the connection ends.
func asked(t *testing.T, addr string, passes bool) {
	t.Helper()
	for _, key := range []int16{getSubscriptions, pushTelemetry} {
		got, err := exchange(addr, question(key, 0, "t", [16]byte{}))
		if !passes {
			if err == nil {
				t.Errorf("API key %d is answered", key)
			}
			continue
		}

		want := must(exchange(cluster.Bootstrap()[0], question(key, 0, "t", [16]byte{})))(t)
		if err != nil || len(got) != len(want) {
			t.Errorf("API key %d: %v, %d bytes; the cluster itself answers %d", key, err, len(got), len(want))
		}
	}
}
