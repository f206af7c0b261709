package transforms

import (
	"sync"
	"time"
)

const (
	logBurst    = 20
	logInterval = 100 * time.Millisecond // one more event each
)

// logGate limits the events of one module, all its instances together, and
// counts what it leaves out.
type logGate struct {
	mu         sync.Mutex
	next       time.Time // when the bucket is full again
	suppressed uint64
}

// allow reports whether an event may pass at now, and how many were held back
// before it.
func (g *logGate) allow(now time.Time) (suppressed uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next.Before(now) {
		g.next = now
	}

	if g.next.Sub(now) >= logBurst*logInterval {
		g.suppressed++
		return 0, false
	}

	g.next = g.next.Add(logInterval)
	suppressed, g.suppressed = g.suppressed, 0
	return suppressed, true
}

// hostLog is log(level, reason): an entry of the module's own catalogue, never
// text, since text could carry a record's bytes out of the gateway.
func hostLog(i *instance, a []uint64) int32 {
	level := uint32(a[0])
	reason := uint32(a[1])
	m := i.module
	if level > 3 || reason > uint32(len(m.info.Reasons)) || m.log == nil {
		return hostBadArguments
	}

	m.event(LogEvent{Level: int(level), Reason: m.reason(reason)})
	return 0
}

// event tells the log, unless there were too many a moment ago.
func (m *Module) event(e LogEvent) {
	if m.log == nil {
		return
	}
	suppressed, ok := m.gate.allow(time.Now())
	if !ok {
		return
	}

	e.Module = m.name
	e.Suppressed = suppressed
	m.log(e)
}
