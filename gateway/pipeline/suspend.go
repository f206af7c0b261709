package pipeline

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/transforms"
)

// SuspensionRules say when modules that keep failing are given no more batches.
type SuspensionRules struct {
	Failures     int           // of distinct batches, among the last twice as many; 0: never
	Window       time.Duration // within which they count
	Pause        time.Duration // before the first batch is tried again
	LongestPause time.Duration // the pause doubles up to it
}

// failures decides whose batches a binding's modules are given.
//
// A client is suspended when as many of its batches failed as the rules say. The
// binding is suspended for everybody only when that many failed in a row, and not
// all of one client: whoever has records that no module survives stops himself and
// nobody else.
//
// After a pause one batch is tried. When it comes through, the suspension ends;
// when it fails, the pause doubles. Where everybody is suspended, clients that did
// not fail are tried first, so that one at fault cannot spend every trial.
type failures struct {
	rules    SuspensionRules
	troubled atomic.Bool // while false, a batch that comes through costs no lock

	mu       sync.Mutex
	suspects map[string]*suspect
	row      []failure // since the last batch that came through, oldest first
	all      suspension
	atFault  map[string]bool // who had all suspended, or failed in a trial of it
	swept    time.Time
}

// failure is a client's batch that failed.
type failure struct {
	at    time.Time
	party string
}

// maxSuspects bounds the clients that are remembered for one binding.
const maxSuspects = 256

// run is a batch's leave to be given to modules, and what it is a trial of.
type run struct {
	party    string // empty while nothing failed
	batch    batchKey
	ofAll    bool
	ofClient bool
}

// failedRun is how modules failed.
type failedRun struct{ module, reason string }

// begin reports whether a client's batch may be given to the binding's modules.
// If it may, end must follow.
func (c *Conduct) begin(client *Client, batch batchKey) (run, bool) {
	if c == nil || c.failures.rules.Failures == 0 {
		return run{}, true
	}

	r := run{batch: batch}
	if !c.failures.troubled.Load() {
		return r, true
	}

	r.party = client.party()
	may := c.failures.allow(&r, time.Now())

	return r, may
}

func (f *failures) allow(r *run, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.all.on() {
		from := f.all.until
		if f.atFault[r.party] {
			from = from.Add(f.all.pause)
		}

		if f.all.trying || now.Before(from) {
			f.all.refused++
			return false
		}
		r.ofAll = true
	}

	if own := f.suspects[r.party]; own != nil && own.on() {
		if own.trying || now.Before(own.until) {
			own.refused++
			return false
		}
		r.ofClient = true
		own.trying = true
	}

	f.all.trying = f.all.trying || r.ofAll
	return true
}

// end says what became of a batch that was to be given to modules. It came to them,
// or did not.
func (c *Conduct) end(client *Client, r run, came bool, err error) {
	if c == nil || c.failures.rules.Failures == 0 {
		return
	}

	f := &c.failures
	cause, failed := failedBy(err)
	if !failed && !f.troubled.Load() {
		return
	}

	r.party = client.party()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	own := f.suspects[r.party]
	f.all.trying = f.all.trying && !r.ofAll

	if own != nil {
		own.trying = own.trying && !r.ofClient
	}

	switch {
	case failed:
		c.failed(&r, now, &cause)
	case came && err == nil:
		c.worked(&r, own, now)
	}

	c.sweep(now)
}

// failedBy tells a failure of modules from one that is the gateway's own, or
// nobody's.
func failedBy(err error) (failedRun, bool) {
	e, ok := errors.AsType[*transforms.Error](err)
	if !ok || !e.OfGuest() {
		return failedRun{}, false
	}
	return failedRun{e.Module, e.Kind.String()}, true
}

func (c *Conduct) worked(r *run, own *suspect, now time.Time) {
	f := &c.failures
	f.row = f.row[:0]
	if r.ofAll {
		c.lifted(&f.all, now, "worked")
		// The next pause begins anew: who fails on purpose again and again would else
		// shut out the others for the longest one each time.
		f.all = suspension{}
	}

	switch {
	case own == nil:
	case r.ofClient:
		c.lifted(&own.suspension, now, "worked")
		own.recent = own.recent[:0]
	default:
		own.add(attempt{at: now}, f.rules)
	}
}

func (c *Conduct) failed(r *run, now time.Time, cause *failedRun) {
	f := &c.failures
	f.troubled.Store(true)
	own := c.suspect(r.party, now)

	switch {
	case r.ofClient:
		own.longer(now, f.rules)
	case !own.on() && !own.repeats(r.batch):
		own.add(attempt{at: now, failed: true, batch: r.batch}, f.rules)
		f.row = append(f.row, failure{now, r.party})
		if n := own.failures(now, f.rules); n >= f.rules.Failures {
			own.start(now, f.rules)
			c.suspended(&own.suspension, r.party, n, cause)
		}
	}

	switch {
	case r.ofAll:
		f.atFault[r.party] = true
		f.all.longer(now, f.rules)
	case !f.all.on() && f.severalFail(now):
		c.suspendAll(now, cause)
	}
}

// severalFail reports whether the last batches failed, and not all of one client.
func (f *failures) severalFail(now time.Time) bool {
	f.row = slices.DeleteFunc(f.row, func(one failure) bool { return now.Sub(one.at) > f.rules.Window })
	if over := len(f.row) - f.rules.Failures; over > 0 {
		f.row = slices.Delete(f.row, 0, over)
	}

	return len(f.row) == f.rules.Failures && slices.ContainsFunc(f.row, func(one failure) bool { return one.party != f.row[0].party })
}

func (c *Conduct) suspendAll(now time.Time, cause *failedRun) {
	f := &c.failures
	f.atFault = map[string]bool{}
	for _, one := range f.row {
		f.atFault[one.party] = true
	}

	f.all.start(now, f.rules)
	c.suspended(&f.all, "", len(f.row), cause)
	f.row = f.row[:0]
}

// suspect is what is remembered of a client. Where there is no room for one more,
// the one whose last failure is the longest ago is let go.
func (c *Conduct) suspect(party string, now time.Time) *suspect {
	f := &c.failures
	if own := f.suspects[party]; own != nil {
		return own
	}

	if f.suspects == nil {
		f.suspects = map[string]*suspect{}
	}
	if len(f.suspects) >= maxSuspects {
		c.letGo(f.oldest(), now)
	}

	own := &suspect{}
	f.suspects[party] = own
	return own
}

// oldest is the suspect who was given the modules' time the longest ago.
func (f *failures) oldest() string {
	var found string
	var at time.Time
	for party, s := range f.suspects {
		last := s.until
		if n := len(s.recent); n > 0 && last.IsZero() {
			last = s.recent[n-1].at
		}
		if found == "" || last.Before(at) {
			found = party
			at = last
		}
	}

	return found
}

func (c *Conduct) letGo(party string, now time.Time) {
	if s := c.failures.suspects[party]; s.on() {
		c.lifted(&s.suspension, now, "forgotten")
	}
	delete(c.failures.suspects, party)
}

// sweep forgets what is over, so that modules that work again cost no lock.
func (c *Conduct) sweep(now time.Time) {
	f := &c.failures
	if now.Sub(f.swept) < time.Second {
		return
	}

	f.swept = now
	for party, s := range f.suspects {
		if s.over(now, f.rules) {
			delete(f.suspects, party)
		}
	}

	if len(f.suspects) == 0 && !f.all.on() {
		f.row = f.row[:0]
		f.troubled.Store(false)
	}
}
