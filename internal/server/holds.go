package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/disk"
)

// holdsEvery is how often the legal holds of the decision log are looked at.
const holdsEvery = time.Second

// holds is what is known of the file of the legal holds.
type holds struct {
	looked time.Time
	seen   fs.FileInfo // nil: there was no file
	failed alarm
}

// watchHolds has the decision log say which legal holds are added and lifted, until ctx
// ends. Commands change them in a file, and only the gateway writes the log.
func (s *Server) watchHolds(ctx context.Context) {
	ticker := time.NewTicker(holdsEvery)
	defer ticker.Stop()
	var h holds

	for {
		s.lookAtHolds(ctx, &h)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lookAtHolds looks once. What failed is tried again when the file has changed, and each
// minute, since two segments of the log are read for it.
func (s *Server) lookAtHolds(ctx context.Context, h *holds) {
	dir := s.cfg.File(s.cfg.Audit.Dir)
	now, err := os.Stat(filepath.Join(dir, audit.HoldsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.tellHolds(h, err)
		return
	}
	again := h.failed.text != "" && s.now().Sub(h.looked) >= repeatAlarm
	if !h.looked.IsZero() && !again && sameFile(now, h.seen) {
		return
	}

	h.looked = s.now()
	h.seen = now
	s.tellHolds(h, s.takeHolds(ctx, dir))
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// takeHolds reads the holds, and gives the log what is new.
func (s *Server) takeHolds(ctx context.Context, dir string) error {
	key, err := disk.ReadKey(s.cfg.File(s.cfg.Audit.KeyFile))
	if err != nil {
		return err
	}
	keys := [][32]byte{key}
	if path := s.cfg.Audit.PreviousKeyFile; path != "" {
		previous, err := disk.ReadKey(s.cfg.File(path))
		if err != nil {
			return err
		}
		keys = append(keys, previous)
	}

	all, err := audit.ReadHolds(audit.FilesIn(dir), keys)
	if err != nil {
		return err
	}
	return s.journal.TellHolds(ctx, all)
}

func (s *Server) tellHolds(h *holds, err error) {
	if err == nil {
		if h.failed.over() {
			s.log.Info("the legal holds of the decision log can be read again")
		}
		return
	}
	if tell, _ := h.failed.ring(err, s.now()); tell {
		s.log.Error("the legal holds of the decision log: nothing is removed from it until this is repaired", zap.Error(err))
	}
}
