package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
)

// watched is a file that is read again when it changes. One that does not parse
// leaves the old content in force: what was revoked before stays revoked.
// Readers may call now at any time; refresh is for one goroutine.
type watched[T any] struct {
	path    string
	private bool // must not be readable by others
	parse   func(raw []byte) (*T, error)
	content atomic.Pointer[T]
	stamp   string
}

// maxWatched bounds a file of users, keys or certificates.
const maxWatched = 16 << 20

func watch[T any](s *stack, path string, private bool, parse func([]byte) (*T, error)) (*watched[T], error) {
	w := &watched[T]{path: path, private: private, parse: parse, stamp: stampOf(path)}
	if err := w.load(); err != nil {
		return nil, err
	}
	s.files = append(s.files, w.refresh)
	return w, nil
}

func (w *watched[T]) now() *T { return w.content.Load() }

func (w *watched[T]) load() error {
	info, err := os.Stat(w.path)
	if err != nil {
		return err
	}
	if w.private && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s may be read by others (mode %04o); run: chmod 600 %s", w.path, info.Mode().Perm(), w.path)
	}
	raw, err := readBounded(w.path, maxWatched)
	if err != nil {
		return err
	}
	content, err := w.parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	w.content.Store(content)
	return nil
}

// refresh reports whether there was something new, and why it is not in force.
func (w *watched[T]) refresh() (changed bool, err error) {
	stamp := stampOf(w.path)
	if stamp == w.stamp {
		return false, nil
	}
	w.stamp = stamp
	return true, w.load()
}

// stampOf changes when a file does.
func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "missing"
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano(), info.Mode())
}

// refreshFiles reads users, keys and authorities again.
func (s *stack) refreshFiles() {
	for _, refresh := range s.files {
		switch changed, err := refresh(); {
		case err != nil:
			s.log.Error("reading a changed file failed; the old content stays in force", zap.Error(err))
		case changed:
			s.log.Info("read a changed file of users, keys or certificates")
		}
	}
}

// access is how clients of a cluster prove who they are.
func (s *stack) access(cl clusterConfig) (a gateway.AccessConfig, err error) {
	if t := cl.Listen.TLS; t != nil {
		if a.Certificates, err = auth.ParseMapping(t.PrincipalMapping); err != nil {
			return a, fmt.Errorf("listen.tls.principal_mapping: %w", err)
		}
	}
	c := cl.Listen.SASL
	if c == nil {
		return a, nil
	}
	if c.Mode == modePassthrough {
		a.Require, a.Mechanisms = *c.Require, c.Mechanisms
		if c.OAuth != nil {
			a.Claim = c.OAuth.PrincipalClaim
		}
		return a, nil
	}
	a.Terminate = true
	if len(c.Mechanisms) > 0 {
		if a.Server, err = s.authServer(c); err != nil {
			return a, fmt.Errorf("listen.sasl.%w", err)
		}
	}
	if u := cl.Broker.Upstream; u != nil && u.SASL != nil {
		if a.Service, err = serviceIdentity(s.cfg, u.SASL); err != nil {
			return a, fmt.Errorf("broker.upstream.sasl: %w", err)
		}
	}
	return a, nil
}

func (s *stack) authServer(c *clientSASLConfig) (*auth.Server, error) {
	cfg := auth.Config{Mechanisms: c.Mechanisms, SessionLifetime: c.SessionLifetime}
	if c.CredentialsFile != "" {
		users, err := watch(s, s.cfg.file(c.CredentialsFile), true, auth.ParseCredentials)
		if err != nil {
			return nil, fmt.Errorf("credentials_file: %w", err)
		}
		cfg.Credentials = users.now
	}
	if c.OAuth != nil {
		keys, err := s.issuerKeys(c.OAuth)
		if err != nil {
			return nil, fmt.Errorf("oauth.%w", err)
		}
		rules := auth.TokenRules{Issuer: c.OAuth.Issuer, Audiences: c.OAuth.Audience, Claim: c.OAuth.PrincipalClaim, Algorithms: c.OAuth.Algorithms}
		if cfg.Tokens, err = auth.NewVerifier(keys, rules, nil); err != nil {
			return nil, fmt.Errorf("oauth: %w", err)
		}
	}
	return auth.NewServer(cfg)
}

func (s *stack) issuerKeys(c *oauthConfig) (auth.KeySource, error) {
	if c.JWKSFile != "" {
		keys, err := watch(s, s.cfg.file(c.JWKSFile), false, auth.ParseKeySet)
		if err != nil {
			return nil, fmt.Errorf("jwks_file: %w", err)
		}
		return auth.FixedKeys(keys.now), nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pool, err := certPool(s.cfg.file(c.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		secure.RootCAs = pool
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: secure, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}}
	f := auth.NewFetcher(client, c.JWKSURL, func(err error) {
		s.log.Warn("fetching the issuer's keys failed; tokens signed with new ones are refused", zap.Error(err))
	})
	s.fetchers = append(s.fetchers, f)
	return f, nil
}

// clientAuthorities makes a listener demand client certificates, and read its
// CA file again when it changes.
func (s *stack) clientAuthorities(base *tls.Config, path string) error {
	base.ClientAuth = tls.RequireAndVerifyClientCert
	current, err := watch(s, path, false, func(raw []byte) (*tls.Config, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(raw) {
			return nil, errors.New("it holds no PEM certificate")
		}
		c := base.Clone()
		c.ClientCAs, c.GetConfigForClient = pool, nil
		return c, nil
	})
	if err != nil {
		return fmt.Errorf("client_ca_file: %w", err)
	}
	base.ClientCAs = current.now().ClientCAs
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.now(), nil }
	return nil
}
