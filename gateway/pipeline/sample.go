package pipeline

import (
	"sync"
	"time"
)

// linesPerSecond is how many refusals are logged in a second, enough to see
// what goes on.
const linesPerSecond = 10

// sample chooses which refusals are logged: the first few of each second. The
// zero sample is ready to use. It is safe for concurrent use.
type sample struct {
	mu      sync.Mutex
	second  time.Time // when the second began
	taken   int       // lines in it
	skipped uint64    // since the last line
}

// take reports whether this refusal is logged, and how many before it were not.
func (s *sample) take(now time.Time) (skipped uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.second) >= time.Second {
		s.second = now
		s.taken = 0
	}

	if s.taken >= linesPerSecond {
		s.skipped++
		return 0, false
	}

	s.taken++
	skipped = s.skipped
	s.skipped = 0
	return skipped, true
}
