// Package gateway is the Kafka listener of Guardlock: it speaks the Kafka
// protocol to stock clients, forwards what it need not understand as frames,
// and sends every produced batch through decide-record-forward.
//
// One client connection has one upstream connection, one reader goroutine
// (client to broker) and one writer goroutine (broker to client). Answers leave
// in request order. The reader never forwards a batch before its decision is in
// the decision log.
//
// Trust: bytes from clients are hostile until parsed; bytes from brokers are
// trusted to be Kafka, but their addresses must never reach a client, which
// would go around us. Nothing in here decides policy: a Bindings snapshot says
// what each (topic, principal) may do.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/meter"
)

// DecisionLog is where decisions become durable. Beside what the pipeline asks
// of it, it remembers which forwarded batches have no answer yet and which
// stand where, and recognises their bytes. A batch that Unplaced no longer
// lists is known to every PlacedAt that is called after. It is safe for
// concurrent use.
type DecisionLog interface {
	pipeline.DecisionLog
	Unplaced() []audit.BatchRef
	Matches(r audit.BatchRef, batch []byte) bool
	PlacedAt(ctx context.Context, t audit.Target, offset int64) ([]audit.BatchRef, error)
	Record(ctx context.Context, c audit.ControlEntry) error
	HasEra(ctx context.Context, t audit.Target) (bool, error)
}

// Listen opens a listening TCP socket. It is safe for concurrent use.
type Listen func(ctx context.Context, address string) (net.Listener, error)

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// Config is what a Gateway is built from. Every value is already checked; zero
// values have defaults.
type Config struct {
	Clusters  []ClusterConfig
	Decisions DecisionLog
	Log       *zap.Logger
	Now       func() time.Time // by which grants end; nil: time.Now
	Listen    Listen           // nil: the system's

	MaxFrame       int                // bytes; 0: 100 MiB + 64 KiB, above Kafka's own default
	Memory         int64              // bytes of frames held at once over all connections; 0: 1 GiB
	Batch          recordbatch.Limits // bounds of one decompressed batch
	MaxConnections int                // per cluster; 0: 20,000
	// MaxConnectionAge is how old a connection gets; it ends between two requests. 0: as old as its client wants.
	MaxConnectionAge time.Duration
	FrameTimeout     time.Duration // for a frame that has begun, and for buffer memory; 0: 30 s
	DialTimeout      time.Duration // 0: 10 s
	AuthTimeout      time.Duration // for a client to authenticate; 0: 10 s
	WriteTimeout     time.Duration // for a client to take its answers; 0: 2 min
	DrainTimeout     time.Duration // at shutdown, for answers that are owed; 0: 20 s
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Listen == nil {
		c.Listen = listenTCP
	}
	c.MaxFrame = orDefault(c.MaxFrame, 100<<20+64<<10)
	c.Memory = orDefault(c.Memory, 1<<30)
	c.MaxConnections = orDefault(c.MaxConnections, 20_000)
	c.FrameTimeout = orDefault(c.FrameTimeout, 30*time.Second)
	c.DialTimeout = orDefault(c.DialTimeout, 10*time.Second)
	c.AuthTimeout = orDefault(c.AuthTimeout, 10*time.Second)
	c.WriteTimeout = orDefault(c.WriteTimeout, 2*time.Minute)
	c.DrainTimeout = orDefault(c.DrainTimeout, 20*time.Second)
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Gateway serves one or more virtual clusters, which share its memory, its
// workers and its decision log. Its methods are safe for concurrent use.
type Gateway struct {
	// Fixed after New.
	cfg      Config
	clusters []*Cluster
	memory   *memory
	workers  *pipeline.Workers
	lastConn atomic.Uint64
	sources  sources
	lastSlow atomic.Int64 // when endSlow last looked, in nanoseconds since the epoch
}

// New builds a gateway; it opens nothing. It fails where the memory is too
// small for the largest frame.
func New(cfg Config) (*Gateway, error) {
	cfg.setDefaults()
	if cfg.Memory < 4*int64(cfg.MaxFrame) {
		// A quarter of the memory is for answers, and one answer may be as
		// large as a request.
		return nil, fmt.Errorf("limits.memory (%d bytes) must be at least four times limits.max_frame (%d bytes)", cfg.Memory, cfg.MaxFrame)
	}

	g := &Gateway{cfg: cfg, memory: newMemory(cfg.Memory, cfg.MaxFrame), workers: pipeline.NewWorkers(2*runtime.GOMAXPROCS(0), cfg.Batch)}
	g.memory.answers.starving = g.closeStalled
	g.memory.requests.starving = g.endSlow

	for _, cc := range cfg.Clusters {
		c, err := newCluster(g, cc)
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cc.Name, err)
		}
		g.clusters = append(g.clusters, c)
	}

	return g, nil
}

// Cluster returns the virtual cluster with that name, or nil if there is none.
func (g *Gateway) Cluster(name string) *Cluster {
	for _, c := range g.clusters {
		if c.cfg.Name == name {
			return c
		}
	}
	return nil
}

// stallLimit is how long a client may leave an answer unread while others wait
// for the memory that it takes.
const stallLimit = 5 * time.Second

// closeStalled ends connections whose clients do not take their answers, since
// these hold memory that others wait for.
func (g *Gateway) closeStalled() {
	for _, c := range g.clusters {
		c.mu.Lock()
		for s := range c.sessions {
			if since := s.answers.blockedSince.Load(); since != 0 && meter.Now().Since(meter.Moment(since)) > stallLimit {
				s.kill(errStalled)
			}
		}
		c.mu.Unlock()
	}
}

// Listen binds every bootstrap listener, so that a busy port is an error
// before anything else happens.
func (g *Gateway) Listen(ctx context.Context) error {
	for _, c := range g.clusters {
		if err := c.listen(ctx); err != nil {
			for _, other := range g.clusters {
				other.closeListeners()
			}
			return err
		}
	}
	return nil
}

// ErrNoListener means that a broker cannot be shown to clients, because its
// port is taken or outside the configured range.
var ErrNoListener = errNode

// Run serves until ctx ends, then drains: no new connections, requests already
// read are answered, until DrainTimeout. Listen must have succeeded. It returns
// after every goroutine it started has ended.
func (g *Gateway) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(g.clusters))
	for i, c := range g.clusters {
		wg.Go(func() { errs[i] = c.run(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
