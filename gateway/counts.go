package gateway

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
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
	ends          [len(EndCauses)]atomic.Uint64
	answers       meter.Histogram
	broker        atomic.Pointer[Reach]
}

// Reach is what came of asking the cluster for its brokers last.
type Reach struct {
	At  time.Time
	Err error
}

// EndCauses are why connections end, as metrics name it.
var EndCauses = [...]string{
	endClient:   "client",   // it closed its side
	endCluster:  "cluster",  // the broker closed its side, or could not be reached
	endAge:      "age",      // limits.max_connection_age
	endDrain:    "drain",    // the gateway ends
	endLogin:    "login",    // not authenticated, or no longer; TLS handshakes, too
	endRefused:  "refused",  // it sent what is not served, or is no Kafka
	endSlow:     "slow",     // it took or sent too slowly, or memory was short
	endInternal: "internal", // anything else
}

const (
	endClient = iota
	endCluster
	endAge
	endDrain
	endLogin
	endRefused
	endSlow
	endInternal
)

// endCause tells why a session ended that was run with err.
func (s *session) endCause(err error) int {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}

	switch {
	case is(errAged):
		return endAge
	case is(errHandshake, errSessionExpired) || isAccessFault(err):
		return endLogin
	case is(errFrame, errServerName, errAcks0) || isClientFault(err):
		return endRefused
	case is(errUnreachable, errNoBroker, errServiceExpired, errProtocol) || err == nil && s.hungUp.Load():
		return endCluster
	case is(errSlow, errStalled, errBudget, os.ErrDeadlineExceeded):
		return endSlow
	case is(errDrainDeadline) || err == nil && s.answers.isDraining():
		return endDrain
	case is(nil, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE):
		return endClient
	}
	return endInternal
}

// ended counts how a session ended.
func (c *clusterCounts) ended(cause int, err error) {
	c.ends[cause].Add(1)
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

// EachEnd gives how many connections ended for each of EndCauses.
func (c *Cluster) EachEnd(yield func(cause string, connections uint64)) {
	for i := range c.counts.ends {
		yield(EndCauses[i], c.counts.ends[i].Load())
	}
}

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
