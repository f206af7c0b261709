package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/guardlock/guardlock/internal/config"
)

// serverTLS is how clients connect to the gateway. Each new connection gets the
// certificate that is in the files by then.
func (s *Server) serverTLS(c *config.ServerTLS) (*tls.Config, error) {
	pair, err := watch(s, parsePair, keyPair(s.cfg, c.CertFile, c.KeyFile)...)
	if err != nil {
		return nil, err
	}

	s.endsWith(c.CertFile, pair.now)
	out := &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.now(), nil }}
	if c.ClientCAFile != "" {
		out.ClientAuth = tls.RequireAndVerifyClientCert
		if c.ClientCertificate == config.CertificateOptional {
			out.ClientAuth = tls.VerifyClientCertIfGiven
		}
		if err := s.clientAuthorities(out, s.cfg.File(c.ClientCAFile)); err != nil {
			return nil, err
		}
	}

	return out, nil
}

// clientAuthorities makes a listener verify client certificates by a CA file,
// which is read again when it changes.
func (s *Server) clientAuthorities(base *tls.Config, path string) error {
	current, err := watch(s, single(func(raw []byte) (*tls.Config, error) {
		pool, err := parsePool(raw)
		if err != nil {
			return nil, err
		}

		c := base.Clone()
		c.ClientCAs = pool
		c.GetConfigForClient = nil
		return c, nil
	}), watchedFile{field: "client_ca_file", path: path})
	if err != nil {
		return err
	}

	base.ClientCAs = current.now().ClientCAs
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.now(), nil }
	return nil
}

// clientTLS is how the gateway connects to the cluster: the function gives what
// holds for a new connection. Sessions are resumed within one configuration
// alone, since a resumed one is checked against no authority and shows no
// certificate.
func (s *Server) clientTLS(c *config.ClientTLS) (func() *tls.Config, error) {
	var files []watchedFile
	if c.CAFile != "" {
		files = append(files, watchedFile{field: "ca_file", path: s.cfg.File(c.CAFile)})
	}
	if c.CertFile != "" {
		files = append(files, keyPair(s.cfg, c.CertFile, c.KeyFile)...)
	}

	current, err := watch(s, func(contents [][]byte) (*tls.Config, error) {
		out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		var err error
		if c.CAFile != "" {
			if out.RootCAs, err = parsePool(contents[0]); err != nil {
				return nil, err
			}
			contents = contents[1:]
		}

		if c.CertFile != "" {
			pair, err := parsePair(contents)
			if err != nil {
				return nil, err
			}
			out.Certificates = []tls.Certificate{*pair}
		}

		return out, nil
	}, files...)
	if err != nil {
		return nil, err
	}

	if c.CertFile != "" {
		s.endsWith(c.CertFile, func() *tls.Certificate { return &current.now().Certificates[0] })
	}
	return current.now, nil
}

// certificate is one that is shown to clients or brokers, by the name of its file.
type certificate struct {
	file string
	now  func() *tls.Certificate
}

// endsWith notes a certificate, so that operators see its end coming.
func (s *Server) endsWith(file string, now func() *tls.Certificate) {
	s.certificates = append(s.certificates, certificate{file, now})
}

// keyPair names a certificate and its private key, which may stand in one file,
// as files to watch.
func keyPair(cfg *config.Config, cert, key string) []watchedFile {
	return []watchedFile{{field: "cert_file", path: cfg.File(cert)}, {field: "key_file", path: cfg.File(key), private: true}}
}

func parsePair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

func parsePool(raw []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, errors.New("no PEM certificate in it")
	}
	return pool, nil
}

// certPool reads authorities once. Unlike those that are watched, they change
// at the next start.
func certPool(path string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	pool, err := parsePool(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pool, nil
}
