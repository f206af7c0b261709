// Package server is one serving gateway: it opens everything that a configuration
// names, serves until its context ends, and meanwhile reads trust, policy,
// modules, users and certificates again when their files change. Reloading keeps
// invariant 2: a module that is revoked stops within a second.
//
// Trust: the configuration, the trust root, key files and policy are trusted as
// far as ARCHITECTURE.md says; every file is hostile until it was parsed.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms"
)

// Server is everything that one serving process holds, in the order in which it
// is opened. It is closed in the reverse order.
type Server struct {
	cfg      *config.Config
	log      *Logger
	journal  *audit.Log
	runtime  *transforms.Runtime
	keys     map[string][]byte
	brokers  map[string]*broker.Embedded
	gateway  *gateway.Gateway
	files    []func() (changed bool, err error) // read again while serving
	fetchers []*auth.Fetcher

	refused string // what the last failed reload said; reload's own

	mu  sync.Mutex
	set map[string]*admission.Set // by cluster; replaced by reload
}

// Open opens what serving needs. Nothing is listened on yet.
func Open(ctx context.Context, cfg *config.Config, log *Logger) (s *Server, err error) {
	s = &Server{
		cfg:     cfg,
		log:     log,
		brokers: map[string]*broker.Embedded{},
		set:     map[string]*admission.Set{},
	}

	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(ctx))
		}
	}()

	if err := os.MkdirAll(cfg.File(cfg.DataDir), 0o700); err != nil {
		return s, fmt.Errorf("making data_dir: %w", err)
	}
	if s.keys, err = loadKeys(cfg); err != nil {
		return s, err
	}
	if s.journal, err = openJournal(cfg); err != nil {
		return s, err
	}
	if s.runtime, err = transforms.New(transforms.Config{Log: s.guestEvent}); err != nil {
		return s, fmt.Errorf("preparing the sandbox: %w", err)
	}
	if s.gateway, err = s.newGateway(); err != nil {
		return s, err
	}

	return s, nil
}

func openJournal(cfg *config.Config) (*audit.Log, error) {
	key, err := loadOrMakeKey(cfg.File(cfg.Audit.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("audit.key_file: %w", err)
	}

	dir := cfg.File(cfg.Audit.Dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit.dir: %w", err)
	}

	l, err := audit.Open(dir, audit.Options{Key: key, Node: cfg.Node, InsecureNoSync: cfg.Audit.NoSync})
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	return l, nil
}

// guestEvent logs what a module says: codes of its own catalogue, never text.
func (s *Server) guestEvent(e transforms.LogEvent) {
	s.log.Info("module event", zap.String("module", e.Module), zap.Int("level", e.Level), zap.String("reason", e.Reason),
		zap.Uint64("suppressed", e.Suppressed))
}

func (s *Server) newGateway() (*gateway.Gateway, error) {
	l := s.cfg.Limits
	gc := gateway.Config{
		Journal:        s.journal,
		Ledger:         s.journal,
		Log:            s.log.Logger,
		MaxFrame:       l.MaxFrame,
		Memory:         l.Memory,
		MaxConnections: l.MaxConnections,
		Batch:          recordbatch.Limits{MaxDecompressed: l.MaxBatch},
	}
	for _, cl := range s.cfg.Clusters {
		cc, err := s.clusterConfig(cl)
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
		gc.Clusters = append(gc.Clusters, cc)
	}

	return gateway.New(gc)
}

func (s *Server) clusterConfig(cl config.Cluster) (gateway.ClusterConfig, error) {
	host, portText, err := net.SplitHostPort(cl.Listen.Address)
	if err != nil {
		return gateway.ClusterConfig{}, err
	}

	port, err := strconv.Atoi(portText)
	if err != nil {
		return gateway.ClusterConfig{}, err
	}

	cc := gateway.ClusterConfig{
		Name:           cl.Name,
		Host:           host,
		Port:           port,
		AdvertisedHost: cl.Listen.AdvertisedHost,
		FirstNodePort:  cl.Listen.FirstNodePort,
		Telemetry:      cl.Listen.Telemetry,
		Embedded:       cl.Broker.Embedded != nil,
	}
	if cc.FirstNodePort == 0 && port != 0 {
		cc.FirstNodePort = port + 1
	}
	if cc.MinNode, cc.MaxNode, err = config.ParseNodeIDs(cl.Listen.NodeIDs); err != nil {
		return cc, err
	}

	if cl.Listen.TLS != nil {
		if cc.TLS, err = s.serverTLS(cl.Listen.TLS); err != nil {
			return cc, fmt.Errorf("listen.tls: %w", err)
		}
	}

	if sni := cl.Listen.SNI; sni != nil {
		if cc.SNI, err = gateway.ParseSNI(sni.Bootstrap, sni.Pattern); err != nil {
			return cc, fmt.Errorf("listen.sni: %w", err)
		}
	}

	if cc.Access, err = s.access(cl); err != nil {
		return cc, err
	}
	var service sasl.Mechanism
	if cc.Upstream, service, err = s.upstream(cl); err != nil {
		return cc, err
	}
	if service != nil {
		cc.Service = []kgo.Opt{kgo.SASL(service)}
	}
	if cc.Access.Terminate {
		cc.Access.Service = service
	}

	return cc, nil
}

// upstream is where a cluster's records go, and who the gateway is there.
func (s *Server) upstream(cl config.Cluster) (gateway.Upstream, sasl.Mechanism, error) {
	if e := cl.Broker.Embedded; e != nil {
		b, err := broker.OpenEmbedded(broker.EmbeddedConfig{
			DataDir:          s.cfg.File(e.Dir),
			Args:             []string{BrokerCommand},
			InsecureNoSync:   e.NoSync,
			AutoCreateTopics: true,
			Partitions:       e.Partitions,
			Log:              s.log.Named("broker"),
		})
		if err != nil {
			return nil, nil, fmt.Errorf("broker.embedded: %w", err)
		}

		s.brokers[cl.Name] = b
		return b, nil, nil
	}
	return s.realCluster(cl.Broker.Upstream)
}

func (s *Server) realCluster(u *config.Upstream) (gateway.Upstream, sasl.Mechanism, error) {
	cc := broker.ClusterConfig{}
	for _, a := range u.Bootstrap {
		addr, err := broker.ParseHostPort(a)
		if err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.bootstrap: %w", err)
		}
		cc.Bootstrap = append(cc.Bootstrap, addr)
	}

	var err error
	if u.TLS != nil {
		if cc.TLS, err = s.clientTLS(u.TLS); err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.tls: %w", err)
		}
	}

	var service sasl.Mechanism
	if u.SASL != nil {
		if service, err = s.serviceIdentity(u.SASL); err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.sasl: %w", err)
		}
	}

	c, err := broker.NewCluster(cc)
	if err != nil {
		return nil, nil, fmt.Errorf("broker.upstream: %w", err)
	}

	return c, service, nil
}

