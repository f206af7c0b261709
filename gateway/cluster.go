package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/wire"
)

// Upstream makes connections to the brokers of one cluster. Dial must honour
// ctx and be safe for concurrent use; addr is a broker's own host:port, which
// an implementation may ignore where there is only one way to go.
type Upstream interface {
	Bootstrap() []broker.HostPort
	DialNode(ctx context.Context, addr broker.HostPort) (net.Conn, error)
}

// ClusterConfig describes one virtual cluster: where clients come in, and where
// their requests go.
type ClusterConfig struct {
	Name     string
	Upstream Upstream
	Service  []kgo.Opt // identity of the gateway's own requests (SASL); dialing is set by us
	Embedded bool      // the broker is kfake: its limits are enforced here (compaction)

	Host           string // address to listen on
	Port           int    // bootstrap port; 0 picks one (tests)
	AdvertisedHost string // what clients are told; empty: Host
	FirstNodePort  int    // port of broker MinNode; 0 picks free ports (tests)
	MinNode        int32
	MaxNode        int32       // brokers outside MinNode..MaxNode cannot be advertised
	TLS            *tls.Config // nil: plaintext
	SNI            *SNI        // nil: a port per broker; needs TLS
	Access         AccessConfig

	Telemetry bool            // let KIP-714 client metrics through
	Tracer    pipeline.Tracer // nil: no batch is traced
}

// Cluster is one virtual cluster: its listeners, its connections, and the
// gateway's own client of the brokers. It is safe for concurrent use.
type Cluster struct {
	// Fixed after newCluster.
	gw     *Gateway
	cfg    ClusterConfig
	log    *zap.Logger
	admin  *kgo.Client // the gateway's own requests
	topics *topicNames
	api    wire.ApiOptions

	pipeline *pipeline.Pipeline
	bindings atomic.Pointer[Bindings]
	resolver *resolver
	eras     *eras
	settings topicSettings
	counts   clusterCounts

	listening
}

// listening is what a cluster has open, guarded by mu but for what says
// otherwise.
type listening struct {
	mu       sync.Mutex
	nodes    map[int32]*node
	boot     net.Listener
	sessions map[*session]struct{}
	draining bool
	late     []net.Conn // taken while the listeners closed
	accepts  sync.WaitGroup
	serving  sync.WaitGroup
	ctx      context.Context // of everything served; set by listen
	cancel   context.CancelFunc
	looked   time.Time // when a client's wish made us learn the brokers
}

// node is one upstream broker and the listener that stands for it. The gateway
// shows clients this listener in the place of the broker.
type node struct {
	upstream atomic.Pointer[broker.HostPort] // as the cluster last reported it
	listener net.Listener                    // nil: it shares the bootstrap listener (SNI)
	host     string                          // what clients are told; empty: AdvertisedHost
	port     int
}

// newCluster makes a cluster that listens on nothing yet and whose topics take
// nothing until SetBindings.
func newCluster(g *Gateway, cfg ClusterConfig) (*Cluster, error) {
	if cfg.AdvertisedHost == "" {
		cfg.AdvertisedHost = cfg.Host
	}
	c := &Cluster{
		gw:        g,
		cfg:       cfg,
		log:       g.cfg.Log.Named(cfg.Name),
		topics:    &topicNames{},
		api:       apiOptions(cfg),
		listening: listening{nodes: map[int32]*node{}, sessions: map[*session]struct{}{}},
	}

	c.topics.missing = func(topic string, unlogged uint64) {
		c.log.Info("a client asked for a topic that the cluster does not have; it may wait until it times out",
			zap.String("topic", topic), zap.Uint64("unlogged_before", unlogged))
	}

	c.eras = newEras(c)
	c.topics.learned = c.eras.learned
	c.topics.led = c.eras.led
	c.bindings.Store(NewBindings(nil, pipeline.Unbound))
	admin, err := cfg.client()
	if err != nil {
		return nil, fmt.Errorf("building the gateway's own client: %w", err)
	}

	c.admin = admin
	c.pipeline = pipeline.New(pipeline.Config{
		Cluster:      cfg.Name,
		Log:          g.cfg.Decisions,
		Topics:       c,
		Eras:         c.eras,
		Router:       c,
		Workers:      g.workers,
		Tracer:       cfg.Tracer,
		Now:          g.cfg.Now,
		RouteTimeout: 2 * g.cfg.DialTimeout,
	})

	c.resolver = newResolver(c)
	return c, nil
}

