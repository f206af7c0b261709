package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/disk"
)

// spaceEvery is how often the disk of the decision log is looked at.
const spaceEvery = time.Second

// space is what is known of the disk of the decision log. It is safe for concurrent use.
type space struct {
	low     atomic.Int64 // below so many free bytes there is alarm; 0 before the first look
	free    atomic.Int64
	unknown atomic.Bool // the system does not tell
}

// alarmed reports whether the disk has less room than it should.
func (s *space) alarmed() bool {
	return !s.unknown.Load() && s.free.Load() < s.low.Load()
}

// watchSpace looks at the disk of the decision log until ctx ends: the log takes no
// batches before it is full, and the alarm comes before that.
func (s *Server) watchSpace(ctx context.Context) {
	ticker := time.NewTicker(spaceEvery)
	defer ticker.Stop()
	var low alarm

	for {
		s.lookAtSpace(&low, disk.Space)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lookAtSpace looks once. look gives the free bytes of the disk that a path is on, and
// its size.
func (s *Server) lookAtSpace(low *alarm, look func(path string) (free, size int64, err error)) {
	free, size, err := look(s.cfg.File(s.cfg.Audit.Dir))
	s.space.unknown.Store(err != nil)
	if err != nil {
		s.journal.SetFree(-1) // better a log that may meet the end of its disk than none
		return
	}

	s.space.low.Store(s.cfg.Audit.LowDisk(size))
	s.space.free.Store(free)
	s.journal.SetFree(free)

	switch full := s.journal.Count().Full; {
	case !s.space.alarmed() && !full:
		if low.over() {
			s.log.Info("the disk of the decision log has room again", zap.Int64("free_bytes", free))
		}
	default:
		if tell, _ := low.ring(spaceProblem(full), s.now()); tell {
			s.log.Error(spaceProblem(full).Error(), zap.Int64("free_bytes", free), zap.Int64("alarm_below", s.space.low.Load()))
		}
	}
}

// spaceProblem says what too little room means.
func spaceProblem(full bool) error {
	if full {
		return errors.New("the disk of the decision log is full: what is produced is refused, to be tried again, until there is room")
	}
	return errors.New("the disk of the decision log is almost full; when it is, what is produced is refused")
}
