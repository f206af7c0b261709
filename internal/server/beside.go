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

// besideEvery is how often the files beside the decision log are looked at.
const besideEvery = time.Second

// beside is a file beside the log in which commands write what the gateway is to record.
type beside struct {
	name string
	what string // for messages
	till string // what holds while it cannot be read
	// take reads the file, and has the log say what is new in it.
	take func(ctx context.Context, dir string, keys [][32]byte) error

	looked time.Time
	seen   fs.FileInfo // nil: there was no file
	failed alarm
}

// holds are the legal holds that are added and lifted.
func (s *Server) holds() *beside {
	return &beside{
		name: audit.HoldsName,
		what: "the legal holds of the decision log",
		till: "nothing is removed from it until this is repaired",
		take: func(ctx context.Context, dir string, keys [][32]byte) error {
			all, err := audit.ReadHolds(audit.FilesIn(dir), keys)
			if err != nil {
				return err
			}
			return s.journal.TellHolds(ctx, all)
		},
	}
}

// acknowledged is what people looked into of that which went around.
func (s *Server) acknowledged() *beside {
	return &beside{
		name: audit.AcknowledgementsName,
		what: "what was acknowledged",
		till: "it alarms until this is repaired; what the log has of it stays if the file " + audit.AcknowledgementsName + " is removed",
		take: func(ctx context.Context, dir string, keys [][32]byte) error {
			all, err := audit.ReadAcknowledgements(audit.FilesIn(dir), keys)
			if err != nil {
				return err
			}
			told, err := s.journal.TellAcknowledgements(ctx, all)
			if told > 0 {
				s.reconciled.lookAgain()
			}
			return err
		},
	}
}

// watchBeside has the decision log say what commands write to files beside it, until ctx
// ends: only the gateway writes the log.
func (s *Server) watchBeside(ctx context.Context) {
	ticker := time.NewTicker(besideEvery)
	defer ticker.Stop()
	files := []*beside{s.holds(), s.acknowledged()}

	for {
		for _, b := range files {
			s.lookBeside(ctx, b)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lookBeside looks once. What failed is tried again when the file has changed, and each
// minute, since segments of the log are read for it.
func (s *Server) lookBeside(ctx context.Context, b *beside) {
	dir := s.cfg.File(s.cfg.Audit.Dir)
	now, err := os.Stat(filepath.Join(dir, b.name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.tellBeside(b, err)
		return
	}
	again := b.failed.text != "" && s.now().Sub(b.looked) >= repeatAlarm
	if !b.looked.IsZero() && !again && sameFile(now, b.seen) {
		return
	}

	b.looked = s.now()
	b.seen = now
	keys, err := s.auditKeys()
	if err == nil {
		err = b.take(ctx, dir, keys)
	}
	s.tellBeside(b, err)
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// auditKeys are those of the gateway's own log, the present one first.
func (s *Server) auditKeys() (keys [][32]byte, err error) {
	for _, path := range []string{s.cfg.Audit.KeyFile, s.cfg.Audit.PreviousKeyFile} {
		if path == "" {
			continue
		}
		key, err := disk.ReadKey(s.cfg.File(path))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (s *Server) tellBeside(b *beside, err error) {
	if err == nil {
		if b.failed.over() {
			s.log.Info(b.what + " can be read again")
		}
		return
	}
	if tell, _ := b.failed.ring(err, s.now()); tell {
		s.log.Error(b.what+": "+b.till, zap.Error(err))
	}
}
