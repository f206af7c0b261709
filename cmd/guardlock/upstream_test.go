package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// strictKafka is a cluster that wants a certificate of an authority and the
// gateway's password, both of which can change.
type strictKafka struct {
	t       *testing.T
	cluster *kfake.Cluster
	tls     atomic.Pointer[tls.Config]
}

func newStrictKafka(t *testing.T, a *certAuthority) *strictKafka {
	t.Helper()
	k := &strictKafka{t: t}
	k.trust(a)
	var err error
	k.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "gateway", "first"),
		kfake.TLS(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.tls.Load(), nil }}))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(k.cluster.Close)
	return k
}

// trust makes the brokers show a certificate of a, and accept no other's.
func (k *strictKafka) trust(a *certAuthority) {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	k.tls.Store(&tls.Config{Certificates: []tls.Certificate{a.issue("kafka", 2)}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
}

// setPassword makes another the gateway's, as the cluster's administrator.
func (k *strictKafka) setPassword(a *certAuthority, old, password string) {
	k.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)

	c, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.ListenAddrs()...), kgo.SASL(scram.Auth{User: "gateway", Pass: old}.AsSha256Mechanism()),
		kgo.DialTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{a.issue("admin", 3)}}))
	if err != nil {
		k.t.Fatal(err)
	}

	defer c.Close()
	done, err := kadm.NewClient(c).AlterUserSCRAMs(k.t.Context(), nil,
		[]kadm.UpsertSCRAM{{User: "gateway", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password}})
	if err != nil || done["gateway"].Err != nil {
		k.t.Fatalf("changing the password: %v, %+v", err, done)
	}
}

// reaches reports whether a new client gets an answer of the cluster behind the
// gateway, over a new connection of the gateway's.
func reaches(t *testing.T, addr string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()

	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.SASL(plain.Auth{User: "alice", Pass: "secret"}.AsMechanism()),
		kgo.RequestRetries(0), kgo.RetryTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}

	defer c.Close()
	_, err = kadm.NewClient(c).ListTopics(ctx)
	return err == nil
}

func writeFiles(t *testing.T, dir string, mode os.FileMode, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := disk.Replace(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// TestServeFollowsTheFilesForTheCluster: authority, certificate and password of
// the gateway change without a restart, and broken files change nothing.
func TestServeFollowsTheFilesForTheCluster(t *testing.T) {
	dir := t.TempDir()
	first := newCertAuthority(t)
	second := newCertAuthority(t)
	kafka := newStrictKafka(t, first)
	show := func(a *certAuthority) {
		pair := a.issue("gateway", 4)
		a.write(dir, "client", &pair)
		a.write(dir, "ca", nil)
	}

	show(first)
	t.Setenv(cli.PasswordVariable, "secret")
	userCommand(t, "add", "alice", "--file", filepath.Join(dir, "users.yaml"), "--iterations", "4096")
	writeFiles(t, dir, 0o600, map[string]string{"password": "first\n", "guardlock.yaml": fmt.Sprintf(`
listen: {address: "127.0.0.1:0", sasl: {mode: terminate, credentials_file: users.yaml, mechanisms: [PLAIN], insecure_plaintext: true}}
broker:
  upstream:
    bootstrap: [%q]
    tls: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}
    sasl: {mechanism: SCRAM-SHA-256, username: gateway, password_file: password}
audit: {insecure_no_sync: true}
`, kafka.cluster.ListenAddrs()[0])})

	s := serveConfig(t, filepath.Join(dir, "guardlock.yaml"), 1)
	addr := s.addr["main"]
	if !reaches(t, addr) {
		t.Fatalf("the cluster is not reached:\n%s", s.log)
	}

	kafka.trust(second)
	if reaches(t, addr) {
		t.Error("a cluster of an authority that is not in the file is reached")
	}

	show(second)
	eventually(t, "the new authority and certificate are used", func() bool { return reaches(t, addr) })

	kafka.setPassword(second, "first", "second")
	if reaches(t, addr) {
		t.Error("the cluster takes the old password")
	}

	writeFiles(t, dir, 0o600, map[string]string{"password": "second"})
	eventually(t, "the new password is used", func() bool { return reaches(t, addr) })

	writeFiles(t, dir, 0o600, map[string]string{"ca.pem": "broken"})
	writeFiles(t, dir, 0o644, map[string]string{"password": "shown to all"})
	for _, told := range []string{"ca.pem", "password may be read by others"} {
		eventually(t, "the log tells of "+told, func() bool { return strings.Contains(s.log.String(), told) })
	}

	if !reaches(t, addr) {
		t.Errorf("broken files are in force:\n%s", s.log)
	}
	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}
}
