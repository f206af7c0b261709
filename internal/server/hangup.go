package server

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
)

// watchHangups reads everything again whenever Reload asks for it, until ctx
// ends. What cannot be used changes nothing.
func (s *Server) watchHangups(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
		}

		s.log.Info("reading everything again, the configuration included")
		if err := s.reloader.reread(ctx); err != nil {
			s.log.Error("the configuration cannot be used; the old one stays in force; run guardlock check", zap.Error(err))
		}
		s.filesAgain.Store(true)
		s.awaitReload(ctx)
		if s.reloaded != nil {
			s.reloaded()
		}
	}
}

// reloadWithin bounds the wait for a reload before it is told as done: what it cannot
// build, it tries again for as long as it takes.
const reloadWithin = 30 * time.Second

// awaitReload waits until what was read is in force.
func (s *Server) awaitReload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()

	for s.reloader.again.Load() || !s.reloader.isCurrent() {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
			s.Reload() // again: what is wrong may be mended
			return
		case <-tick.C:
		}
	}
}

// reread reads the configuration again. What of it can only take effect at a start
// is named, and the rest takes effect.
func (r *reloader) reread(ctx context.Context) error {
	old := r.termsNow().cfg
	fresh, keys, err := r.readConfig(ctx, old.Path)
	if err != nil {
		r.note(ctx, r.refused(err))
		return err
	}

	merged, needStart := old.Reloaded(fresh)
	if len(needStart) > 0 {
		r.log.Warn("some settings that changed take effect at the next start only", zap.Strings("settings", needStart))
	}

	r.mu.Lock()
	r.terms.cfg = merged
	r.terms.keys = keys
	r.terms.edition++
	r.mu.Unlock()

	r.again.Store(true)
	wake(r.wake)
	wake(r.trustAgain)
	return nil
}

// readConfig reads the configuration and the secrets that it names. Nothing is
// changed by it.
func (r *reloader) readConfig(ctx context.Context, path string) (*config.Config, map[string][]byte, error) {
	raw, err := r.files.Read(ctx, path, disk.MaxBytes)
	if err != nil {
		return nil, nil, blame(filepath.Base(path), fmt.Errorf("reading the configuration: %w", err))
	}

	cfg, err := config.Parse(raw, path)
	if err != nil {
		return nil, nil, blame(filepath.Base(path), fmt.Errorf("configuration %s: %w", path, err))
	}

	keys, err := loadKeys(cfg)
	if err != nil {
		return nil, nil, err
	}

	return cfg, keys, nil
}

// wake makes a goroutine that waits on c look again. It never waits: one
// reminder is enough for many reasons.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will
	}
}
