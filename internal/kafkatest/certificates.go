package kafkatest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificates are PEM files, which every start makes anew: an authority, and what it signed.
type certificates struct {
	ca     string // certificate
	node   string // key and certificate for 127.0.0.1 and localhost
	client string // key and certificate of CN=client

	authority *x509.Certificate
	key       *ecdsa.PrivateKey // the authority's
}

// CAFile is the path of the certificate that signed those of the nodes and of the client.
func (c *Cluster) CAFile() string { return c.certs.ca }

// NodeFile is the path of the key and certificate for 127.0.0.1 and localhost that the nodes show, in one PEM file.
func (c *Cluster) NodeFile() string { return c.certs.node }

// Issue writes another key and certificate for 127.0.0.1 and names, "*.example" among them, to one PEM file. Serials 1 to 3
// are taken.
func (c *Cluster) Issue(path string, serial int64, names ...string) error {
	if err := c.certs.server(path, serial, names...); err != nil {
		return fmt.Errorf("issuing certificate: %w", err)
	}
	return nil
}

// ClientFile is the path of a client's key and certificate (CN=client), in one PEM file.
func (c *Cluster) ClientFile() string { return c.certs.client }

// ClientTLS trusts the cluster's nodes; withCertificate says whether it shows the client's certificate.
func (c *Cluster) ClientTLS(withCertificate bool) (*tls.Config, error) {
	ca, err := os.ReadFile(c.certs.ca)
	if err != nil {
		return nil, fmt.Errorf("reading authority: %w", err)
	}

	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AppendCertsFromPEM(ca)
	if withCertificate {
		pair, err := tls.LoadX509KeyPair(c.certs.client, c.certs.client)
		if err != nil {
			return nil, fmt.Errorf("reading client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}

	return cfg, nil
}

// makeCertificates makes an authority and what it signs, in dir, for a day.
func makeCertificates(dir string) (certificates, error) {
	paths := certificates{ca: filepath.Join(dir, "ca.pem"), node: filepath.Join(dir, "node.pem"), client: filepath.Join(dir, "client.pem")}
	ca := template("kafkatest", 1)
	ca.IsCA = true
	ca.BasicConstraintsValid = true
	ca.KeyUsage = x509.KeyUsageCertSign

	caKey, err := issue(paths.ca, ca, ca, nil)
	if err != nil {
		return certificates{}, err
	}

	paths.authority = ca
	paths.key = caKey
	if err := paths.server(paths.node, 2, "localhost"); err != nil {
		return certificates{}, err
	}
	if _, err := issue(paths.client, template("client", 3), ca, caKey); err != nil {
		return certificates{}, err
	}

	return paths, nil
}

// server writes the key and certificate of a server on loopback with further names to one PEM file.
func (c certificates) server(path string, serial int64, names ...string) error {
	cert := template(names[0], serial)
	cert.DNSNames, cert.IPAddresses = names, []net.IP{net.IPv4(127, 0, 0, 1)}
	_, err := issue(path, cert, c.authority, c.key)
	return err
}

func template(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		Subject:      pkix.Name{CommonName: name},
		SerialNumber: big.NewInt(serial),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// issue writes a new key and its certificate to path, signed by parent; signer nil means by itself, and then the
// certificate alone is written.
func issue(path string, cert, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}

	var out bytes.Buffer
	if signer == nil {
		signer = key
	} else {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}

	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}

	pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	return key, os.WriteFile(path, out.Bytes(), 0o600)
}
