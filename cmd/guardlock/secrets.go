package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// loadKeys reads the secrets of keys, all problems at once.
func loadKeys(cfg *config) (map[string][]byte, error) {
	keys := map[string][]byte{}
	var errs []error
	for i, k := range cfg.Keys {
		secret, err := readSecret(cfg.file(k.File))
		if err != nil {
			errs = append(errs, fmt.Errorf("keys[%d].file: %w", i, err))
			continue
		}
		keys[k.Name] = secret
	}
	return keys, errors.Join(errs...)
}

const minSecret = 32

// readSecret reads a key file: hex or base64 text, or raw bytes. Errors never
// quote it.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(raw))
	if b, err := hex.DecodeString(text); err == nil && len(b) >= minSecret {
		return b, nil
	}
	if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) >= minSecret {
		return b, nil
	}
	if len(raw) < minSecret {
		return nil, fmt.Errorf("%s holds fewer than %d bytes", path, minSecret)
	}
	return raw, nil
}

// loadOrMakeKey reads the audit key, or makes one at first start.
func loadOrMakeKey(path string) (key [32]byte, err error) {
	secret, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err = makeKey(path)
	}
	if err != nil {
		return key, err
	}
	if len(secret) != len(key) {
		return key, fmt.Errorf("%s must hold exactly %d bytes", path, len(key))
	}
	copy(key[:], secret)
	return key, nil
}

// makeKey writes a new key so that a crash leaves a whole one or none.
func makeKey(path string) ([]byte, error) {
	secret := make([]byte, minSecret)
	rand.Read(secret)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return secret, os.Rename(f.Name(), path)
}

// serviceIdentity is how the gateway itself authenticates to the cluster.
func serviceIdentity(cfg *config, c *saslConfig) (sasl.Mechanism, error) {
	raw, err := os.ReadFile(cfg.file(c.PasswordFile))
	if err != nil {
		return nil, fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(raw), "\r\n")
	switch c.Mechanism {
	case "PLAIN":
		return plain.Auth{User: c.Username, Pass: password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: c.Username, Pass: password}.AsSha256Mechanism(), nil
	default:
		return scram.Auth{User: c.Username, Pass: password}.AsSha512Mechanism(), nil
	}
}

// clientTLS is how the gateway connects to the cluster.
func clientTLS(cfg *config, c *clientTLSConfig) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pool, err := certPool(cfg.file(c.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		out.RootCAs = pool
	}
	if c.CertFile != "" {
		cert, err := newReloadingCert(cfg.file(c.CertFile), cfg.file(c.KeyFile))
		if err != nil {
			return nil, err
		}
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.current() }
	}
	return out, nil
}

func certPool(path string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}

// serverTLS is how clients connect to the gateway.
func (s *stack) serverTLS(c *serverTLSConfig) (*tls.Config, error) {
	cert, err := newReloadingCert(s.cfg.file(c.CertFile), s.cfg.file(c.KeyFile))
	if err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.current() }}
	if c.ClientCAFile != "" {
		if err := s.clientAuthorities(out, s.cfg.file(c.ClientCAFile)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// reloadingCert is a key pair that is read again when its files change. A pair
// that does not load leaves the old one in use. Safe for concurrent use.
type reloadingCert struct {
	certFile, keyFile string

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   time.Time // of the newer file
	checked time.Time
}

func newReloadingCert(certFile, keyFile string) (*reloadingCert, error) {
	r := &reloadingCert{certFile: certFile, keyFile: keyFile}
	if err := r.load(r.newest()); err != nil {
		return nil, fmt.Errorf("cert_file, key_file: %w", err)
	}
	return r, nil
}

func (r *reloadingCert) newest() time.Time {
	var t time.Time
	for _, f := range []string{r.certFile, r.keyFile} {
		if info, err := os.Stat(f); err == nil && info.ModTime().After(t) {
			t = info.ModTime()
		}
	}
	return t
}

func (r *reloadingCert) load(stamp time.Time) error {
	cert, err := tls.LoadX509KeyPair(r.certFile, r.keyFile)
	if err != nil {
		return err
	}
	r.cert, r.stamp = &cert, stamp
	return nil
}

// current returns the key pair, looking at the files at most once a second.
func (r *reloadingCert) current() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) > time.Second {
		r.checked = now
		if stamp := r.newest(); stamp.After(r.stamp) {
			// A pair that is half written fails here and loads the next time.
			_ = r.load(stamp)
		}
	}
	return r.cert, nil
}
