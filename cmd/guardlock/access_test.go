package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// pinged reports whether a stock client gets an answer.
func pinged(t *testing.T, addr string, opts ...kgo.Opt) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.RetryTimeout(time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}

	defer c.Close()
	return c.Ping(ctx) == nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(until) {
			t.Fatalf("never: %s", what)
		}
	}
}

func userCommand(t *testing.T, args ...string) {
	t.Helper()
	if code := run(t.Context(), append([]string{"user"}, args...), nil, io.Discard, os.Stderr); code != exit.OK {
		t.Fatalf("user %v: exit code %d", args, code)
	}
}

func TestServeFollowsTheFileOfUsers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "guardlock.yaml")
	users := filepath.Join(dir, "users.yaml")
	t.Setenv(cli.PasswordVariable, "secret")
	userCommand(t, "add", "alice", "--file", users, "--iterations", "4096")

	config := "listen: {address: \"127.0.0.1:0\", sasl: {mode: terminate, credentials_file: users.yaml}}\n" +
		"broker: {embedded: {insecure_no_sync: true}}\naudit: {insecure_no_sync: true}\n"
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	s := serveConfig(t, path, 1)
	as := func(name, password string) kgo.Opt {
		return kgo.SASL(scram.Auth{User: name, Pass: password}.AsSha512Mechanism())
	}
	if !pinged(t, s.addr["main"], as("alice", "secret")) || pinged(t, s.addr["main"], as("alice", "guess")) || pinged(t, s.addr["main"]) {
		t.Error("not exactly alice was let in")
	}

	userCommand(t, "add", "bob", "--file", users, "--iterations", "4096")
	eventually(t, "bob gets in", func() bool { return pinged(t, s.addr["main"], as("bob", "secret")) })
	userCommand(t, "remove", "alice", "--file", users)
	eventually(t, "alice is kept out", func() bool { return !pinged(t, s.addr["main"], as("alice", "secret")) })

	if err := os.WriteFile(users, []byte("users: [broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 { // whenever the broken file is looked at
		if !pinged(t, s.addr["main"], as("bob", "secret")) || pinged(t, s.addr["main"], as("alice", "secret")) {
			t.Fatal("a broken file changed who gets in")
		}
	}

	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}
}

// certAuthority issues certificates into files.
type certAuthority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertAuthority(t *testing.T) *certAuthority {
	t.Helper()
	a := &certAuthority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.make(template, nil)
	return a
}

func (a *certAuthority) make(template, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}

	signer := a.key
	if parent == nil {
		parent = template
		signer = key
	}

	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}

	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}

	return cert, key
}

func (a *certAuthority) issue(name string, serial int64) tls.Certificate {
	a.t.Helper()
	cert, key := a.make(&x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a.cert)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *certAuthority) write(dir, name string, c *tls.Certificate) {
	a.t.Helper()
	files := map[string][]byte{}
	if c == nil {
		files[name+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	} else {
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			a.t.Fatal(err)
		}
		files[name+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
		files[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}

	for file, content := range files {
		if err := disk.Replace(filepath.Join(dir, file), content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// TestServeFollowsCertificateFiles: both the listener's own certificate and the
// authority of its clients change without a restart; open connections stay.
func TestServeFollowsCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	own := newCertAuthority(t)
	clients := newCertAuthority(t)
	others := newCertAuthority(t)
	first := own.issue("gateway", 7)
	own.write(dir, "gateway", &first)
	clients.write(dir, "clients", nil)
	path := filepath.Join(dir, "guardlock.yaml")
	config := "listen: {address: \"127.0.0.1:0\", tls: {cert_file: gateway.pem, key_file: gateway.key, client_ca_file: clients.pem}}\n" +
		"broker: {embedded: {insecure_no_sync: true}}\naudit: {insecure_no_sync: true}\n"
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	s := serveConfig(t, path, 1)
	roots := x509.NewCertPool()
	roots.AddCert(own.cert)

	with := func(a *certAuthority) kgo.Opt {
		return kgo.DialTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{a.issue("client", 1)}})
	}
	if !pinged(t, s.addr["main"], with(clients)) || pinged(t, s.addr["main"], with(others)) {
		t.Fatal("not exactly the authority's clients were let in")
	}

	others.write(dir, "clients", nil)
	eventually(t, "the new authority counts", func() bool { return pinged(t, s.addr["main"], with(others)) })
	if pinged(t, s.addr["main"], with(clients)) {
		t.Error("the old authority still counts")
	}

	second := own.issue("gateway", 8)
	own.write(dir, "gateway", &second)
	eventually(t, "the new certificate is shown", func() bool {
		c, err := tls.Dial("tcp", s.addr["main"], &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{others.issue("client", 1)}})
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == 8
	})

	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}
}