// client makes a client with the gateway's own identity.
func (c ClusterConfig) client(more ...kgo.Opt) (*kgo.Client, error) {
	var seeds []string
	for _, a := range c.Upstream.Bootstrap() {
		seeds = append(seeds, a.String())
	}

	opts := append([]kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.Dialer(c.dial),
		kgo.ClientID("guardlock"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, c.Service...)
	return kgo.NewClient(append(opts, more...)...)
}

// Client makes a client with the gateway's own identity, for work beside that of
// clients: neither waits for the other's requests. The caller closes it.
func (c *Cluster) Client(more ...kgo.Opt) (*kgo.Client, error) { return c.cfg.client(more...) }

// dial is how the gateway's own client connects: by the same way as the
// clients' connections.
func (c ClusterConfig) dial(ctx context.Context, _, host string) (net.Conn, error) {
	addr, err := broker.ParseHostPort(host)
	if err != nil {
		return nil, err
	}
	return c.Upstream.DialNode(ctx, addr)
}

// SetBindings swaps the snapshot. Batches already being decided finish under
// the old one; every later one sees the new.
func (c *Cluster) SetBindings(b *Bindings) { c.bindings.Store(b) }

// Resolve hands over decisions whose outcome is unknown, from a crash or a lost
// connection: they are looked for in the topic itself. Those of other clusters
// are left to them.
func (c *Cluster) Resolve(refs []audit.BatchRef) {
	var seqs []uint64
	for _, r := range refs {
		if c.owns(r) {
			seqs = append(seqs, r.Seq)
		}
	}
	c.resolver.add(seqs)
}

// owns reports whether a decision was made in this cluster: another may have a
// topic of the same name.
func (c *Cluster) owns(r audit.BatchRef) bool { return r.Cluster == c.cfg.Name }

// Unresolved returns how many decisions still wait to be matched to the topic,
// after a crash or a lost connection.
func (c *Cluster) Unresolved() int { return c.resolver.len() }

// Addr returns the bootstrap listener's address. Listen must have succeeded.
func (c *Cluster) Addr() string { return c.boot.Addr().String() }

func (c *Cluster) listen(ctx context.Context) error {
	addr := net.JoinHostPort(c.cfg.Host, strconv.Itoa(c.cfg.Port))
	ln, err := c.gw.cfg.Listen(ctx, addr)
	if err != nil {
		return fmt.Errorf("listening for clients of cluster %s on %s: %w", c.cfg.Name, addr, err)
	}

	c.boot = ln
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return nil
}

func (c *Cluster) closeListeners() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true

	if c.boot != nil {
		c.boot.Close()
	}
	for _, n := range c.nodes {
		if n.listener != nil {
			n.listener.Close()
		}
	}
}

// run serves the cluster until ctx ends and everything is drained, or the
// deadline for that has passed.
func (c *Cluster) run(ctx context.Context) error {
	defer c.cancel()
	c.accepts.Go(func() { c.accept(c.boot, c.bootstrapTarget()) })
	c.accepts.Go(func() { c.discover(ctx) })
	c.accepts.Go(func() { c.resolver.run(ctx) })

	<-ctx.Done()
	c.closeListeners()
	c.drain(c.cancel)
	c.cancel()
	// Our own requests to a broker that hangs end only with their client; the
	// clients' answers must not wait for them.
	c.admin.Close()
	c.accepts.Wait()
	c.endLate()

	return nil
}

func (c *Cluster) endLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.late {
		abort(client)
	}
	c.late = nil
}

// drain lets connections finish what they have read, and ends those that have
// not within DrainTimeout.
func (c *Cluster) drain(cancel context.CancelFunc) {
	c.mu.Lock()
	for s := range c.sessions {
		s.drain()
	}
	c.mu.Unlock()
	done := make(chan struct{})
	go func() { c.serving.Wait(); close(done) }()
	timer := time.NewTimer(c.gw.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
		c.log.Warn("drain deadline passed; closing the remaining connections")
	}

	cancel()
	c.mu.Lock()
	for s := range c.sessions {
		s.kill(errDrainDeadline)
	}
	c.mu.Unlock()
	<-done
}

var errDrainDeadline = errors.New("drain deadline passed")

// target names the broker that a listener stands for, and where it is now.
type target struct {
	node int32 // -1: any bootstrap server
	addr func() (broker.HostPort, bool)
}

func (c *Cluster) bootstrapTarget() target {
	servers := c.cfg.Upstream.Bootstrap()
	var next atomic.Uint32
	return target{node: -1, addr: func() (broker.HostPort, bool) { return servers[int(next.Add(1)-1)%len(servers)], true }}
}

// accept serves one listener until it is closed. Each connection has goroutines
// of its own.
func (c *Cluster) accept(ln net.Listener, to target) {
	for {
		client, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}

		if err != nil {
			// The process may be out of descriptors: to back off gives others
			// the time to end.
			c.log.Warn("accepting a connection failed", zap.Error(err))
			if !sleep(c.ctx, 50*time.Millisecond) {
				return
			}
			continue
		}

		c.serve(client, to)
	}
}

// serve starts a connection's goroutines, unless there are as many as
// MaxConnections or the cluster ends.
func (c *Cluster) serve(client net.Conn, to target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		// One that waited for the socket's next owner came just too early. A reset now may
		// look to it as if nobody were there; at the end it connects again, to that owner.
		c.counts.turnedAway.Add(1)
		c.late = append(c.late, client)
		return
	}
	if len(c.sessions) >= c.gw.cfg.MaxConnections {
		c.counts.turnedAway.Add(1)
		abort(client)
		return
	}

	if c.cfg.TLS != nil {
		client = tls.Server(client, c.cfg.TLS)
	}
	s := newSession(c, client)
	c.sessions[s] = struct{}{}
	c.counts.accepted.Add(1)
	c.serving.Go(func() {
		err := s.run(c.ctx, to)
		c.counts.ended(s.endCause(err), err)
		c.mu.Lock()
		delete(c.sessions, s)
		c.mu.Unlock()
		s.logEnd(err)
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
