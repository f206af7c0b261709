package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
)

// authority issues certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e CA"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der := must(x509.CreateCertificate(rand.Reader, ca, ca, &a.key.PublicKey, a.key))(t)
	a.cert = must(x509.ParseCertificate(der))(t)
	return a
}

func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(a.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))(a.t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// client is how a client connects, with a certificate or without.
func (a *authority) client(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: a.pool(), Certificates: certs}
}

// pair is the PEM of a certificate and its key.
func pair(t *testing.T, c tls.Certificate) []byte {
	t.Helper()
	key := must(x509.MarshalPKCS8PrivateKey(c.PrivateKey))(t)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
}

func fingerprint(c tls.Certificate) audit.Fingerprint { return sha256.Sum256(c.Certificate[0]) }

// TestBindingsTellClientsWithACertificateFromOthers: the same record goes as it
// is from one client and through a module from the other, and the log says why.
func TestBindingsTellClientsWithACertificateFromOthers(t *testing.T) {
	ca := newAuthority(t)
	s := judgeSetup(1, func(c *gateway.Config) {
		c.Clusters[0].TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue("gateway")}, ClientCAs: ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven}
	})

	trusted := bind("in")
	trusted.TLS = gateway.MutualTLS
	s.bindings = append([]admission.Rule{trusted}, s.bindings...)
	w := newWorld(t, s)

	cert := ca.issue("alice")
	old := ca.client()
	old.MaxVersion = tls.VersionTLS12

	for i, c := range []struct {
		config  *tls.Config
		outcome string
		version string
		print   audit.Fingerprint
	}{
		{ca.client(cert), "passed", "TLS 1.3", fingerprint(cert)},
		{ca.client(), "modified", "TLS 1.3", audit.Fingerprint{}},
		{old, "modified", "TLS 1.2", audit.Fingerprint{}},
	} {
		mustSend(t, client(t, w.addr(), kgo.DialTLSConfig(c.config)), "in", 0, "modify")
		d := w.at("in", 0, int64(i))
		if d.Outcome != c.outcome || d.TLS.Version != c.version || !strings.HasPrefix(d.TLS.Cipher, "TLS_") || d.TLS.Fingerprint != c.print {
			t.Errorf("client %d: %s, %+v", i, d.Outcome, d.TLS)
		}
	}

	found := decisions(t, w.logDir, query.Filter{Client: query.Client{Fingerprint: fingerprint(cert), Source: netip.MustParsePrefix("127.0.0.1/32"), IDs: []string{"e2e"}}})
	if len(found) != 1 || found[0].Offset != 0 || found[0].Principal != "User:CN=alice" {
		t.Errorf("by its certificate: %+v", found)
	}
}

// TestEveryConditionOfTheConfigurationDecides: client id, source and
// certificate, from the file to the auditor.
func TestEveryConditionOfTheConfigurationDecides(t *testing.T) {
	ca := newAuthority(t)
	d := deploy(t, plan{
		modules: []module{bundled("uppercase", "in")},
		listen:  "  tls: {cert_file: gateway.pem, key_file: gateway.pem, client_ca_file: ca.pem, client_certificate: optional}\n",
		rules: `  - {topics: [in], client_ids: ["etl-*"], sources: ["::1", 127.0.0.0/8], tls: mutual, data_class: internal}
  - {topics: [in], client_ids: ["etl-*", "web"], tls: required, modules: [uppercase], data_class: internal}
  - {topics: [in], sources: [192.0.2.0/24], data_class: internal}
`})

	d.write("gateway.pem", pair(t, ca.issue("gateway")))
	d.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
	gateway := serve(t, d)
	cert := ca.issue("alice")
	as := func(id string, config *tls.Config) *kgo.Client {
		return client(t, d.address, kgo.ClientID(id), kgo.DialTLSConfig(config), kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	}

	mustSend(t, as("etl-7", ca.client(cert)), "in", 0, "quiet")
	mustSend(t, as("etl-7", ca.client()), "in", 0, "quiet")
	mustSend(t, as("web", ca.client(cert)), "in", 0, "quiet")

	if err := send(t, as("other", ca.client(cert)), "in", 0, "quiet")[0]; err == nil || !strings.Contains(err.Error(), "POLICY_VIOLATION") {
		t.Errorf("a client of no binding is told %v", err)
	}
	for offset, want := range []string{"passed", "modified", "modified"} {
		if got := decisionAt(t, d.audit(), "in", 0, int64(offset)); got.Outcome != want {
			t.Errorf("offset %d: %s, want %s", offset, got.Outcome, want)
		}
	}

	out, exit := guardlock(t, "audit", "query", "--tls-fingerprint", fingerprint(cert).String(), "--client-id", "etl-7", "--dir", d.audit())
	if rows := strings.Count(out, "in/0@0"); exit != 0 || rows != 1 || strings.Contains(out, "in/0@1") {
		t.Errorf("audit query ends with %d:\n%s", exit, out)
	}

	out, exit = guardlock(t, "audit", "show", decisionAt(t, d.audit(), "in", 0, 2).ID.String(), "--dir", d.audit())
	for _, want := range []string{"web from 127.0.0.1", "TLS 1.3, TLS_", fingerprint(cert).String(), "User:CN=alice"} {
		if exit != 0 || !strings.Contains(out, want) {
			t.Errorf("audit show ends with %d and does not say %q:\n%s", exit, want, out)
		}
	}

	gateway.terminate()
}
