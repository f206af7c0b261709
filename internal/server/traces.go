package server

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/tracing"
)

// openTraces prepares traces, if the configuration asks for any.
func (s *Server) openTraces(ctx context.Context) error {
	if s.cfg.Ops == nil || s.cfg.Ops.Traces == nil {
		return nil
	}
	t := s.cfg.Ops.Traces
	secure, err := s.collectorTLS(t)
	if err != nil {
		return fmt.Errorf("ops.traces: %w", err)
	}

	s.traces, err = tracing.New(ctx, tracing.Config{
		Endpoint:  t.Endpoint,
		TLS:       secure,
		Ratio:     *t.Ratio,
		PerSecond: t.PerSecond,
		Node:      s.cfg.Node,
		Version:   build.Read().Version,
		Log:       s.log.Logger,
	})
	return err
}

// collectorTLS is how the collector shows who it is.
func (s *Server) collectorTLS(t *config.Traces) (*tls.Config, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile == "" {
		return secure, nil
	}

	pool, err := certPool(s.cfg.File(t.CAFile))
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	secure.RootCAs = pool
	return secure, nil
}

// tracer is nil where nothing is traced, so that it costs nothing.
func (s *Server) tracer() pipeline.Tracer {
	if s.traces == nil {
		return nil
	}
	return s.traces
}
