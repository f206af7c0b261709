package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// testTimeout bounds every wait of these tests.
const testTimeout = 20 * time.Second

// world is a cluster, and a gateway before it that lets only User:alice and
// CN=alice produce to the topic "t".
type world struct {
	t       *testing.T
	journal *audit.Log
	cluster *gateway.Cluster
	addr    string
}

type setup struct {
	kafka    []kfake.Opt
	upstream gateway.Upstream // instead of a kfake cluster
	service  []kgo.Opt
	cluster  func(*gateway.ClusterConfig)
	gateway  func(*gateway.Config)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, journal: must(audit.Open(t.TempDir(), audit.Options{Key: [32]byte{1}, Node: "test", InsecureNoSync: true}))}
	up := s.upstream
	if up == nil {
		up = kafkaUpstream(t, s.kafka...)
	}

	cc := gateway.ClusterConfig{Name: "main", Upstream: up, Service: s.service, Host: "127.0.0.1", MaxNode: 63}
	if s.cluster != nil {
		s.cluster(&cc)
	}

	cfg := gateway.Config{Decisions: w.journal, Clusters: []gateway.ClusterConfig{cc}, DrainTimeout: 5 * time.Second}
	if s.gateway != nil {
		s.gateway(&cfg)
	}

	g := must(gateway.New(cfg))
	w.cluster = g.Cluster("main")
	allow := &pipeline.Grant{Binding: "alice", RejectCode: kerr.InvalidRecord.Code, KeepCodec: true}
	w.cluster.SetBindings(gateway.NewBindings([]gateway.Binding{
		{Topics: []string{"t"}, Principals: []string{"User:alice", "User:CN=alice,*"}, Grant: allow},
	}, pipeline.Unbound))

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if err := g.Listen(ctx); err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		w.journal.Close()
	})

	w.addr = w.cluster.Addr()
	return w
}

func kafkaUpstream(t *testing.T, opts ...kfake.Opt) gateway.Upstream {
	t.Helper()
	k := must(kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t")}, opts...)...))
	t.Cleanup(k.Close)

	var addrs []broker.HostPort
	for _, a := range k.ListenAddrs() {
		addrs = append(addrs, must(broker.ParseHostPort(a)))
	}
	return must(broker.NewCluster(broker.ClusterConfig{Bootstrap: addrs}))
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c := must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(w.addr), kgo.RetryTimeout(testTimeout), kgo.RecordDeliveryTimeout(testTimeout),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })}, opts...)...))
	w.t.Cleanup(c.Close)
	return c
}

// produce sends one record to "t" and returns what the producer is told.
func (w *world) produce(opts ...kgo.Opt) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), testTimeout)
	defer cancel()
	return w.client(opts...).ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr()
}

// allowed and refused say what policy made of the client's name.
func (w *world) allowed(opts ...kgo.Opt) {
	w.t.Helper()
	if err := w.produce(opts...); err != nil {
		w.t.Errorf("the record was not stored: %v", err)
	}
}

func (w *world) refused(opts ...kgo.Opt) {
	w.t.Helper()
	if err := w.produce(opts...); !errors.Is(err, kerr.PolicyViolation) {
		w.t.Errorf("the producer was told %v, not that policy refuses", err)
	}
}

// unreachable: the client is not let in at all.
func (w *world) unreachable(opts ...kgo.Opt) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), testTimeout)
	defer cancel()
	c := w.client(append([]kgo.Opt{kgo.RetryTimeout(300 * time.Millisecond), kgo.RequestRetries(0)}, opts...)...)
	if err := c.Ping(ctx); err == nil {
		w.t.Error("the client was let in")
	}
}

// principals are the names that decisions about the topic hold.
func (w *world) principals() map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for d, err := range query.New(w.journal.Reader()).Query(w.t.Context(), query.Filter{Topics: []string{"t"}}) {
		if err != nil {
			w.t.Fatal(err)
		}
		out[d.Principal] = true
	}

	return out
}

// peer speaks Kafka frame by frame.
type peer struct {
	net.Conn
	t           *testing.T
	correlation int32
}

func (w *world) peer() *peer {
	w.t.Helper()
	p := &peer{Conn: must(net.Dial("tcp", w.addr)), t: w.t}
	w.t.Cleanup(func() { p.Close() })
	p.SetDeadline(time.Now().Add(testTimeout))
	return p
}

func (p *peer) send(req kmsg.Request) {
	p.t.Helper()
	p.correlation++
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("peer"))
	if _, err := p.Write(f.AppendRequest(nil, req, p.correlation)); err != nil {
		p.t.Fatal(err)
	}
}

// ask sends a request and reads its answer; flexible response headers are the
// caller's not to use.
func (p *peer) ask(req kmsg.Request) kmsg.Response {
	p.t.Helper()
	p.send(req)
	frame, err := p.frame()
	if err != nil {
		p.t.Fatalf("reading an answer to key %d: %v", req.Key(), err)
	}

	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(frame[4:]); err != nil {
		p.t.Fatal(err)
	}

	return resp
}

func (p *peer) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(p, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(p, body)
	return body, err
}

// closed waits for the gateway to hang up without another answer.
func (p *peer) closed() {
	p.t.Helper()
	if frame, err := p.frame(); err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		p.t.Errorf("the connection stays open: %d bytes, %v", len(frame), err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (p *peer) handshake(mechanism string) int16 {
	p.t.Helper()
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Version = 1
	req.Mechanism = mechanism
	return p.ask(req).(*kmsg.SASLHandshakeResponse).ErrorCode
}

func (p *peer) token(token string) *kmsg.SASLAuthenticateResponse {
	p.t.Helper()
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.Version = 1
	req.SASLAuthBytes = []byte(token)
	return p.ask(req).(*kmsg.SASLAuthenticateResponse)
}

// login is PLAIN; it fails the test unless the answer has this code.
func (p *peer) login(user, password string, want int16) *kmsg.SASLAuthenticateResponse {
	p.t.Helper()
	if code := p.handshake(auth.Plain); code != 0 {
		p.t.Fatalf("the handshake was answered with %d", code)
	}

	r := p.token("\x00" + user + "\x00" + password)
	if r.ErrorCode != want {
		p.t.Fatalf("%s was answered with %d, not %d", user, r.ErrorCode, want)
	}
	return r
}

func (p *peer) bare(token string) {
	p.t.Helper()
	if _, err := p.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(token))), token...)); err != nil {
		p.t.Fatal(err)
	}
}

func metadata() kmsg.Request {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 1
	return req
}

// users is a credentials file that can change.
type users struct {
	now atomic.Pointer[auth.Credentials]
}

func newUsers(t *testing.T, passwords map[string]string) *users {
	t.Helper()
	u := &users{}
	u.now.Store(auth.NewCredentials())
	for name, password := range passwords {
		u.set(name, password)
	}
	return u
}

func (u *users) set(name, password string) {
	var records []auth.Record
	for _, m := range []string{auth.ScramSHA256, auth.ScramSHA512} {
		records = append(records, must(auth.NewRecord(m, []byte(password), auth.MinIterations)))
	}
	u.now.Store(must(u.now.Load().With(name, records)))
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() *authority {
	a := &authority{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, t, t, &a.key.PublicKey, a.key))))
	return a
}

func (a *authority) issue(subject pkix.Name, names ...string) tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	t := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: subject, NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der := must(x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// server is the TLS configuration of a listener; with clients, it demands
// certificates of this authority.
func (a *authority) server(clients bool, names ...string) *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{a.issue(pkix.Name{CommonName: "gateway"}, names...)}}
	if clients {
		c.ClientCAs = a.pool()
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}
