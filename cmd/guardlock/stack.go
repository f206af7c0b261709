package main

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
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms"
)

// stack is everything that one serving process holds, in the order in which it
// is opened. It is closed in the reverse order.
type stack struct {
	cfg      *config
	log      *zap.Logger
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

// openStack opens what serving needs. Nothing is listened on yet.
func openStack(ctx context.Context, cfg *config, log *zap.Logger) (s *stack, err error) {
	s = &stack{cfg: cfg, log: log, brokers: map[string]*broker.Embedded{}, set: map[string]*admission.Set{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if err := os.MkdirAll(cfg.file(cfg.DataDir), 0o700); err != nil {
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

func openJournal(cfg *config) (*audit.Log, error) {
	key, err := loadOrMakeKey(cfg.file(cfg.Audit.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("audit.key_file: %w", err)
	}
	dir := cfg.file(cfg.Audit.Dir)
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
func (s *stack) guestEvent(e transforms.LogEvent) {
	s.log.Info("module event", zap.String("module", e.Module), zap.Int("level", e.Level), zap.String("reason", e.Reason),
		zap.Uint64("suppressed", e.Suppressed))
}

func (s *stack) newGateway() (*gateway.Gateway, error) {
	l := s.cfg.Limits
	gc := gateway.Config{
		Journal: s.journal, Ledger: s.journal, Log: s.log,
		MaxFrame: l.MaxFrame, Memory: l.Memory, MaxConnections: l.MaxConnections,
		Batch: recordbatch.Limits{MaxDecompressed: l.MaxBatch},
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

func (s *stack) clusterConfig(cl clusterConfig) (gateway.ClusterConfig, error) {
	host, portText, err := net.SplitHostPort(cl.Listen.Address)
	if err != nil {
		return gateway.ClusterConfig{}, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return gateway.ClusterConfig{}, err
	}
	cc := gateway.ClusterConfig{Name: cl.Name, Host: host, Port: port, AdvertisedHost: cl.Listen.AdvertisedHost,
		FirstNodePort: cl.Listen.FirstNodePort, Telemetry: cl.Listen.Telemetry, Embedded: cl.Broker.Embedded != nil}
	if cc.FirstNodePort == 0 && port != 0 {
		cc.FirstNodePort = port + 1
	}
	if cc.MinNode, cc.MaxNode, err = parseNodeIDs(cl.Listen.NodeIDs); err != nil {
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
	cc.Upstream, cc.Service, err = s.upstream(cl)
	return cc, err
}

func (s *stack) upstream(cl clusterConfig) (gateway.Upstream, []kgo.Opt, error) {
	if e := cl.Broker.Embedded; e != nil {
		b, err := broker.OpenEmbedded(broker.EmbeddedConfig{
			DataDir: s.cfg.file(e.Dir), Args: []string{brokerCommand}, InsecureNoSync: e.NoSync, AutoCreateTopics: true,
			Partitions: e.Partitions, Log: s.log.Named("broker"),
		})
		if err != nil {
			return nil, nil, fmt.Errorf("broker.embedded: %w", err)
		}
		s.brokers[cl.Name] = b
		return b, nil, nil
	}
	return s.realCluster(cl.Broker.Upstream)
}

func (s *stack) realCluster(u *upstreamConfig) (gateway.Upstream, []kgo.Opt, error) {
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
		if cc.TLS, err = clientTLS(s.cfg, u.TLS); err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.tls: %w", err)
		}
	}
	var service []kgo.Opt
	if u.SASL != nil {
		mechanism, err := serviceIdentity(s.cfg, u.SASL)
		if err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.sasl: %w", err)
		}
		service = append(service, kgo.SASL(mechanism))
	}
	c, err := broker.NewCluster(cc)
	if err != nil {
		return nil, nil, fmt.Errorf("broker.upstream: %w", err)
	}
	return c, service, nil
}

// run serves until ctx ends. ready is called once clients can connect.
func (s *stack) run(ctx context.Context, ready func()) error {
	if err := s.gateway.Listen(ctx); err != nil {
		return withHint(err, "choose other ports with listen.address and listen.first_node_port")
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
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
	if err := s.journal.Record(ctx, audit.ControlEntry{Kind: audit.KindStart, Subject: s.cfg.Node, Outcome: "started", Revision: readBuildInfo().Version}); err != nil {
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
func (s *stack) discover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := s.gateway.Discover(ctx)
	if errors.Is(err, gateway.ErrNoListener) {
		return withHint(err, "each broker has a port of its own, from listen.first_node_port on: choose ports that are free")
	}
	if err != nil {
		s.log.Warn("the cluster does not answer yet; clients can connect once it does", zap.Error(err))
	}
	return nil
}

// recordStop notes the orderly end; a log without it ended in a crash.
func (s *stack) recordStop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.journal.Record(ctx, audit.ControlEntry{Kind: audit.KindStop, Subject: s.cfg.Node, Outcome: "stopped"}); err != nil {
		return fmt.Errorf("recording the stop: %w", err)
	}
	return nil
}

// close ends what openStack opened, in the reverse order.
func (s *stack) close(ctx context.Context) error {
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

// brokerCommand is the hidden subcommand that the embedded broker's process runs.
const brokerCommand = "__broker"
