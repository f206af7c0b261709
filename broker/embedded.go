package broker

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ErrClosed says that the embedded broker was closed and will not come back.
var ErrClosed = errors.New("embedded broker is closed")

// EmbeddedConfig configures the embedded broker. The zero value of a field gives its default.
type EmbeddedConfig struct {
	// DataDir holds topics, groups and the lock; made with mode 0700. Required.
	DataDir string
	// Args are the arguments that make this program call RunChild, such as ["__broker"]. Required.
	Args []string
	// InsecureNoSync leaves writes to the page cache: a power failure loses acknowledged records.
	InsecureNoSync bool
	// AutoCreateTopics lets metadata requests create topics.
	AutoCreateTopics bool
	// Partitions is how many a topic gets that does not say; default 3.
	Partitions int
	// Settings are broker configurations such as group.consumer.heartbeat.interval.ms.
	Settings map[string]string
	// LockTimeout bounds the wait for the data directory's last user to end; default 20 s.
	LockTimeout time.Duration
	// StopTimeout bounds a graceful end; after it the child is killed. Default 10 s.
	StopTimeout time.Duration
	// MaxBackoff bounds the pause before a restart, which doubles from 50 ms; default 5 s.
	MaxBackoff time.Duration
	// Stall is for how long the broker may leave a request unanswered before it is ended and started again; default 30 s.
	Stall time.Duration
	// Retention is how often retention.ms and retention.bytes are enforced; default 1 h.
	Retention time.Duration
	// Log gets the child's messages and its starts and ends; default none.
	Log *zap.Logger
}

// Embedded is the embedded broker: a child process that is started again when it dies. Its methods are safe for
// concurrent use.
type Embedded struct {
	// Fixed after OpenEmbedded.
	cfg    EmbeddedConfig
	child  []byte // the childConfig, as sent
	socket string
	log    *zap.Logger
	ended  chan struct{} // closed when Run returns

	// Guarded by mu.
	mu      sync.Mutex
	closed  bool               // Close was called
	cancel  context.CancelFunc // ends Run; nil until it is called
	up      chan struct{}      // closed while a child serves, replaced when it dies
	pid     int                // of the child that serves or starts, 0 between two
	serving bool               // up is closed
	starts  int                // children that came to serve
	failure error              // why Run ended
}

// Status is a moment's view of the child process. It may be out of date when it is read.
type Status struct {
	PID      int  // 0 while none runs
	Ready    bool // it serves
	Restarts int  // children that came to serve after the first
}

// OpenEmbedded makes and checks the directories, and fails where they are not ours alone. No process runs before Run.
func OpenEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.DataDir == "" || len(cfg.Args) == 0 {
		return nil, errors.New("opening embedded broker: DataDir and Args are required")
	}
	cfg = withDefaults(cfg)
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("opening embedded broker: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("opening embedded broker: %w", err)
	}
	if err := privateDir(dir); err != nil {
		return nil, fmt.Errorf("opening embedded broker: %w", err)
	}

	socket, err := socketPath(dir)
	if err != nil {
		return nil, fmt.Errorf("opening embedded broker: %w", err)
	}

	child, err := json.Marshal(childConfig{
		DataDir:     dir,
		Socket:      socket,
		ClusterID:   newClusterID(),
		NoSync:      cfg.InsecureNoSync,
		AutoCreate:  cfg.AutoCreateTopics,
		Partitions:  cfg.Partitions,
		Settings:    cfg.Settings,
		LockTimeout: cfg.LockTimeout,
		StopTimeout: cfg.StopTimeout,
		Retention:   cfg.Retention,
	})
	if err != nil {
		return nil, fmt.Errorf("opening embedded broker: %w", err)
	}

	return &Embedded{
		cfg:    cfg,
		child:  child,
		socket: socket,
		log:    cfg.Log,
		ended:  make(chan struct{}),
		up:     make(chan struct{}),
	}, nil
}

func withDefaults(cfg EmbeddedConfig) EmbeddedConfig {
	cfg.LockTimeout = orDefault(cfg.LockTimeout, 20*time.Second)
	cfg.StopTimeout = orDefault(cfg.StopTimeout, 10*time.Second)
	cfg.MaxBackoff = orDefault(cfg.MaxBackoff, 5*time.Second)
	cfg.Stall = orDefault(cfg.Stall, 30*time.Second)
	cfg.Retention = orDefault(cfg.Retention, time.Hour)

	if cfg.Partitions <= 0 {
		cfg.Partitions = 3
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}

	return cfg
}

// newClusterID makes the id of a new data directory: 16 random bytes, as Kafka's own. An old directory keeps the id
// that it has.
func newClusterID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// Close ends the child gracefully and waits for Run to return. It may be called more than once, and before Run.
func (e *Embedded) Close() {
	e.mu.Lock()
	e.closed = true
	cancel := e.cancel
	e.mu.Unlock()

	if cancel == nil {
		return
	}
	cancel()
	<-e.ended
}

// Ready waits until the broker serves. It returns why Run ended, once it has, or the error of ctx.
func (e *Embedded) Ready(ctx context.Context) error {
	e.mu.Lock()
	up := e.up
	e.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-e.ended:
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.failure
	case <-ctx.Done():
		return fmt.Errorf("waiting for embedded broker: %w", context.Cause(ctx))
	}
}

// Bootstrap gives the one address that the embedded broker names itself by.
func (e *Embedded) Bootstrap() []HostPort { return []HostPort{embeddedAddr()} }

// DialNode waits until the broker serves and connects to its socket, whatever the address.
func (e *Embedded) DialNode(ctx context.Context, _ HostPort) (net.Conn, error) {
	if err := e.Ready(ctx); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", e.socket)
	if err != nil {
		return nil, fmt.Errorf("dialing embedded broker: %w", err)
	}

	return conn, nil
}

// Status tells how the child is at this moment, for readiness checks and messages.
func (e *Embedded) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Status{PID: e.pid, Ready: e.serving, Restarts: max(0, e.starts-1)}
}
