package audit

import (
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// The outcomes of entries about the wall clock.
const (
	ClockForward = "clock_forward" // it was set forward
	ClockBack    = "clock_back"    // it was set back
)

// The facts of an entry about the wall clock, in their order.
const (
	factClockWas  = "was"  // what it would have shown without that; at a start, the latest time of the log
	factClockIs   = "is"   // what it shows
	factClockSeen = "seen" // running or start
)

// ClockStep is a step of the wall clock that a gateway saw: it went on by other than the
// time that passed. Times of entries before and behind it cannot be compared.
type ClockStep struct {
	Was   time.Time
	Is    time.Time
	Start bool // seen when the gateway started, by the times of the log
}

// Forward reports whether the clock was set forward.
func (s *ClockStep) Forward() bool { return s.Is.After(s.Was) }

// Entry is what the log says of it.
func (s *ClockStep) Entry() ControlEntry {
	e := ControlEntry{
		Kind:    KindClock,
		Subject: "clock",
		Outcome: ClockBack,
		Facts: []Fact{
			{factClockWas, s.Was.UTC().Format(time.RFC3339Nano)},
			{factClockIs, s.Is.UTC().Format(time.RFC3339Nano)},
			{factClockSeen, "running"},
		},
	}

	if s.Forward() {
		e.Outcome = ClockForward
	}
	if s.Start {
		e.Facts[2].Value = "start"
	}
	return e
}

// Latest is the latest time of any entry of the log, those that were pruned included; it
// is zero without any. The wall clock may have been set back since.
func (l *Log) Latest() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return latestOf(max(l.w.gone, l.w.sum.MaxTime))
}

// Latest is that of what is durable of the log.
func (r *Reader) Latest() (time.Time, error) {
	segs, err := r.Refresh()
	if err != nil {
		return time.Time{}, err
	}

	anchor, err := segment.ReadAnchor(r.files)
	if err != nil {
		return time.Time{}, err
	}

	var latest int64
	if anchor != nil {
		latest = anchor.Gone.Latest
	}
	for _, s := range segs {
		if s.Seal != nil {
			latest = max(latest, s.Seal.MaxTime)
			continue
		}
		v := s.chart.view()
		_, last := v.times()
		latest = max(latest, last)
	}
	return latestOf(latest), nil
}

func latestOf(micros int64) time.Time {
	if micros <= 0 {
		return time.Time{}
	}
	return TimeOf(micros)
}
