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
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/adopt"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/handed"
	"github.com/guardlock/guardlock/transforms"
)

// Server is everything that one serving process holds, in the order in which it
// is opened. It is closed in the reverse order.
type Server struct {
	cfg      *config.Config
	log      *Logger
	journal  *audit.Log
	commits  *committer
	runtime  *transforms.Runtime
	keys     map[string][]byte
	brokers  map[string]*broker.Embedded
	gateway  *gateway.Gateway
	reader   *disk.Reader
	reloader *reloader
	startedWith

	renewed
	watching
	asked
	busy bool // a reload did not end in time; its modules cannot be closed
}

// startedWith is what a Server is given by whoever starts it.
type startedWith struct {
	now     func() time.Time // the wall clock, nil for the system's; once the log is open, that by which approvals and policy let run
	sockets *handed.Sockets
}

// renewed is what is read again while the gateway serves.
type renewed struct {
	files        []refresher // of users, keys, passwords, certificates
	fetchers     []*auth.Fetcher
	certificates []certificate
}

// asked is what was asked of a Server from outside.
type asked struct {
	hangups    chan struct{} // asks for Reload; holds one
	reloaded   func()        // told when that is done; nil: nobody wants to know
	filesAgain atomic.Bool   // asks watchFiles to read all
}

// readWithin is how long a file may take to be read before its disk counts as
// hanging.
const readWithin = 10 * time.Second

// Open opens what serving needs. Nothing is listened on yet, and no module
// runs. On an error everything is closed again.
func Open(ctx context.Context, cfg *config.Config, log *Logger) (*Server, error) {
	return OpenWith(ctx, cfg, log, nil)
}

// OpenWith is Open with sockets that the process was handed.
func OpenWith(ctx context.Context, cfg *config.Config, log *Logger, sockets *handed.Sockets) (*Server, error) {
	return open(ctx, cfg, log, startedWith{sockets: sockets})
}

// open is Open with what Open itself is not given.
func open(ctx context.Context, cfg *config.Config, log *Logger, with startedWith) (s *Server, err error) {
	s = &Server{
		cfg:         cfg,
		log:         log,
		brokers:     map[string]*broker.Embedded{},
		reader:      disk.NewReader(readWithin),
		asked:       asked{hangups: make(chan struct{}, 1)},
		watching:    watching{reconciled: reconciled{again: make(chan struct{}, 1)}},
		startedWith: with,
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
	if s.journal, err = openJournal(cfg, s.now); err != nil {
		return s, err
	}
	s.takeClock()
	if s.commits, err = openCommitter(ctx, cfg, log, s.journal); err != nil {
		return s, err
	}
	if s.runtime, err = transforms.New(transforms.Config{Log: s.guestEvent, Trial: []string{transforms.TrialCommand}, Worker: []string{transforms.WorkerCommand}}); err != nil {
		return s, fmt.Errorf("preparing the sandbox: %w", err)
	}
	if err = s.openTraces(ctx); err != nil {
		return s, err
	}
	if s.gateway, err = s.newGateway(); err != nil {
		return s, err
	}

	s.reloader = newReloader(s)
	return s, s.openOps(ctx)
}

// openJournal opens the decision log for writing, with its key, which is made
// at the first start.
func openJournal(cfg *config.Config, wall func() time.Time) (*audit.Log, error) {
	dir := cfg.File(cfg.Audit.Dir)
	if pending, err := adopt.Pending(dir); err != nil || pending {
		return nil, exit.WithHint(errors.Join(errors.New("a new decision log is being made in the place of the old one, which was not finished"), err), adoptHint)
	}

	segments, err := filepath.Glob(filepath.Join(dir, "audit-*.wal"))
	if err != nil {
		return nil, fmt.Errorf("audit.dir: %w", err)
	}

	// With a previous key the new one may well be made now.
	logIsThere := len(segments) > 0 && cfg.Audit.PreviousKeyFile == ""
	key, err := loadOrMakeKey(cfg.File(cfg.Audit.KeyFile), logIsThere)
	if err != nil {
		return nil, fmt.Errorf("audit.key_file: %w", err)
	}

	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit.dir: %w", err)
	}

	opt := audit.Options{
		Key:            key,
		Node:           cfg.Node,
		Adopt:          cfg.Audit.Adopt,
		InsecureNoSync: cfg.Audit.NoSync,
		Now:            wall,
	}

	if cfg.Audit.PreviousKeyFile != "" {
		previous, err := disk.ReadKey(cfg.File(cfg.Audit.PreviousKeyFile))
		if err != nil {
			return nil, fmt.Errorf("audit.previous_key_file: %w", err)
		}
		opt.PreviousKey = &previous
	}

	l, err := audit.Open(dir, opt)
	if err != nil {
		return nil, journalError(dir, err)
	}

	return l, nil
}

