//go:build kafka

package kafka

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/kafkatest"
)

// alices binds topics to one user, and to a principal of a certificate.
var alices = []string{
	`{name: alices, topics: ["alice-*"], principals: ["User:alice"], data_class: internal}`,
	`{name: certified, topics: ["certified-*"], principals: ["User:CN=client"], data_class: internal}`,
}

func login(mechanism, user, password string) sasl.Mechanism {
	switch mechanism {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	}
	return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
}

var mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// service is the upstream section of a gateway that is admin to the cluster.
func service(t *testing.T, mechanism string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(cluster.Users()["admin"]), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(", sasl: {mechanism: %s, username: admin, password_file: %s}", mechanism, file)
}

// principalOf is who the log says produced the records of a topic.
func principalOf(t *testing.T, g *gateway, topic string) string {
	t.Helper()
	var all []string
	for _, d := range g.decisions(t, query.Filter{Topics: []string{topic}}) {
		all = append(all, d.Principal+" "+d.Outcome)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// mayNotWrite denies a user one topic, in the cluster.
func mayNotWrite(t *testing.T, topic, user string) {
	t.Helper()
	deny := kadm.NewACLs().Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpWrite).Deny("User:" + user).DenyHosts("*")
	must(direct().admin(t).CreateACLs(patient(t), deny))(t)
	w := way{seeds: cluster.Addresses(kafkatest.SASL), opts: []kgo.Opt{kgo.SASL(login("PLAIN", user, cluster.Users()[user]))}}
	eventually(t, "the ACL is in force", func() bool {
		return send(t, w.client(t), records(topic, 0, "may I")...)[0] == kerr.TopicAuthorizationFailed.Message
	})
}

// TestLoginsPassToTheCluster: each mechanism; the cluster's ACLs hold for the user, and policy and log know the name.
func TestLoginsPassToTheCluster(t *testing.T) {
	g := start(t, options{node: "passing", upstream: cluster.Addresses(kafkatest.SASL), listen: ", sasl: {mode: passthrough}",
		broker: service(t, "SCRAM-SHA-256"), bindings: alices})
	for _, mechanism := range mechanisms {
		t.Run(mechanism, func(t *testing.T) {
			as := func(seeds []string, user, password string) way {
				return way{name: "gateway", seeds: seeds, opts: []kgo.Opt{kgo.SASL(login(mechanism, user, password))}}
			}
			alice := as([]string{g.addr}, "alice", "alice-secret")
			admin := as([]string{g.addr}, "admin", "admin-secret")
			own := topic(t, alice, "alice", 1)
			denied := topic(t, alice, "alice", 1)
			mayNotWrite(t, denied, "alice")

			for _, c := range []struct {
				who   string
				w     way
				topic string
				want  string
			}{
				{"alice to her topic", alice, own, "ok"},
				{"alice to what the cluster denies her", alice, denied, kerr.TopicAuthorizationFailed.Message},
				{"admin to alice's topic", admin, own, kerr.PolicyViolation.Message},
			} {
				if got := send(t, c.w.client(t), records(c.topic, 0, "v")...)[0]; got != c.want {
					t.Errorf("%s: %s", c.who, got)
				}
			}

			for _, seeds := range [][]string{cluster.Addresses(kafkatest.SASL), {g.addr}} {
				wrong := as(seeds, "alice", "guessed")
				if err := wrong.client(t).Ping(patient(t)); outcome(err) != kerr.SaslAuthenticationFailed.Message {
					t.Errorf("a wrong password at %s: %v", seeds[0], err)
				}
			}

			if got := principalOf(t, g, own); got != "User:admin policy_denied, User:alice passed" {
				t.Errorf("the log says %q", got)
			}
			if got := values(storedIn(t, own)); len(got) != 1 {
				t.Errorf("stored: %q", got)
			}
		})
	}

	if err := through(g).client(t).Ping(patient(t)); err == nil {
		t.Error("nobody is let in")
	}
}

// TestLoginsEndAtTheGateway: clients prove who they are to the gateway, which is admin to the cluster, by TLS on both sides.
func TestLoginsEndAtTheGateway(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users.yaml")
	cmd := exec.Command(filepath.Join(built.dir, "guardlock"), "user", "add", "alice", "--file", users)
	cmd.Env = append(os.Environ(), "GUARDLOCK_PASSWORD=gateway-secret")

	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("adding a user: %v: %s", err, out)
	}
	g := start(t, options{node: "ending", upstream: cluster.Addresses(kafkatest.SASL), broker: service(t, "SCRAM-SHA-512"), bindings: alices,
		listen: fmt.Sprintf(", tls: {cert_file: %[1]s, key_file: %[1]s}, sasl: {mode: terminate, credentials_file: %[2]s, mechanisms: [PLAIN, SCRAM-SHA-256, SCRAM-SHA-512]}",
			cluster.NodeFile(), users)})
	for _, mechanism := range mechanisms {
		t.Run(mechanism, func(t *testing.T) {
			w := through(g)
			w.opts = []kgo.Opt{kgo.DialTLSConfig(must(cluster.ClientTLS(false))(t)), kgo.SASL(login(mechanism, "alice", "gateway-secret"))}
			own := topic(t, w, "alice", 1)
			if got := send(t, w.client(t), records(own, 0, "v")...)[0]; got != "ok" {
				t.Errorf("alice: %s", got)
			}
			if got := consume(t, w, own)[0]; !slices.Equal(got, []string{"v"}) {
				t.Errorf("alice reads %q", got)
			}
			if got := principalOf(t, g, own); got != "User:alice passed" {
				t.Errorf("the log says %q", got)
			}

			w.opts[1] = kgo.SASL(login(mechanism, "alice", cluster.Users()["alice"])) // the cluster's password, not the gateway's
			if err := w.client(t).Ping(patient(t)); outcome(err) != kerr.SaslAuthenticationFailed.Message {
				t.Errorf("the cluster's password: %v", err)
			}
		})
	}
}

// TestCertificatesNameClients: mTLS to the gateway, and from it to the cluster.
func TestCertificatesNameClients(t *testing.T) {
	g := start(t, options{node: "certified", upstream: cluster.Addresses(kafkatest.TLS), bindings: alices,
		listen: fmt.Sprintf(", tls: {cert_file: %[1]s, key_file: %[1]s, client_ca_file: %[2]s}", cluster.NodeFile(), cluster.CAFile()),
		broker: fmt.Sprintf(", tls: {ca_file: %s, cert_file: %[2]s, key_file: %[2]s}", cluster.CAFile(), cluster.ClientFile())})
	w := through(g)
	w.opts = []kgo.Opt{kgo.DialTLSConfig(must(cluster.ClientTLS(true))(t))}
	own := topic(t, w, "certified", 2)
	others := topic(t, w, "alice", 1)

	if got := send(t, w.client(t), records(own, 0, numbered("certified", 20)...)...)[0]; got != "ok" {
		t.Errorf("to the client's topic: %s", got)
	}
	if got := send(t, w.client(t), records(others, 0, "v")...)[0]; got != kerr.PolicyViolation.Message {
		t.Errorf("to alice's: %s", got)
	}
	if got := consume(t, w, own)[0]; !slices.Equal(got, numbered("certified", 20)) {
		t.Errorf("read %q", got)
	}
	if got := principalOf(t, g, own); got != "User:CN=client passed" {
		t.Errorf("the log says %q", got)
	}

	w.opts = []kgo.Opt{kgo.DialTLSConfig(must(cluster.ClientTLS(false))(t))}
	if err := w.client(t).Ping(patient(t)); err == nil {
		t.Error("a client without a certificate is let in")
	}
}
