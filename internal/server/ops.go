package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/ops"
	"github.com/guardlock/guardlock/internal/tracing"
)

// watching is what operators look at, beside what serves.
type watching struct {
	ops     *ops.Listener   // nil: nobody is to watch
	traces  *tracing.Tracer // nil: none are asked for
	started time.Time
	phase   atomic.Int32
	space   space // on the disk of the decision log

	reconciled reconciled
	clock      *clock
	clockSeen  *audit.ClockStep // before the start; nil: none
}

// The phases of a gateway's life.
const (
	phaseStarting = iota // nothing is admitted yet
	phaseServing
	phaseStopping
)

// minToken is how many characters a token must have, so that nobody guesses it.
const minToken = 16

// openOps opens the listener for operators, if the configuration asks for one.
func (s *Server) openOps(ctx context.Context) error {
	s.started = s.now()
	if s.cfg.Ops == nil {
		return nil
	}

	cfg, err := s.opsConfig(s.cfg.Ops)
	if err != nil {
		return fmt.Errorf("ops: %w", err)
	}
	ln, err := s.sockets.Listen(ctx, s.cfg.Ops.Address)
	if err != nil {
		return fmt.Errorf("listening for operators: %w", err)
	}

	s.ops = ops.New(ln, cfg, &view{s})
	return nil
}

// opsConfig opens the files that the listener for operators needs.
func (s *Server) opsConfig(o *config.Ops) (ops.Config, error) {
	cfg := ops.Config{Pprof: o.Pprof}
	if o.TLS != nil {
		var err error
		if cfg.TLS, err = s.serverTLS(o.TLS); err != nil {
			return cfg, fmt.Errorf("tls: %w", err)
		}
		cfg.Mutual = o.TLS.ClientCAFile != ""
		askForCertificate(cfg.TLS)
	}

	if o.TokenFile != "" {
		token, err := watch(s, single(parseToken), watchedFile{"token_file", s.cfg.File(o.TokenFile), true})
		if err != nil {
			return cfg, err
		}
		cfg.Token = func() []byte { return *token.now() }
	}

	return cfg, nil
}

// askForCertificate lets probes in without a certificate: they are told yes or no,
// and nothing else.
func askForCertificate(c *tls.Config) {
	if c.ClientAuth == tls.NoClientCert {
		return
	}

	c.ClientAuth = tls.VerifyClientCertIfGiven
	fresh := c.GetConfigForClient
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := fresh(h)
		if err != nil || now == nil {
			return now, err
		}
		now = now.Clone()
		now.ClientAuth = tls.VerifyClientCertIfGiven
		return now, nil
	}
}

func parseToken(raw []byte) (*[]byte, error) {
	token := bytes.TrimSpace(raw)
	if len(token) < minToken {
		return nil, fmt.Errorf("the token has %d characters, and needs %d", len(token), minToken)
	}
	return &token, nil
}

// serveOps answers operators until ctx ends.
func (s *Server) serveOps(ctx context.Context) {
	if s.ops == nil {
		return
	}

	s.log.Info("operators are answered", zap.String("url", s.ops.URL()))
	if err := s.ops.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.log.Error("operators are not answered any more", zap.Error(err))
	}
}

// OpsURL is where operators are answered; empty: nowhere.
func (s *Server) OpsURL() string {
	if s.ops == nil {
		return ""
	}
	return s.ops.URL()
}

// view is the gateway as operators see it. It implements ops.Source.
type view struct{ *Server }

// DecisionID implements ops.Source.
func (v *view) DecisionID(seq uint64) string { return v.journal.ID(seq, -1).String() }

// Missing implements ops.Source: it says why clients cannot be served now.
func (v *view) Missing() []string {
	var missing []string
	switch v.phase.Load() {
	case phaseStarting:
		missing = append(missing, "the gateway is starting: trust, policy and modules are not loaded yet")
	case phaseStopping:
		missing = append(missing, "the gateway is stopping")
	}

	if err := v.journal.Err(); err != nil {
		missing = append(missing, "the decision log takes no entries: "+err.Error())
	}

	if v.journal.Count().Full {
		missing = append(missing, spaceProblem(true).Error())
	}

	var silent []string
	answers := false
	v.gateway.EachCluster(func(c *gateway.Cluster) {
		problem := unreached(c)
		answers = answers || problem == ""
		silent = append(silent, "cluster "+c.Name()+": "+problem)
	})

	if !answers {
		missing = append(missing, silent...)
	}

	return missing
}

// Refusing implements ops.Source.
func (v *view) Refusing() []string {
	var all []string
	e := v.reloader.explain()
	for _, cl := range e.cfg.Clusters {
		for _, b := range e.bindings(cl.Name) {
			if b.Refused != "" {
				all = append(all, "binding "+b.Binding+" of cluster "+cl.Name+" refuses everything: "+b.Refused)
			}
		}
	}

	return all
}

// unreached says why a cluster is not reached; empty: it is.
func unreached(c *gateway.Cluster) string {
	switch r := c.Reach(); {
	case r == nil:
		return "it was not asked for its brokers yet"
	case r.Err != nil:
		return r.Err.Error()
	}
	return ""
}
