package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
)

// A gateway that cannot read the trust root does not learn what was revoked. How long
// modules may run on the old one is configured; then they are refused, until the
// trust root is there again.

// freshness is how old the trust root in force is.
type freshness struct {
	usable  time.Time // when its file was last found, and found to be what is in force
	written time.Time // when that file was written
}

// until is how long modules may run by it; zero: there is no end.
func (f freshness) until(t config.Trust) time.Time {
	var end time.Time
	sooner := func(at time.Time) {
		if end.IsZero() || at.Before(end) {
			end = at
		}
	}

	if t.MaxOutage > 0 {
		sooner(f.usable.Add(t.MaxOutage))
	}
	if t.MaxAge > 0 {
		written := f.written
		if written.After(f.usable) {
			written = f.usable // by a clock that is ahead of ours
		}
		sooner(written.Add(t.MaxAge))
	}
	return end
}

// staleCode is the reason for which batches are refused meanwhile.
const staleCode = "trust_stale"

var errStale = errors.New("the trust root is too old (trust.max_age), or cannot be used for too long (trust.max_outage)")

// warnBefore is which part of the time that is left is told of: the last quarter.
const warnBefore = 4

// trustSeen notes that the trust root's file is what is in force.
func (r *reloader) trustSeen(ctx context.Context) {
	now := r.now()
	written, err := disk.Within(ctx, r.files, "the time of the trust root", func() (time.Time, error) {
		info, err := os.Stat(r.trustPath())
		if err != nil {
			return time.Time{}, err
		}
		return info.ModTime(), nil
	})
	if err != nil {
		return // it was not seen
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = freshness{now, written}
}

// judgeTrust takes all modules out of service where the trust root is too old, and
// puts them back where it is no more. It warns in time.
func (r *reloader) judgeTrust(ctx context.Context) {
	now := r.now()

	r.mu.Lock()
	trust := r.cfg.Trust
	end := r.fresh.until(trust)
	stale := !end.IsZero() && !now.Before(end)
	turned := stale != (r.stale != nil)
	if turned {
		r.stale = nil
		if stale {
			r.stale = &admission.Refused{Outcome: audit.OutcomeUnavailable, Code: staleCode, Err: errStale}
		}
		r.serveAll()
	}
	r.mu.Unlock()

	switch {
	case turned && stale:
		r.log.Error("THE TRUST ROOT IS TOO OLD: topics with modules refuse everything until it can be read and is fresh", zap.String("file", r.trustPath()))
		r.note(ctx, r.refused(blame(trust.Root, errStale)))
	case turned:
		r.log.Info("the trust root is fresh again; topics with modules are served")
	case !stale:
		r.warnOfTrust(trust, end, now)
	}
}

// warnOfTrust tells each minute that the time is running out.
func (r *reloader) warnOfTrust(t config.Trust, end, now time.Time) {
	limit := max(t.MaxAge, t.MaxOutage)
	if t.MaxAge > 0 && t.MaxOutage > 0 {
		limit = min(t.MaxAge, t.MaxOutage)
	}
	if end.IsZero() || end.Sub(now) > limit/warnBefore {
		r.trustFile.ageing.over()
		return
	}

	err := fmt.Errorf("from %s on topics with modules refuse everything", end.UTC().Format(time.RFC3339))
	if tell, _ := r.trustFile.ageing.ring(err, now); tell {
		r.log.Error("the trust root is about to be too old: write it again, or see why it cannot be read", zap.String("file", r.trustPath()), zap.Error(err))
	}
}

// trustState is how the trust root in force fares, for operators: whether its file can
// be used, and until when modules run by it. There is none without modules.
func (r *reloader) trustState() (usable bool, until time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trust == nil {
		return false, time.Time{}, false
	}
	return !r.failing, r.fresh.until(r.cfg.Trust), true
}
