//go:build kafka

package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/internal/kafkatest"
)

// realKafka is one real node with users alice and admin, whose sessions last
// four seconds, and the topic "t".
func realKafka(t *testing.T) (*kafkatest.Cluster, gateway.Upstream) {
	t.Helper()
	k := kafkatest.Start(t, kafkatest.Config{Nodes: 1, Users: map[string]string{"alice": "a", "admin": "b"},
		Settings: map[string]string{"connections.max.reauth.ms": "4000"}})
	c := must(kgo.NewClient(kgo.SeedBrokers(k.Bootstrap()...)))
	defer c.Close()

	r, err := kadm.NewClient(c).CreateTopics(t.Context(), 1, 1, nil, "t")
	if err := errors.Join(err, r.Error()); err != nil {
		t.Fatal(err)
	}

	var addrs []broker.HostPort
	for _, a := range k.Addresses(kafkatest.SASL) {
		addrs = append(addrs, must(broker.ParseHostPort(a)))
	}

	return k, must(broker.NewCluster(broker.ClusterConfig{Bootstrap: addrs}))
}

// javaClient lists topics with Kafka's own tool.
func javaClient(t *testing.T, k *kafkatest.Cluster, addr, mechanism, user, password string) (string, error) {
	t.Helper()
	module := "scram.ScramLoginModule"
	if mechanism == auth.Plain {
		module = "plain.PlainLoginModule"
	}

	text := fmt.Sprintf("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=%s\nsasl.jaas.config=org.apache.kafka.common.security.%s required username=%q password=%q;\n"+
		"request.timeout.ms=10000\ndefault.api.timeout.ms=30000\n", mechanism, module, user, password)
	file := filepath.Join(t.TempDir(), "client.properties")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*testTimeout)
	defer cancel()
	return k.Tool(ctx, "topics", "--bootstrap-server", addr, "--command-config", file, "--list")
}

func (w *world) javaClients(k *kafkatest.Cluster) {
	w.t.Helper()
	for _, m := range []string{auth.Plain, auth.ScramSHA256, auth.ScramSHA512} {
		if out, err := javaClient(w.t, k, w.addr, m, "alice", "a"); err != nil || strings.TrimSpace(out) != "t" {
			w.t.Errorf("the Java client with %s: %q %v", m, out, err)
		}
	}

	if _, err := javaClient(w.t, k, w.addr, auth.ScramSHA512, "alice", "wrong"); err == nil || !strings.Contains(err.Error(), "SaslAuthenticationException") {
		w.t.Errorf("the Java client is not told that it failed to authenticate: %v", err)
	}
}

func TestRealClusterAuthenticatesThroughTheGateway(t *testing.T) {
	k, up := realKafka(t)
	w := newWorld(t, setup{upstream: up, service: []kgo.Opt{kgo.SASL(mechanisms("admin", "b")[auth.ScramSHA512])},
		cluster: func(c *gateway.ClusterConfig) { c.Access.Require = true }})
	for name, m := range mechanisms("alice", "a") {
		t.Log(name)
		w.allowed(kgo.SASL(m))
	}

	w.refused(kgo.SASL(mechanisms("admin", "b")[auth.ScramSHA256]))
	w.unreachable(kgo.SASL(mechanisms("alice", "wrong")[auth.ScramSHA256]))
	w.javaClients(k)

	p := w.peer()
	if r := p.login("alice", "a", 0); r.SessionLifetimeMillis != 4000 {
		t.Errorf("the session lasts %d ms", r.SessionLifetimeMillis)
	}

	p.login("alice", "a", 0) // renewed
	p.ask(metadata())
	p.closed() // four seconds later

	p = w.peer()
	if code := bareHello(p, auth.Plain); code != 0 {
		t.Fatalf("SaslHandshake v0 is answered with %d", code)
	}

	p.bare("\x00alice\x00a")
	if frame, err := p.frame(); err != nil || len(frame) != 0 {
		t.Fatalf("a bare token is answered with %d bytes, %v", len(frame), err)
	}

	p.ask(metadata())
	if got := w.principals(); len(got) != 2 || !got["User:alice"] || !got["User:admin"] {
		t.Errorf("decisions name %v", got)
	}
}

func TestRealClusterKnowsTerminatedClientsAsTheGateway(t *testing.T) {
	k, up := realKafka(t)
	u := newUsers(t, map[string]string{"alice": "a", "bob": "not known to the cluster"})
	server := must(auth.NewServer(auth.Config{Mechanisms: []string{auth.Plain, auth.ScramSHA256, auth.ScramSHA512}, Credentials: u.now.Load}))
	service := mechanisms("admin", "b")[auth.ScramSHA256]

	w := newWorld(t, setup{upstream: up, service: []kgo.Opt{kgo.SASL(service)}, cluster: func(c *gateway.ClusterConfig) {
		c.Access = gateway.AccessConfig{Terminate: true, Server: server, Service: service}
	}})
	for name, m := range mechanisms("alice", "a") {
		t.Log(name)
		w.allowed(kgo.SASL(m))
	}

	w.refused(kgo.SASL(mechanisms("bob", "not known to the cluster")[auth.ScramSHA512]))
	w.unreachable(kgo.SASL(mechanisms("admin", "b")[auth.ScramSHA512])) // the gateway's own
	w.javaClients(k)
	p := w.peer()
	p.login("alice", "a", 0)
	p.closed() // before the gateway's own session ends
}
