package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/ops"
)

const (
	// clockEvery is how often the wall clock is held against the time that passed.
	clockEvery = time.Second
	// clockStep is the least step of the wall clock that is told.
	clockStep = time.Second
)

// clock is the time by which approvals, policy and grants let run. It goes on with the
// wall clock, also where that is set forward, and never back: what has ended stays ended
// when the wall clock is set back, and while that has not caught up, the time that passes
// is added. The latest time of the decision log is its beginning, so that this holds over
// a restart.
type clock struct {
	// read gives the wall clock, and the time that has passed since some moment.
	read func() (wall time.Time, passed time.Duration)

	offset atomic.Int64 // between passed and this clock, in ns; it only grows
	steps  [2]atomic.Int64
	last   atomic.Pointer[audit.ClockStep]
}

// The indexes of clock.steps.
const (
	clockForward = iota
	clockBack
)

// newClock begins a clock. A nil wall is that of the system.
func newClock(wall func() time.Time) *clock {
	began := time.Now()
	c := &clock{read: func() (time.Time, time.Duration) {
		now := time.Now() // one reading of both
		return now, now.Sub(began)
	}}
	if wall != nil {
		c.read = func() (time.Time, time.Duration) { return wall(), time.Since(began) }
	}
	return c
}

// now is never before what it was before.
func (c *clock) now() time.Time {
	wall, passed := c.read()
	at := wall.UnixNano() - int64(passed)
	return time.Unix(0, c.advance(at)+int64(passed))
}

// advance sets the offset to at least so much, and returns it.
func (c *clock) advance(at int64) int64 {
	for {
		is := c.offset.Load()
		if at <= is {
			return is
		}
		if c.offset.CompareAndSwap(is, at) {
			return at
		}
	}
}

// ahead is how far this clock is ahead of the wall clock. Less than a step is none: the
// two readings are not of the same instant.
func (c *clock) ahead() time.Duration {
	wall, _ := c.read()
	if by := c.now().Sub(wall); by >= clockStep {
		return by
	}
	return 0
}

// goesOnFrom sets the clock to a time that was seen before, if it is not past that. It
// returns the step that the wall clock seems to have taken back since; nil is none.
func (c *clock) goesOnFrom(seen time.Time) *audit.ClockStep {
	wall, passed := c.read()
	c.advance(wall.UnixNano() - int64(passed))
	if seen.IsZero() {
		return nil
	}

	c.advance(seen.UnixNano() - int64(passed))
	if seen.Sub(wall) <= clockStep {
		return nil
	}
	return &audit.ClockStep{Was: seen, Is: wall, Start: true}
}

// look reads the wall clock.
func (c *clock) look() (w clockReading) {
	w.wall, w.passed = c.read()
	return w
}

// clockReading is the wall clock as it was at a time.
type clockReading struct {
	wall   time.Time
	passed time.Duration
}

// step is that which the wall clock took since an earlier reading; nil is none. Small ones
// add up until they are told.
func (w *clockReading) step(before clockReading) *audit.ClockStep {
	was := time.Unix(0, before.wall.UnixNano()).Add(w.passed - before.passed)
	if by := time.Unix(0, w.wall.UnixNano()).Sub(was).Abs(); by <= clockStep {
		return nil
	}
	return &audit.ClockStep{Was: was, Is: w.wall}
}

// takeClock begins the clock of a gateway whose log is open.
func (s *Server) takeClock() {
	s.clock = newClock(s.now)
	s.now = s.clock.now
	s.clockSeen = s.clock.goesOnFrom(s.journal.Latest())
}

// tellStart has the log say that the wall clock was set back before the start.
func (s *Server) tellStart(ctx context.Context) error {
	if s.clockSeen == nil {
		return nil
	}
	return s.tellStep(ctx, s.clockSeen)
}

// watchClock has the log say when the wall clock is set, until ctx ends.
func (s *Server) watchClock(ctx context.Context) {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()

	for before := s.clock.look(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}

		now := s.clock.look()
		step := now.step(before)
		if step == nil {
			continue
		}

		before = now
		if err := s.tellStep(ctx, step); err != nil && ctx.Err() == nil {
			s.log.Error("the decision log does not say that the wall clock was set", zap.Error(err))
		}
	}
}

// tellStep tells everybody of a step.
func (s *Server) tellStep(ctx context.Context, step *audit.ClockStep) error {
	s.clock.last.Store(step)
	which := clockBack
	message := "the wall clock was set back: approvals, policy and grants go on by the time that they had come to"
	if step.Forward() {
		which = clockForward
		message = "the wall clock was set forward: what ends by it has ended, also once it is set back"
	}

	s.clock.steps[which].Add(1)
	s.log.Warn(message, zap.Duration("by", step.Is.Sub(step.Was)), zap.Time("was", step.Was), zap.Time("is", step.Is), zap.Bool("before_start", step.Start))
	if err := s.journal.Record(ctx, step.Entry()); err != nil {
		return fmt.Errorf("recording a step of the wall clock: %w", err)
	}
	return nil
}

// clockStatus is what status says of the clock.
func (s *Server) clockStatus() *ops.Clock {
	wall, _ := s.clock.read()
	out := &ops.Clock{
		Wall:    wall.UTC(),
		Ahead:   s.clock.ahead().Seconds(),
		Forward: s.clock.steps[clockForward].Load(),
		Back:    s.clock.steps[clockBack].Load(),
	}
	if last := s.clock.last.Load(); last != nil {
		out.Was = last.Was.UTC()
		out.Is = last.Is.UTC()
	}
	return out
}

func (v *view) measureClock(to *ops.Samples) {
	to.Value(ops.ClockSteps, float64(v.clock.steps[clockForward].Load()), "forward")
	to.Value(ops.ClockSteps, float64(v.clock.steps[clockBack].Load()), "back")
	to.Value(ops.ClockAhead, v.clock.ahead().Seconds())
}
