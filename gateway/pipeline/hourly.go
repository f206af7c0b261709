package pipeline

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
)

// reasonLimit stands in the place of a reason that is one too many.
const reasonLimit = "reason_limit"

// hourlyReasons bounds how many distinct reasons of a binding's modules get into
// the log in an hour. A module chooses its reasons, so that a long catalogue spells
// out what it was given: 255 reasons are a byte a record. Safe for concurrent use.
type hourlyReasons struct {
	most int // 0: any number

	hour atomic.Pointer[reasonHour]
	mu   sync.Mutex // of those who change hour
}

// reasonHour is immutable.
type reasonHour struct {
	ends  time.Time
	known map[string]bool
}

// limit returns what stands for a reason. full reports that the limit was reached
// just now.
func (r *hourlyReasons) limit(reason string, now time.Time) (said string, full bool) {
	if r.most == 0 || reason == unspecified {
		return reason, false
	}

	said, settled := r.hour.Load().look(reason, now)
	if settled {
		return said, false
	}
	return r.add(reason, now)
}

// look answers for a reason where the hour as it stands tells.
func (h *reasonHour) look(reason string, now time.Time) (said string, settled bool) {
	switch {
	case h == nil || !now.Before(h.ends):
		return "", false
	case h.known[reason]:
		return reason, true
	case h.known[reasonLimit]:
		return reasonLimit, true
	}
	return "", false
}

// add takes a reason that the hour does not have yet. The first one too many makes
// the limit itself known.
func (r *hourlyReasons) add(reason string, now time.Time) (said string, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	h := r.hour.Load()
	if said, settled := h.look(reason, now); settled {
		return said, false
	}

	next := &reasonHour{ends: now.Add(time.Hour), known: map[string]bool{}}
	if h != nil && now.Before(h.ends) {
		next.ends = h.ends
		next.known = maps.Clone(h.known)
	}

	said = reason
	full = len(next.known) >= r.most
	if full {
		said = reasonLimit
	}

	next.known[said] = true
	r.hour.Store(next)

	return said, full
}

const unspecified = "unspecified"

// reason is what the log says why a record was ruled as it was.
func (g *Grant) reason(rec *record.Record, now time.Time) string {
	reason := catalogued(g.Reasons, rec.Module, int(rec.Reason))
	if g.Conduct == nil {
		return reason
	}

	said, full := g.Conduct.reasons.limit(reason, now)
	if full {
		e := g.Conduct.entry("reasons_capped", reasonLimit)
		e.Module = g.Modules[rec.Module]
		g.Conduct.note(e)
	}

	return said
}