// adoptHint is for who has a log that cannot be gone on with.
const adoptHint = "where it is lost, begin a new one that links to this: `guardlock audit adopt --config FILE --reason TEXT`"

// journalError says what the operator of a log can do that cannot be opened.
func journalError(dir string, err error) error {
	err = fmt.Errorf("opening the decision log: %w", err)
	switch {
	case errors.Is(err, audit.ErrForeign):
		return exit.WithHint(err, "give this gateway a directory of its own (audit.dir, or data_dir); or, if it is to continue that log, name the other gateway in audit.adopt, or the key that the log is under in audit.previous_key_file")
	case errors.Is(err, audit.ErrLocked), errors.Is(err, audit.ErrTakenOver):
		return exit.WithHint(err, "give each gateway a directory of its own (audit.dir, or data_dir)")
	case errors.Is(err, audit.ErrUntagged):
		return exit.WithHint(err, "if this gateway wrote it with a version from before, set audit.adopt to its own name for one start; else put the directory back from a copy")
	case errors.Is(err, audit.ErrNoMark):
		return exit.WithHint(err, "put the directory back from a copy; or, to continue it as it is, set audit.adopt to this gateway's own name for one start")
	case errors.Is(err, audit.ErrCorrupt):
		return exit.WithHint(err, "keep the files as they are, and run `guardlock audit verify --dir %s`; put the directory back from a copy, or "+adoptHint, dir)
	}

	return err
}

// guestEvent logs what a module says: codes of its own catalogue, never text,
// which could hold a record.
func (s *Server) guestEvent(e transforms.LogEvent) {
	s.log.Info("module event", zap.String("module", e.Module), zap.Int("level", e.Level), zap.String("reason", e.Reason),
		zap.Uint64("suppressed", e.Suppressed))
}

// tendLog does what the decision log needs beside decisions, until ctx ends.
func (s *Server) tendLog(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { s.index(ctx) })
	wg.Go(func() { s.watchSpace(ctx) })
	wg.Go(func() { s.watchBeside(ctx) })
	wg.Go(func() { s.watchClock(ctx) })
	wg.Go(func() { s.watchReconciled(ctx) })
}

// Run serves until ctx ends. ready is called with each cluster's name once clients
// can connect and the cluster answers; it must be safe for concurrent use.
func (s *Server) Run(ctx context.Context, ready func(cluster string)) error {
	if err := s.gateway.Listen(ctx); err != nil {
		return exit.WithHint(err, "choose other ports with listen.address and listen.first_node_port")
	}

	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { s.phase.Store(phaseStopping) })()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { s.log.run(work) })
	wg.Go(func() { s.reloader.conduct.run(work, s.reloader) })
	s.tendLog(work, &wg)
	wg.Go(func() { s.serveOps(work) })

	if err := s.startBrokers(ctx, work, &wg); err != nil {
		return err
	}

	waiting, err := s.start(ctx, ready)
	if err != nil {
		return err
	}

	s.phase.CompareAndSwap(phaseStarting, phaseServing)
	for _, cluster := range waiting {
		wg.Go(func() { s.await(ctx, cluster, ready) })
	}

	wg.Go(func() { s.reloader.watchTrust(work) })
	wg.Go(func() { s.watchFiles(work) })
	wg.Go(func() { s.watchHangups(work) })

	for _, f := range s.fetchers {
		wg.Go(func() { f.Run(work) })
	}
	reloads := make(chan struct{})
	go func() { s.reloader.watch(work); close(reloads) }()

	err = s.serve(ctx, work, &wg)
	stop()
	s.busy = !endedWithin(reloads, reloadGrace)
	return errors.Join(err, s.recordStop())
}