// Run serves until ctx ends. ready is called once clients can connect.
func (s *Server) Run(ctx context.Context, ready func()) error {
	if err := s.gateway.Listen(ctx); err != nil {
		return exit.WithHint(err, "choose other ports with listen.address and listen.first_node_port")
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { s.log.run(work) })

	for _, b := range s.brokers {
		wg.Go(func() {
			if err := b.Run(work); err != nil {
				s.log.Error("embedded broker ended", zap.Error(err))
			}
		})
		if err := b.Ready(ctx); err != nil {
			return fmt.Errorf("starting the embedded broker: %w", err)
		}
	}

	if err := s.reload(ctx); err != nil {
		return err
	}
	if err := s.discover(ctx); err != nil {
		return err
	}
	if err := s.journal.Record(ctx, audit.ControlEntry{
		Kind:     audit.KindStart,
		Subject:  s.cfg.Node,
		Outcome:  "started",
		Revision: build.Read().Version,
	}); err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}

	for _, cl := range s.cfg.Clusters {
		s.gateway.Cluster(cl.Name).Resolve(s.journal.Unbound())
	}
	wg.Go(func() { s.watch(work) })
	for _, f := range s.fetchers {
		wg.Go(func() { f.Run(work) })
	}

	ready()
	err := s.gateway.Run(ctx)
	return errors.Join(err, s.recordStop())
}

// discover opens the brokers' ports before anybody is told that we are ready. A
// cluster that does not answer yet is waited for while serving.
func (s *Server) discover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := s.gateway.Discover(ctx)
	if errors.Is(err, gateway.ErrNoListener) {
		return exit.WithHint(err, "each broker has a port of its own, from listen.first_node_port on: choose ports that are free")
	}
	if err != nil {
		s.log.Warn("the cluster does not answer yet; clients can connect once it does", zap.Error(err))
	}

	return nil
}

// recordStop notes the orderly end; a log without it ended in a crash.
func (s *Server) recordStop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.journal.Record(ctx, audit.ControlEntry{Kind: audit.KindStop, Subject: s.cfg.Node, Outcome: "stopped"}); err != nil {
		return fmt.Errorf("recording the stop: %w", err)
	}
	return nil
}

// Close ends what openStack opened, in the reverse order.
func (s *Server) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var errs []error
	s.mu.Lock()

	for _, set := range s.set {
		errs = append(errs, set.Close(ctx))
	}
	s.mu.Unlock()
	for _, b := range s.brokers {
		b.Close()
	}

	if s.runtime != nil {
		errs = append(errs, s.runtime.Close(ctx))
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}

	return errors.Join(errs...)
}

// BrokerCommand is the hidden subcommand that the embedded broker's process runs.
const BrokerCommand = "__broker"

// Addr is where clients of a cluster connect. It is known once ready was called.
func (s *Server) Addr(cluster string) string { return s.gateway.Cluster(cluster).Addr() }

// Decisions is the log that s writes.
func (s *Server) Decisions() *audit.Log { return s.journal }
