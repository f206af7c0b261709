//go:build kafka

package kafka

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// replace puts content into a file at once.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// shown is the serial number of the certificate that new connections are shown, -1 without one.
func shown(n *names, addr string) int64 {
	cfg := n.tls.Clone()
	cfg.ServerName = "kafka.example.org"
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return -1
	}

	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestClientsStayWhenCertificatesChange: those that are connected go on over the connections that they have, new ones are
// shown the new certificate, and a file that does not load changes nothing.
func TestClientsStayWhenCertificatesChange(t *testing.T) {
	dir := t.TempDir()
	file := nameFile(t, filepath.Join(dir, "names.pem"), 30)
	w, names := behindNames(t, file)
	addr := "127.0.0.1" + w.seeds[0][len("kafka.example.org"):]
	if got := shown(names, addr); got != 30 {
		t.Fatalf("shown is certificate %d", got)
	}

	idempotent := startLoad(t, w, topic(t, w, "plain", 3), 3)
	before := names.connections()
	renewed := nameFile(t, filepath.Join(dir, "renewed.pem"), 31)
	replace(t, file, must(os.ReadFile(renewed))(t))
	eventually(t, "the new certificate is shown", func() bool { return shown(names, addr) == 31 })
	idempotent.advance(100)
	replace(t, file, []byte("no certificate"))
	until := time.Now().Add(2 * time.Second) // files are looked at once a second
	eventually(t, "the file was looked at", func() bool { return shown(names, addr) == 31 && time.Now().After(until) })
	idempotent.advance(100)

	if got := names.connections(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("clients connected again: %v, before %v", got, before)
	}
	idempotent.finish(true)
}

// TestTheClustersAuthorityChangesWithoutARestart: the nodes' certificates are believed by what the file holds now.
func TestTheClustersAuthorityChangesWithoutARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	brokers := must(os.ReadFile(cluster.CAFile()))(t)
	other := must(os.ReadFile(otherAuthority(t)))(t)
	replace(t, file, brokers) // a gateway is ready once its cluster answers
	g := start(t, options{node: "trusting", upstream: cluster.Addresses(kafkatest.TLS), broker: fmt.Sprintf(", tls: {ca_file: %s}", file)})
	w := through(g)
	w.opts = []kgo.Opt{kgo.RequestRetries(0), kgo.RetryTimeout(time.Second)}

	ping := func() bool { return w.client(t).Ping(patient(t)) == nil }
	if !ping() {
		t.Error("the cluster is not believed")
	}

	replace(t, file, other)
	eventually(t, "a cluster of another authority is not believed", func() bool { return !ping() })
	replace(t, file, brokers)
	eventually(t, "the cluster is believed", ping)
	to := topic(t, w, "plain", 3)
	load := startLoad(t, through(g), to, 3)
	replace(t, file, append(other, brokers...)) // as while certificates are exchanged
	load.advance(100)
	load.finish(true)
	replace(t, file, other)
	eventually(t, "the cluster is believed no more", func() bool { return !ping() })
}

// otherAuthority is a certificate that signed nothing here.
func otherAuthority(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.pem")
	if err := cluster.Issue(path, 40, "other.example.org"); err != nil {
		t.Fatal(err)
	}
	return path
}