// startBrokers starts the embedded brokers and waits until they answer.
func (s *Server) startBrokers(ctx, work context.Context, wg *sync.WaitGroup) error {
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

	return nil
}

// serve serves clients until ctx ends, or until somebody tells that the decision log
// is not the one that was vouched for.
func (s *Server) serve(ctx, work context.Context, wg *sync.WaitGroup) error {
	serving, halt := context.WithCancelCause(ctx)
	defer halt(nil)
	wg.Go(func() { halt(s.commits.run(work)) })

	err := s.gateway.Run(serving)
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, context.Cause(serving))
}

// index keeps indexes beside the finished segments of the decision log.
func (s *Server) index(ctx context.Context) {
	s.journal.Index(ctx, func(err error) { s.log.Warn("queries of the decision log will be slow", zap.Error(err)) })
}

// start does what comes before the first client: everything is admitted, the start
// is in the log, and the clusters were asked for their brokers. Those that did not
// answer are returned.
func (s *Server) start(ctx context.Context, ready func(cluster string)) (waiting []string, err error) {
	if err := s.tellStart(ctx); err != nil {
		return nil, err
	}
	if err := s.reloader.load(ctx); err != nil {
		return nil, err
	}
	if err := s.recordStart(ctx); err != nil {
		return nil, err
	}

	for _, cl := range s.cfg.Clusters {
		s.gateway.Cluster(cl.Name).Resolve(s.journal.Unplaced())
	}

	waiting, err = s.announce(ctx, ready)
	if err != nil {
		return nil, errors.Join(err, s.recordStop())
	}

	if left := s.sockets.Left(); len(left) > 0 {
		s.log.Warn("nothing listens on sockets that were handed over: whoever connects there waits; see listen in the configuration, and how many brokers the cluster has",
			zap.Strings("sockets", left))
	}

	return waiting, nil
}

// reloadGrace is how long the end waits for a reload. A module may take long to
// compile, and nobody waits for that when the gateway is to stop.
const reloadGrace = 2 * time.Second

func endedWithin(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// OnReload has done called whenever what Reload asked for is in force, or cannot be
// used. It must be called before Run.
func (s *Server) OnReload(done func()) { s.reloaded = done }

// Reload reads everything again, the configuration included, and returns at once.
// What cannot be used changes nothing; the log says so.
func (s *Server) Reload() {
	select {
	case s.hangups <- struct{}{}:
	default: // one is waiting already
	}
}

func (s *Server) recordStart(ctx context.Context) error {
	err := s.journal.Record(ctx, audit.ControlEntry{
		Kind:     audit.KindStart,
		Subject:  s.cfg.Node,
		Outcome:  "started",
		Revision: build.Read().Version,
	})
	if err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}

	return nil
}

// recordStop notes the orderly end in the decision log. A log without it ended
// in a crash.
func (s *Server) recordStop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.journal.Record(ctx, audit.ControlEntry{Kind: audit.KindStop, Subject: s.cfg.Node, Outcome: "stopped"}); err != nil {
		return fmt.Errorf("recording the stop: %w", err)
	}
	return nil
}

// Close ends what Open opened, in the reverse order. It may be called for a
// Server that was opened in part.
func (s *Server) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var errs []error

	s.sockets.Close()
	if s.ops != nil {
		s.ops.Close() // it has ended by itself if it was run
	}
	if s.reloader != nil && !s.busy {
		errs = append(errs, s.reloader.close(ctx))
	}

	for _, b := range s.brokers {
		b.Close()
	}
	if s.traces != nil {
		errs = append(errs, s.traces.Close(ctx))
	}

	if s.runtime != nil && !s.busy {
		for _, m := range s.runtime.Metrics() {
			s.log.Info("a module counted", zap.String("module", m.Module), zap.String("metric", m.Name), zap.Uint64("value", m.Value))
		}
		errs = append(errs, s.runtime.Close(ctx))
	}

	if s.commits != nil {
		errs = append(errs, s.commits.commit(ctx)) // of all that was recorded
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

// Decisions is the decision log that s writes, for those who read it while it
// is written.
func (s *Server) Decisions() *audit.Log { return s.journal }
