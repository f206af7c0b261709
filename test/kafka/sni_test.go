//go:build kafka

package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// names stands for a domain's name server: whatever ends in it is on loopback. It counts the connections to each name.
type names struct {
	tls *tls.Config

	mu    sync.Mutex
	asked map[string]int
}

func (n *names) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}

	n.mu.Lock()
	n.asked[host]++
	n.mu.Unlock()
	cfg := n.tls.Clone()
	cfg.ServerName = host

	return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
}

func (n *names) connections() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.asked)
}

// behindNames starts a gateway with all nodes on one port, under names.
func behindNames(t *testing.T, file string) (way, *names) {
	t.Helper()
	g := start(t, options{node: "named", upstream: cluster.Bootstrap(),
		listen: fmt.Sprintf(", sni: {bootstrap: kafka.example.org, pattern: node-$(node).kafka.example.org}, tls: {cert_file: %[1]s, key_file: %[1]s}", file)})
	_, port, _ := net.SplitHostPort(g.addr)
	n := &names{tls: must(cluster.ClientTLS(false))(t), asked: map[string]int{}}
	return way{name: "gateway", seeds: []string{"kafka.example.org:" + port}, opts: []kgo.Opt{kgo.Dialer(n.dial)}}, n
}

// nameFile holds a certificate for the names of behindNames.
func nameFile(t *testing.T, path string, serial int64) string {
	t.Helper()
	if err := cluster.Issue(path, serial, "kafka.example.org", "*.kafka.example.org"); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOnePortStandsForAllNodes: clients produce, consume and share a group's work through one port, on which each node has a
// name of its own; everything else is as it is in the cluster itself.
func TestOnePortStandsForAllNodes(t *testing.T) {
	w, names := behindNames(t, nameFile(t, filepath.Join(t.TempDir(), "names.pem"), 20))
	_, port, _ := net.SplitHostPort(w.seeds[0])
	told := map[string]bool{}
	for _, b := range must(kmsg.NewPtrMetadataRequest().RequestWith(patient(t), w.client(t)))(t).Brokers {
		told[fmt.Sprintf("%d %s:%d", b.NodeID, b.Host, b.Port)] = true
	}

	for node := range 3 {
		if want := fmt.Sprintf("%d node-%[1]d.kafka.example.org:%s", node+1, port); !told[want] || len(told) != 3 {
			t.Errorf("nodes are told as %v, not as %s", told, want)
		}
	}

	sameVia(t, w, func(t *testing.T, w way) []string {
		to := topic(t, w, "plain", 3)
		c := w.client(t)
		var got []string
		for p := range int32(3) {
			got = append(got, send(t, c, records(to, p, numbered("named", 10)...)...)...)
		}

		for _, part := range consume(t, w, to) {
			got = append(got, part...)
		}
		return got
	})

	sameVia(t, w, func(t *testing.T, w way) grouped { return rebalance(t, w, protocols["consumer"]) })
	upper := topic(t, w, "upper", 1)
	mustSend(t, w.client(t), records(upper, 0, "module")...)

	if got := consume(t, w, upper)[0]; !slices.Equal(got, []string{"MODULE"}) {
		t.Errorf("through a module: %q", got)
	}
	for node := range 3 {
		if name := fmt.Sprintf("node-%d.kafka.example.org", node+1); names.connections()[name] == 0 {
			t.Errorf("nobody came to %s: %v", name, names.connections())
		}
	}
}

// TestNamesOfNoNodeLeadNowhere: neither ids that the cluster does not have, nor other names, nor none.
func TestNamesOfNoNodeLeadNowhere(t *testing.T) {
	w, names := behindNames(t, nameFile(t, filepath.Join(t.TempDir(), "names.pem"), 21))
	_, port, _ := net.SplitHostPort(w.seeds[0])
	for _, host := range []string{"node-4.kafka.example.org", "node-0.kafka.example.org", "node-01.kafka.example.org", "other.kafka.example.org", "127.0.0.1"} {
		c := way{seeds: []string{net.JoinHostPort(host, port)}, opts: []kgo.Opt{kgo.Dialer(names.dial), kgo.RequestRetries(0)}}
		if err := c.client(t).Ping(patient(t)); err == nil {
			t.Errorf("%s leads to a node", host)
		}
	}

	if err := w.client(t).Ping(patient(t)); err != nil {
		t.Errorf("the names that there are: %v", err)
	}
}
