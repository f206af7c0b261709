package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/meter"
)

// clusterCounts are what happened to a cluster's connections since the start. It
// is safe for concurrent use.
type clusterCounts struct {
	accepted      atomic.Uint64
	turnedAway    atomic.Uint64 // there were as many as MaxConnections
	badHandshakes atomic.Uint64
	authenticated atomic.Uint64
	denied        atomic.Uint64 // for who they are, or did not say
	answers       meter.Histogram
	broker        atomic.Pointer[Reach]
}

// Reach is what came of asking the cluster for its brokers last.
type Reach struct {
	At  time.Time
	Err error
}

// ended counts how a session ended.
func (c *clusterCounts) ended(err error) {
	switch {
	case errors.Is(err, errHandshake):
		c.badHandshakes.Add(1)
	case isAccessFault(err):
		c.denied.Add(1)
	}
}

// reached notes what came of asking the cluster. Who gave up asking learned nothing.
func (c *clusterCounts) reached(ctx context.Context, err error) {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	c.broker.Store(&Reach{time.Now(), err})
}

// ClusterCount is what a cluster's connections are, and were since the start.
type ClusterCount struct {
	Connections   int
	InFlight      int // requests that owe an answer
	Accepted      uint64
	TurnedAway    uint64
	BadHandshakes uint64
	Authenticated uint64
	Denied        uint64
	Unresolved    int // decisions that still wait to be matched to the topic
	Answers       meter.Reading
}

// Name is the cluster's name, as the configuration has it.
func (c *Cluster) Name() string { return c.cfg.Name }

// Counts are what became of the cluster's batches.
func (c *Cluster) Counts() *pipeline.Counts { return c.pipeline.Counts() }

// Reach is what came of asking the cluster for its brokers last; nil before the
// first answer.
func (c *Cluster) Reach() *Reach { return c.counts.broker.Load() }

// Count reads what is known of the cluster's connections.
func (c *Cluster) Count() ClusterCount {
	n := ClusterCount{
		Accepted:      c.counts.accepted.Load(),
		TurnedAway:    c.counts.turnedAway.Load(),
		BadHandshakes: c.counts.badHandshakes.Load(),
		Authenticated: c.counts.authenticated.Load(),
		Denied:        c.counts.denied.Load(),
		Unresolved:    c.Unresolved(),
		Answers:       c.counts.answers.Read(),
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	n.Connections = len(c.sessions)
	for s := range c.sessions {
		s.answers.mu.Lock()
		n.InFlight += s.answers.queue.count
		s.answers.mu.Unlock()
	}
	return n
}

// MemoryCount is one part of limits.memory.
type MemoryCount struct {
	Holder      string // requests, changed batches or answers
	Held, Limit int64  // bytes
	Waiting     int    // who wait for some
}

// EachCluster gives the clusters in the order of the configuration.
func (g *Gateway) EachCluster(yield func(*Cluster)) {
	for _, c := range g.clusters {
		yield(c)
	}
}

// Memory reads who holds how much of limits.memory.
func (g *Gateway) Memory() []MemoryCount {
	return []MemoryCount{
		g.memory.requests.count("requests"),
		g.memory.encodes.count("changed_batches"),
		g.memory.answers.count("answers"),
	}
}

func (b *buffers) count(holder string) MemoryCount {
	b.mu.Lock()
	defer b.mu.Unlock()
	return MemoryCount{
		Holder:  holder,
		Held:    b.budget - b.free,
		Limit:   b.budget,
		Waiting: len(b.queue),
	}
}
