package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/exit"
)

// answerWithin is how long a cluster may take to name its brokers before the start
// goes on without it.
const answerWithin = 3 * time.Second

// announce opens the listeners of each cluster's brokers and tells which clusters
// are ready. Those that do not answer are returned: others do not wait for them.
func (s *Server) announce(ctx context.Context, ready func(cluster string)) (waiting []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()

	answers := make([]error, len(s.cfg.Clusters))
	var wg sync.WaitGroup
	for i, cl := range s.cfg.Clusters {
		wg.Go(func() { answers[i] = s.gateway.Cluster(cl.Name).Discover(ctx) })
	}

	wg.Wait()

	for i, cl := range s.cfg.Clusters {
		switch err := answers[i]; {
		case errors.Is(err, gateway.ErrNoListener):
			return nil, exit.WithHint(err, "each broker has a port of its own, from listen.first_node_port on: choose ports that are free")
		case err != nil:
			s.log.Warn("the cluster does not answer; it is not ready, and is asked again until it is", zap.String("cluster", cl.Name), zap.Error(err))
			waiting = append(waiting, cl.Name)
		default:
			ready(cl.Name)
		}
	}

	return waiting, nil
}

// askAgainAfter is the pause before a cluster that did not answer is asked
// again, until it does.
const askAgainAfter = time.Second

// await tells when a cluster that did not answer at the start does. It ends
// then, or with ctx.
func (s *Server) await(ctx context.Context, cluster string, ready func(cluster string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(askAgainAfter):
		}

		if err := s.gateway.Cluster(cluster).Discover(ctx); err == nil {
			s.log.Info("the cluster answers now", zap.String("cluster", cluster))
			ready(cluster)
			return
		}
	}
}
