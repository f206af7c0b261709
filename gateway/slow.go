package gateway

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// errSlow ends a connection whose request comes so slowly that others wait for
// the memory in which it lies.
var errSlow = errors.New("a request arrives too slowly, and others wait for the memory that it holds")

// arrival is how the incomplete frame of an inbox gets on. Its inbox notes it,
// and whoever looks for memory reads it.
type arrival struct {
	mu    sync.Mutex
	since time.Time // of this look; zero: no frame is incomplete, or it waits for us
	first int       // bytes that were there then
	speed float64   // in the look before, in bytes a second; negative: there was none
	last  time.Time // when bytes came last
	got   int
	size  int // of the whole frame; 0: not known yet
	held  int // of its buffer
}

// look is how long a sender is watched before its speed is judged: a shorter
// pause is no sign of anything.
const look = time.Second

// noteArrival notes how the incomplete frame gets on. It is called before each
// read for one.
func (in *inbox) noteArrival() {
	size, known, _ := in.frameSize()
	if known {
		size += 4
	}

	a := &in.arrival
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = now
	a.got = in.w - in.r
	a.size = size
	a.held = len(in.buf)

	switch took := now.Sub(a.since); {
	case a.since.IsZero():
		a.speed = -1
		a.since = now
		a.first = a.got
	case took >= look:
		a.speed = float64(a.got-a.first) / took.Seconds()
		a.since = now
		a.first = a.got
	}
}

// end says that no frame is incomplete, or that the peer is not to blame for it.
func (a *arrival) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = time.Time{}
}

// slowFrame is an incomplete frame as candidates for an end are compared.
type slowFrame struct {
	session *session
	rest    time.Duration // until it would be whole, at the speed so far
	held    int64
	weight  int64 // what its source holds in it and in its faster frames
}

// rest estimates how long the frame takes until it is whole. It reports false
// where there is none, or not for long enough to tell.
func (a *arrival) rest(now time.Time) (rest time.Duration, held int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since.IsZero() {
		return 0, 0, false
	}

	speed := a.speed
	if now.Sub(a.last) >= look {
		speed = 0
	}
	if speed < 0 {
		return 0, 0, false
	}

	missing := float64(max(a.size-a.got, 1))
	seconds := min(missing/max(speed, 0.01), time.Hour.Seconds())
	return time.Duration(seconds * float64(time.Second)), int64(a.held), true
}

// endSlow ends connections whose requests come slowly until they have held as
// much as is waited for: those of the source that holds most first, and of these
// the slowest.
func (g *Gateway) endSlow() {
	now := time.Now()
	last := g.lastSlow.Load()
	if now.UnixNano()-last < int64(time.Second)/2 || !g.lastSlow.CompareAndSwap(last, now.UnixNano()) {
		return // another waiter has just looked
	}

	want := g.memory.requests.wanted()
	for _, f := range g.slowFrames(now) {
		if want <= 0 {
			return
		}
		f.session.kill(errSlow)
		want -= f.held
	}
}

// slowFrames lists the incomplete frames that will not be whole soon, in the
// order in which they are to end.
func (g *Gateway) slowFrames(now time.Time) []slowFrame {
	bySource := map[*source][]slowFrame{}
	for _, c := range g.clusters {
		c.mu.Lock()
		for s := range c.sessions {
			in := s.reader.in
			rest, held, ok := in.arrival.rest(now)
			if ok && rest > stallLimit {
				bySource[in.memory.owner] = append(bySource[in.memory.owner], slowFrame{session: s, rest: rest, held: held})
			}
		}
		c.mu.Unlock()
	}

	var all []slowFrame
	for _, frames := range bySource {
		slices.SortFunc(frames, func(a, b slowFrame) int { return cmp.Compare(a.rest, b.rest) })
		weight := int64(0)
		for i := range frames {
			weight += frames[i].held
			frames[i].weight = weight
		}
		all = append(all, frames...)
	}

	slices.SortFunc(all, func(a, b slowFrame) int { return cmp.Compare(b.weight, a.weight) })
	return all
}

// sources are those that have a connection, by address, so that the shares of
// one hold over all its connections.
type sources struct {
	mu   sync.Mutex
	open map[string]*openSource
}

type openSource struct {
	source
	connections int
}

// join returns the source that a host belongs to. It is the same one until as
// many leave as have joined.
func (s *sources) join(host string) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*openSource{}
	}

	name := pipeline.SourceOf(host)
	o := s.open[name]
	if o == nil {
		o = new(openSource)
		s.open[name] = o
	}

	o.connections++

	return &o.source
}

func (s *sources) leave(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := pipeline.SourceOf(host)
	o := s.open[name]
	o.connections--

	if o.connections == 0 {
		delete(s.open, name)
	}
}
