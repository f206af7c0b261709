package server

import (
	"crypto/tls"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/internal/config"
)

// access is how clients of a cluster prove who they are, as its listener is
// configured. What it needs of files is watched from then on.
func (s *Server) access(cl config.Cluster) (a gateway.AccessConfig, err error) {
	if t := cl.Listen.TLS; t != nil {
		if a.Certificates, err = auth.ParseMapping(t.PrincipalMapping); err != nil {
			return a, fmt.Errorf("listen.tls.principal_mapping: %w", err)
		}
	}

	c := cl.Listen.SASL
	if c == nil {
		return a, nil
	}

	if c.Mode == config.ModePassthrough {
		a.Require = *c.Require
		a.Mechanisms = c.Mechanisms
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

	return a, nil
}

// authServer makes what authenticates clients here, of credentials and rules
// that are read again when their files change.
func (s *Server) authServer(c *config.ClientSASL) (*auth.Server, error) {
	cfg := auth.Config{Mechanisms: c.Mechanisms, SessionLifetime: c.SessionLifetime}
	if c.CredentialsFile != "" {
		users, err := watch(s, single(auth.ParseCredentials), watchedFile{"credentials_file", s.cfg.File(c.CredentialsFile), true})
		if err != nil {
			return nil, err
		}
		cfg.Credentials = users.now
	}

	if c.OAuth != nil {
		keys, err := s.issuerKeys(c.OAuth)
		if err != nil {
			return nil, fmt.Errorf("oauth.%w", err)
		}

		rules := auth.TokenRules{
			Issuer:     c.OAuth.Issuer,
			Audiences:  c.OAuth.Audience,
			Claim:      c.OAuth.PrincipalClaim,
			Algorithms: c.OAuth.Algorithms,
		}
		if cfg.Tokens, err = auth.NewVerifier(keys, rules, nil); err != nil {
			return nil, fmt.Errorf("oauth: %w", err)
		}
	}

	return auth.NewServer(cfg)
}

// issuerKeys is where the keys of tokens come from: a file that is watched, or
// the issuer's own address.
func (s *Server) issuerKeys(c *config.OAuth) (auth.KeySource, error) {
	if c.JWKSFile != "" {
		keys, err := watch(s, single(auth.ParseKeySet), watchedFile{field: "jwks_file", path: s.cfg.File(c.JWKSFile)})
		if err != nil {
			return nil, err
		}
		return auth.FixedKeys(keys.now), nil
	}

	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pool, err := certPool(s.cfg.File(c.CAFile))
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
