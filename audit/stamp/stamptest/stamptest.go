// Package stamptest is a time-stamping authority (RFC 3161) for tests.
package stamptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"
)

// Authority is a time-stamping authority with a root of its own. It implements
// http.Handler (RFC 3161, 3.4).
type Authority struct {
	Root    []byte // PEM
	Leaf    *x509.Certificate
	Now     time.Time                         // what it stamps
	Spoil   func(*timestamp.Timestamp)        // changes what is stamped
	Answers func(http.ResponseWriter, []byte) // instead of a stamp

	key *ecdsa.PrivateKey
}

// New makes keys and certificates that hold from an hour ago on, for two hours.
func New(name string) (*Authority, error) {
	now := time.Now().Truncate(time.Second)
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}

	root := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name + " root"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}

	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber:    big.NewInt(2),
		Subject:         pkix.Name{CommonName: name},
		NotBefore:       now.Add(-time.Hour),
		NotAfter:        now.Add(time.Hour),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}

	parent, err := certificate(root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		return nil, err
	}
	a := &Authority{Root: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: parent.Raw}), Now: now, key: leafKey}
	if a.Leaf, err = certificate(leaf, parent, &leafKey.PublicKey, rootKey); err != nil {
		return nil, err
	}
	return a, nil
}

func certificate(c, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// ServeHTTP implements http.Handler.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if a.Answers != nil {
		a.Answers(w, body)
		return
	}
	answer, err := a.stamp(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Write(answer) //nolint:errcheck // whoever is gone asks again
}

func (a *Authority) stamp(question []byte) ([]byte, error) {
	q, err := timestamp.ParseRequest(question)
	if err != nil {
		return nil, err
	}
	t := &timestamp.Timestamp{
		HashAlgorithm:     q.HashAlgorithm,
		HashedMessage:     q.HashedMessage,
		Time:              a.Now,
		Nonce:             q.Nonce,
		Policy:            asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
		AddTSACertificate: q.Certificates,
	}
	if a.Spoil != nil {
		a.Spoil(t)
	}
	return t.CreateResponseWithOpts(a.Leaf, a.key, crypto.SHA256)
}
