//go:build kafka

package kafkatest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.DefaultProduceTopic("t"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestCluster(t *testing.T) {
	began := time.Now()
	c := Start(t, Config{})
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)

	if _, err := kadm.NewClient(client(t, kgo.SeedBrokers(c.Bootstrap()...))).CreateTopic(ctx, 3, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}

	t.Run("every listener takes records", func(t *testing.T) {
		trust, err := c.ClientTLS(true)
		if err != nil {
			t.Fatal(err)
		}

		for name, opts := range map[string][]kgo.Opt{
			"plain": {kgo.SeedBrokers(c.Bootstrap()...)},
			"sasl plain": {kgo.SeedBrokers(c.Addresses(SASL)...),
				kgo.SASL(plain.Auth{User: "alice", Pass: c.Users()["alice"]}.AsMechanism())},
			"scram 256": {kgo.SeedBrokers(c.Addresses(SASL)...),
				kgo.SASL(scram.Auth{User: "alice", Pass: c.Users()["alice"]}.AsSha256Mechanism())},
			"scram 512": {kgo.SeedBrokers(c.Addresses(SASL)...),
				kgo.SASL(scram.Auth{User: "admin", Pass: c.Users()["admin"]}.AsSha512Mechanism())},
			"tls": {kgo.SeedBrokers(c.Addresses(TLS)...), kgo.DialTLSConfig(trust)},
		} {
			if err := client(t, opts...).ProduceSync(ctx, kgo.StringRecord(name)).FirstErr(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})

	t.Run("a wrong password is refused", func(t *testing.T) {
		cl := client(t, kgo.SeedBrokers(c.Addresses(SASL)...), kgo.SASL(plain.Auth{User: "alice", Pass: "x"}.AsMechanism()))
		if err := cl.Ping(ctx); err == nil {
			t.Error("accepted")
		}
	})

	t.Run("a killed node comes back", func(t *testing.T) {
		for _, end := range []func(int){c.KillNode, c.StopNode} {
			end(2)
			if err := client(t, kgo.SeedBrokers(c.Bootstrap()...)).ProduceSync(ctx, kgo.StringRecord("v")).FirstErr(); err != nil {
				t.Error(err)
			}
			if err := c.StartNode(ctx, 2); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("Kafka's tools run", func(t *testing.T) {
		out, err := c.Tool(ctx, "topics", "--bootstrap-server", c.Bootstrap()[0], "--describe", "--topic", "t")
		if err != nil || !strings.Contains(out, "PartitionCount: 3") {
			t.Errorf("%q, %v", out, err)
		}
	})
}
