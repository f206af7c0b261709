package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
)

func TestCertificatesNameTheirHolders(t *testing.T) {
	t.Parallel()
	ca := newAuthority()
	w := newWorld(t, setup{cluster: func(c *gateway.ClusterConfig) { c.TLS = ca.server(true) }})
	with := func(cert ...tls.Certificate) kgo.Opt {
		return kgo.DialTLSConfig(&tls.Config{RootCAs: ca.pool(), Certificates: cert})
	}

	w.allowed(with(ca.issue(pkix.Name{CommonName: "alice", Organization: []string{"Example"}})))
	w.refused(with(ca.issue(pkix.Name{CommonName: "bob"})))
	w.unreachable(with())
	w.unreachable(with(newAuthority().issue(pkix.Name{CommonName: "alice"})))

	if got := w.principals(); len(got) != 2 || !got["User:CN=alice,O=Example"] || !got["User:CN=bob"] {
		t.Errorf("decisions name %v", got)
	}
}

func TestCertificateCanBeTheWholeAuthentication(t *testing.T) {
	t.Parallel()
	ca := newAuthority()
	service := mechanisms("guardlock", "service")[auth.ScramSHA256]
	w := newWorld(t, setup{
		kafka:   []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(auth.ScramSHA256, "guardlock", "service")},
		service: []kgo.Opt{kgo.SASL(service)},
		cluster: func(c *gateway.ClusterConfig) {
			c.TLS = ca.server(true)
			c.Access = gateway.AccessConfig{Terminate: true, Service: service, Certificates: must(auth.ParseMapping([]string{"RULE:CN=(.*?)(,.*)?/$1/L"}))}
		},
	})

	with := func(name string, more ...kgo.Opt) []kgo.Opt {
		return append(more, kgo.DialTLSConfig(&tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(pkix.Name{CommonName: name})}}))
	}
	w.allowed(with("Alice")...)
	w.refused(with("bob")...)
	w.unreachable(with("alice", kgo.SASL(mechanisms("guardlock", "service")[auth.ScramSHA256]))...)
}

func TestCertificateWithoutANameIsRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority()
	w := newWorld(t, setup{cluster: func(c *gateway.ClusterConfig) {
		c.TLS = ca.server(true)
		c.Access.Certificates = must(auth.ParseMapping([]string{"RULE:CN=alice/alice/"}))
	}})

	with := func(name string) kgo.Opt {
		return kgo.DialTLSConfig(&tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(pkix.Name{CommonName: name})}})
	}
	w.allowed(with("alice"))
	w.unreachable(with("mallory"))
}

func TestPasswordsOverTLSGoBeforeCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority()
	u := newUsers(t, map[string]string{"alice": "a"})
	server := must(auth.NewServer(auth.Config{Mechanisms: []string{auth.ScramSHA512}, Credentials: u.now.Load}))
	w := newWorld(t, setup{cluster: func(c *gateway.ClusterConfig) {
		c.TLS = ca.server(true)
		c.Access = gateway.AccessConfig{Terminate: true, Server: server}
	}})

	cert := kgo.DialTLSConfig(&tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(pkix.Name{CommonName: "host-7"})}})
	w.allowed(cert, kgo.SASL(mechanisms("alice", "a")[auth.ScramSHA512]))
	w.unreachable(cert)
}

// byName is a world whose listener tells brokers apart by server name, and a
// dialer that finds those names on this machine.
func byName(t *testing.T, brokers int) (*world, *authority, kgo.Opt) {
	t.Helper()
	ca := newAuthority()
	w := newWorld(t, setup{
		kafka: []kfake.Opt{kfake.NumBrokers(brokers), kfake.SeedTopics(6, "spread")},
		cluster: func(c *gateway.ClusterConfig) {
			c.TLS = ca.server(false, "kafka.example.com", "*.kafka.example.com")
			c.SNI = must(gateway.ParseSNI("kafka.example.com", "Broker-$(node).kafka.example.com"))
		},
	})

	return w, ca, kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			return nil, err
		}
		if _, want, _ := net.SplitHostPort(w.addr); port != want {
			return nil, errors.New("told to go to port " + port)
		}
		if !strings.HasSuffix(name, "kafka.example.com") {
			return nil, errors.New("told to go to " + name)
		}

		d := &tls.Dialer{Config: &tls.Config{RootCAs: ca.pool(), ServerName: name}}
		return d.DialContext(ctx, network, w.addr)
	})
}

func seed(w *world, host string) kgo.Opt {
	_, port, _ := net.SplitHostPort(w.addr)
	return kgo.SeedBrokers(net.JoinHostPort(host, port))
}

func TestOnePortStandsForAllBrokersByServerName(t *testing.T) {
	t.Parallel()
	w, _, dialer := byName(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	c := w.client(dialer, seed(w, "kafka.example.com"))

	meta, err := kadm.NewClient(c).BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(meta.Brokers) != 3 {
		t.Fatalf("%d brokers", len(meta.Brokers))
	}

	for _, b := range meta.Brokers {
		if want := "broker-" + strconv.Itoa(int(b.NodeID)) + ".kafka.example.com"; b.Host != want {
			t.Errorf("broker %d is %s, not %s", b.NodeID, b.Host, want)
		}
		// Each name leads to that very broker: it answers for its partitions.
		if _, err := c.Broker(int(b.NodeID)).RetriableRequest(ctx, metadata()); err != nil {
			t.Errorf("broker %d: %v", b.NodeID, err)
		}
	}

	offsets, err := kadm.NewClient(c).ListEndOffsets(ctx, "spread") // asks every leader
	if err := errors.Join(err, offsets.Error()); err != nil {
		t.Error(err)
	}
}

func TestFirstConnectionMayNameABroker(t *testing.T) {
	t.Parallel()
	w, _, dialer := byName(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := w.client(dialer, seed(w, "broker-0.kafka.example.com")).Ping(ctx); err != nil {
		t.Error(err)
	}
}

func TestUnknownServerNamesLeadNowhere(t *testing.T) {
	t.Parallel()
	w, ca, _ := byName(t, 1)
	for _, name := range []string{"", "broker-9.kafka.example.com", "broker-64.kafka.example.com", "broker-00.kafka.example.com", "x.kafka.example.com"} {
		conn, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: ca.pool(), ServerName: name, InsecureSkipVerify: name == ""})
		if err != nil {
			continue
		}

		conn.SetDeadline(time.Now().Add(testTimeout))
		p := &peer{Conn: conn, t: t}
		p.closed()
		conn.Close()
	}
}

func TestServerNamePatternsAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"", "b-$(node).x"}, {"x", "b.x"}, {"x", "$(node)-$(node).x"}, {"b-1.x", "b-$(node).x"}} {
		if _, err := gateway.ParseSNI(c[0], c[1]); err == nil {
			t.Errorf("%q is taken", c)
		}
	}
}
