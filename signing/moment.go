package signing

import "time"

// moment is a time as of which something is verified. It notes every other time
// that it was compared with: between the nearest two of them the same is found
// again, outside of them it must be asked again.
type moment struct {
	now   time.Time
	skew  time.Duration // how much earlier than it says something begins
	from  time.Time     // the latest time compared with that is not after now; zero: none
	until time.Time     // the earliest that is after now; zero: none
}

// moment is now, as seen by the gateway that the trust root holds for.
func (t *TrustRoot) moment(now time.Time) *moment {
	return &moment{now: now, skew: t.gateway.ClockSkew}
}

// began reports whether what begins at t, zero for always, is to be taken as begun.
func (m *moment) began(t time.Time) bool {
	return t.IsZero() || m.reached(t.Add(-m.skew))
}

// reached reports whether t is now or in the past.
func (m *moment) reached(t time.Time) bool {
	if m.now.Before(t) {
		if m.until.IsZero() || t.Before(m.until) {
			m.until = t
		}
		return false
	}

	if t.After(m.from) {
		m.from = t
	}
	return true
}
