package config

import (
	"fmt"
	"strings"
	"testing"
)

// clustersOf writes a configuration with these listeners, each before a real
// cluster unless its name begins with "embedded".
func clustersOf(listeners ...string) string {
	var b strings.Builder
	b.WriteString("clusters:\n")
	for i, l := range listeners {
		broker := realUpstream
		if rest, ok := strings.CutPrefix(l, "embedded "); ok {
			l = rest
			broker = embedded
		}
		fmt.Fprintf(&b, "  - {name: c%d, listen: {%s}, broker: {%s}}\n", i, l, broker)
	}

	return b.String()
}

// The message names the fields of both listeners.
func TestListenersThatClashAreRefused(t *testing.T) {
	for _, c := range []struct {
		text  string
		wants []string
	}{
		{clustersOf(`address: "127.0.0.1:9092"`, `address: "127.0.0.1:9092", first_node_port: 9200`),
			[]string{"clusters[1].listen.address: port 9092 and port 9092 of clusters[0].listen.address overlap;"}},
		{clustersOf(`address: "127.0.0.1:9092"`, `address: "127.0.0.1:9100"`), []string{
			"clusters[1].listen.address: port 9100 and ports 9093-9156 of clusters[0].listen.first_node_port overlap;",
			"clusters[1].listen.first_node_port: ports 9101-9164 and ports 9093-9156 of clusters[0].listen.first_node_port overlap;"}},
		{clustersOf(`address: "0.0.0.0:9092", advertised_host: a, node_ids: 1-3`, `address: "localhost:9095", node_ids: "7"`),
			[]string{"clusters[1].listen.address: port 9095 and ports 9093-9095 of clusters[0].listen.first_node_port overlap;"}},
		{clustersOf(`address: "[::]:9092", advertised_host: a, node_ids: "1"`, `address: "10.0.0.1:9092", first_node_port: 9200`),
			[]string{"clusters[1].listen.address: port 9092 and port 9092 of"}},
		{accessConfig("address: \"127.0.0.1:9092\"\nfirst_node_port: 9090", realUpstream),
			[]string{"listen.first_node_port: ports 9090-9153 and port 9092 of listen.address overlap;"}},
		{clustersOf(`embedded address: "127.0.0.1:9092"`, `embedded address: "127.0.0.1:9093"`),
			[]string{"clusters[1].listen.address: port 9093 and port 9093 of clusters[0].listen.first_node_port overlap;"}},
	} {
		_, err := Parse([]byte(c.text), "")
		if err == nil {
			t.Fatalf("it is taken:\n%s", c.text)
		}

		for _, want := range c.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s\ndoes not lead to %q but to\n%s", c.text, want, err)
			}
		}
	}
}

func TestListenersThatDoNotClashAreTaken(t *testing.T) {
	for _, text := range []string{
		clustersOf(`address: "127.0.0.1:0"`, `address: "127.0.0.1:0"`),
		clustersOf(`address: "127.0.0.1:9092"`, `address: "127.0.0.2:9092"`),
		clustersOf(`address: "127.0.0.1:9092", node_ids: 1-3`, `address: "127.0.0.1:9096", node_ids: 1-3`),
		clustersOf(`embedded address: "127.0.0.1:9092"`, `embedded address: "127.0.0.1:9094"`),
		clustersOf(`address: "0.0.0.0:9092", advertised_host: a`, `address: "[::1]:9092"`),
		clustersOf(`address: "127.0.0.1:9092", tls: {cert_file: c, key_file: k}, sni: {bootstrap: a, pattern: "$(node).b"}`, `address: "127.0.0.1:9093"`),
	} {
		if _, err := Parse([]byte(text), ""); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}
