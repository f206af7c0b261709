package signing

import "time"

// moment is a time as of which something is verified. It notes every other time
// that it was compared with: between the nearest two of them the same is found
// again, outside of them it must be asked again.
type moment struct {
	now   time.Time
	from  time.Time // the latest time compared with that is not after now; zero: none
	until time.Time // the earliest that is after now; zero: none
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
