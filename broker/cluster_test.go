package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestParseHostPortRoundTrips(t *testing.T) {
	for in, want := range map[string]HostPort{
		"kafka-1.example:9092": {"kafka-1.example", 9092},
		"[::1]:65535":          {"::1", 65535},
	} {
		got, err := ParseHostPort(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "host", ":9092", "host:0", "host:65536", "host:-1", "host:x", "::1:9092", "host:+1"} {
		if got, err := ParseHostPort(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}

func FuzzParseHostPort(f *testing.F) {
	f.Add("[::1]:9092")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseHostPort(s)
		if err != nil {
			return
		}
		if b, err := ParseHostPort(a.String()); err != nil || b != a {
			t.Fatalf("%v became %v, %v", a, b, err)
		}
	})
}

// listen accepts one connection and sends it.
func listen(t *testing.T, wrap func(net.Listener) net.Listener) (HostPort, <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	l = wrap(l)
	t.Cleanup(func() { l.Close() })
	conns := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			conns <- c
		}
	}()

	addr, err := ParseHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	return addr, conns
}

func plain(l net.Listener) net.Listener { return l }

func TestClusterDialsTCP(t *testing.T) {
	addr, conns := listen(t, plain)
	c, err := NewCluster(ClusterConfig{Bootstrap: []HostPort{addr}})
	if err != nil {
		t.Fatal(err)
	}

	conn, err := c.DialNode(testContext(t), c.Bootstrap()[0])
	if err != nil {
		t.Fatal(err)
	}

	defer conn.Close()
	(<-conns).Close()
}

func TestClusterWithoutAddressIsRefused(t *testing.T) {
	if _, err := NewCluster(ClusterConfig{}); err == nil {
		t.Fatal("accepted")
	}
}

// certificate makes a key pair for host, and the pool that trusts it.
func certificate(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(host)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}

	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}

	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestClusterVerifiesTheBrokersName(t *testing.T) {
	for host, ok := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false} {
		cert, pool := certificate(t, host)
		addr, conns := listen(t, func(l net.Listener) net.Listener {
			return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		})

		go func() { (<-conns).(*tls.Conn).HandshakeContext(context.Background()) }()
		c, err := NewCluster(ClusterConfig{Bootstrap: []HostPort{addr}, TLS: func() *tls.Config { return &tls.Config{RootCAs: pool} }})
		if err != nil {
			t.Fatal(err)
		}

		conn, err := c.DialNode(testContext(t), addr)
		if (err == nil) != ok {
			t.Errorf("broker with a certificate of %s: %v", host, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestSilentBrokerTimesOutInHandshake(t *testing.T) {
	addr, _ := listen(t, plain)
	c, err := NewCluster(ClusterConfig{Bootstrap: []HostPort{addr}, TLS: func() *tls.Config { return &tls.Config{} }, DialTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DialNode(testContext(t), addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("dialing a silent broker: %v", err)
	}
}
