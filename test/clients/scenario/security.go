package scenario

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Security is how the client connects; nil means in plaintext, without a login.
type Security struct {
	Protocol  string `json:"protocol"`  // SASL_PLAINTEXT or SASL_SSL
	Mechanism string `json:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string `json:"user"`
	Password  string `json:"password"`
	CAFile    string `json:"ca_file"` // PEM, of who signed the certificates of SASL_SSL
}

// TLS is the configuration to connect with. It is nil where the protocol has
// none.
func (s *Security) TLS() (*tls.Config, error) {
	if s == nil || s.Protocol != "SASL_SSL" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}

	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading ca_file: it holds no certificate")
	}
	return cfg, nil
}
