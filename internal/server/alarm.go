package server

import "time"

// alarm tells of one kind of failure when it begins or changes, each minute while
// it lasts, and not each time that it is met.
type alarm struct {
	text string
	told time.Time
}

// repeatAlarm is how often a failure that lasts is told, so that who looks at
// the end of the log sees it.
const repeatAlarm = time.Minute

// ring reports whether err is to be told now, and whether it is a new failure.
// A failure with another text is another one.
func (a *alarm) ring(err error, now time.Time) (tell, begun bool) {
	begun = a.text != err.Error()
	if !begun && now.Sub(a.told) < repeatAlarm {
		return false, false
	}

	a.text = err.Error()
	a.told = now
	return true, begun
}

// over reports whether there was a failure, and forgets it: the caller has seen
// that it has ended.
func (a *alarm) over() bool {
	was := a.text != ""
	*a = alarm{}
	return was
}
