package pipeline

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/guardlock/guardlock/audit"
)

// suspension is a pause that doubles. The zero one is over.
type suspension struct {
	since   time.Time // zero: over
	until   time.Time // when a batch may be tried
	ended   time.Time // the one before
	pause   time.Duration
	trying  bool // a batch is being tried
	refused int  // batches
	about   audit.ControlEntry
}

func (s *suspension) on() bool { return !s.since.IsZero() }

// start begins a pause. It is no shorter than the last one was where that has
// ended a short while ago.
func (s *suspension) start(now time.Time, rules SuspensionRules) {
	next := rules.Pause
	if !s.ended.IsZero() && now.Sub(s.ended) <= rules.LongestPause {
		next = min(2*s.pause, rules.LongestPause)
	}

	*s = suspension{
		since: now,
		until: now.Add(next),
		pause: next,
	}
}

// longer begins the pause after a trial that failed.
func (s *suspension) longer(now time.Time, rules SuspensionRules) {
	s.pause = min(2*s.pause, rules.LongestPause)
	s.until = now.Add(s.pause)
}

// end keeps of a suspension what the next one begins with.
func (s *suspension) end(now time.Time) {
	*s = suspension{ended: now, pause: s.pause}
}

// suspect is a client of whose batches some failed.
type suspect struct {
	suspension
	recent []attempt // oldest first
}

// attempt is a batch that modules were given.
type attempt struct {
	at     time.Time
	failed bool
	batch  batchKey
	again  int // times that the same batch failed again
}

// batchKey tells a batch that is sent again from another.
type batchKey struct {
	partition Partition
	crc       uint32
	records   int32
}

// add notes an attempt, among the last of the client.
func (s *suspect) add(a attempt, rules SuspensionRules) {
	s.recent = append(s.recent, a)
	if over := len(s.recent) - 2*rules.Failures; over > 0 {
		s.recent = append(s.recent[:0], s.recent[over:]...)
	}
}

// repeats reports whether a batch that failed is one that failed before, which
// counts once for all the attempts that producers make of it. One that is sent more
// often is somebody's purpose.
func (s *suspect) repeats(batch batchKey) bool {
	for i := range s.recent {
		a := &s.recent[i]
		if a.failed && a.batch == batch && a.again < maxAttempts-1 {
			a.again++
			return true
		}
	}
	return false
}

// failures counts those within the window.
func (s *suspect) failures(now time.Time, rules SuspensionRules) int {
	n := 0
	for _, a := range s.recent {
		if a.failed && now.Sub(a.at) <= rules.Window {
			n++
		}
	}
	return n
}

// over reports whether nothing of the client matters any more.
func (s *suspect) over(now time.Time, rules SuspensionRules) bool {
	return !s.on() && s.failures(now, rules) == 0 && (s.ended.IsZero() || now.Sub(s.ended) > rules.LongestPause)
}

// Anonymous is Kafka's name for a client that has not authenticated.
const Anonymous = "User:ANONYMOUS"

// party names whom a client's failures count for: its principal or, where it has
// none, its source. A client id is only a claim.
func (c *Client) party() string {
	if c.Principal != "" && c.Principal != Anonymous {
		return c.Principal
	}
	return SourceOf(c.Source)
}

// SourceOf names whoever a client's address stands for: an IPv6 customer has a
// whole /64.
func SourceOf(host string) string {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Unmap().Is4() {
		return host
	}

	prefix, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return prefix.String()
}

// suspended makes the entry of a suspension that has begun.
func (c *Conduct) suspended(s *suspension, party string, failures int, cause *failedRun) {
	rules := c.failures.rules
	e := c.entry("suspended", cause.reason)
	e.Module = c.module(cause.module)
	e.Principal = party
	e.Steps = []audit.Step{{
		Name:    "failures",
		Verdict: strconv.Itoa(failures),
		Detail:  pairs("within", rules.Window, "pause", s.pause),
	}}

	s.about = e
	c.note(e)
}

// lifted makes the entry of a suspension that is over, and ends it.
func (c *Conduct) lifted(s *suspension, now time.Time, cause string) {
	e := s.about
	e.Outcome = "lifted"
	e.Reason = cause
	e.Steps = []audit.Step{{
		Name:    "suspension",
		Verdict: "over",
		Detail:  pairs("lasted", now.Sub(s.since).Round(time.Millisecond), "refused", s.refused),
	}}

	s.end(now)
	c.note(e)
}
