package audit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// state is what the entries up to some point amount to. Appending, replay and
// verification share it, so that they cannot disagree.
type state struct {
	seq   uint64 // next
	epoch segment.Epoch
	dict  *dict    // of the current segment
	sum   *Summary // of the current segment
	open  map[uint64]*BatchRef
	batch BatchEntry // scratch of apply

	standing standing
	eras     begun
	holds    toldHolds
	erasures toldErasures
	gone     int64 // latest time of any entry of segments before the current one; µs, 0 without any

	acknowledged toldAcknowledgements

	continued []Continued // openings that took something on the operator's word
	adoptions []Adoption
}

func newState(firstSeq uint64) *state {
	s := &state{seq: firstSeq, open: make(map[uint64]*BatchRef), standing: make(standing), eras: make(begun), holds: make(toldHolds), erasures: make(toldErasures), acknowledged: make(toldAcknowledgements)}
	s.beginSegment()
	return s
}

// newStateAt is the state that a log begins with: that of its anchor, if it has one.
// What is known of batches before it is that they are open.
func newStateAt(anchor *segment.Anchor) *state {
	s := newState(anchor.Link().NextSeq)
	if anchor != nil {
		for _, seq := range anchor.Open {
			s.open[seq] = nil
		}
		s.gone = anchor.Gone.Latest
	}
	return s
}

// beginSegment forgets the dictionary and the summary; what is open stays open.
func (s *state) beginSegment() {
	if s.sum != nil {
		s.gone = max(s.gone, s.sum.MaxTime)
	}
	s.dict = newDict()
	s.sum = newSummary(s.seq, s.dict)
}

func (s *state) sealPayload() []byte {
	s.sum.open = slices.Collect(maps.Keys(s.open))
	return s.sum.seal(false)
}

func (s *state) noteBatch(b *BatchEntry) {
	s.sum.noteBatch(b)
	if b.Awaits() {
		s.open[s.seq] = b.ref(s.seq, s.epoch)
	}
	s.seq++
}

func (s *state) noteControl(c *ControlEntry) {
	s.sum.noteControl(c)
	s.standing.note(c, s.seq)
	s.eras.note(c, s.seq)
	s.holds.note(c, s.seq)
	s.erasures.note(c, s.seq)
	s.acknowledged.note(c, s.seq)
	if o, ok := c.opening(); ok {
		s.epoch = o.Epoch
		s.sum.opened = append(s.sum.opened, epochAt{s.seq, o.Epoch})
		if taken := takenOnWord(c); len(taken) > 0 {
			s.continued = append(s.continued, Continued{Entry: s.seq, Time: c.Time, Steps: taken})
		}
	}
	if c.Kind == KindAdoption {
		s.adoptions = append(s.adoptions, Adoption{Entry: s.seq, Time: c.Time, By: c.Principal, Reason: c.Reason, Facts: c.Facts})
	}
	s.seq++
}

func (s *state) noteBind(b *Bind) {
	s.sum.noteBind(b)
	if b.Route == "" {
		delete(s.open, b.Seq)
	}
}

// ref keeps what recovery needs of a batch.
func (e *BatchEntry) ref(seq uint64, at segment.Epoch) *BatchRef {
	r := &BatchRef{
		Seq:      seq,
		Time:     e.Time,
		Target:   e.Target,
		Producer: e.Producer,
		Records:  e.Records,
		Outcome:  e.Outcome,
		mac:      MACID{at, e.nonce, e.mac},
	}

	for _, run := range e.Runs {
		if ruling := &e.Rulings[run.Ruling]; ruling.Verdict == Routed {
			r.addRoute(ruling.Route, int(run.Count))
		}
	}

	return r
}

func (r *BatchRef) addRoute(topic string, n int) {
	for i := range r.routes {
		if r.routes[i].topic == topic {
			r.routes[i].count += n
			return
		}
	}
	r.routes = append(r.routes, routeCount{topic, n})
}

// opening returns what a KindOpen entry says of the MACs behind it. Logs from
// before it had a place of its own say it in steps.
func (c *ControlEntry) opening() (o Opening, ok bool) {
	if c.Kind != KindOpen {
		return o, false
	}
	if c.Opening != (Opening{}) {
		return c.Opening, true
	}

	for _, s := range c.Steps {
		b, err := hex.DecodeString(s.Verdict)
		switch {
		case err != nil:
		case s.Name == stepEpoch && len(b) == len(o.Epoch):
			o.Epoch = segment.Epoch(b)
			ok = true
		case s.Name == stepKeyID && len(b) == len(o.KeyID):
			o.KeyID = [8]byte(b)
		}
	}

	return o, ok
}

// Steps of the entry that an older log begins with whenever it is opened.
const (
	stepEpoch = "epoch"
	stepKeyID = "key_id"
)

// apply reads the entries of one frame.
func (s *state) apply(f *segment.Frame) error {
	p, err := payloadOf(f)
	if err != nil {
		return err
	}
	if p.firstSeq != s.seq {
		return fmt.Errorf("frame begins at sequence number %d, expected %d: %w", p.firstSeq, s.seq, errEntry)
	}

	if f.Sealed() {
		if want := s.sealPayload(); !bytes.Equal(want, f.Payload) && !bytes.Equal(s.sum.seal(true), f.Payload) {
			return fmt.Errorf("seal does not match its segment: %w", errEntry)
		}
		return nil
	}

	if err := p.define(s.dict); err != nil {
		return err
	}
	return p.each(func(r rawEntry) error { return s.applyEntry(r, p.base) })
}

func (s *state) applyEntry(r rawEntry, base int64) error {
	c := r.read(s.dict.strs)
	c.learn = s.dict
	switch r.kind {
	case KindBatch:
		if err := c.batch(&s.batch, base); err != nil {
			return err
		}
		s.noteBatch(&s.batch)
	case kindBind:
		var b Bind
		if err := c.bind(&b, base); err != nil {
			return err
		}
		s.noteBind(&b)
	case kindSeal:
		return fmt.Errorf("seal inside a frame: %w", errEntry)
	default:
		var e ControlEntry
		if err := c.control(&e, r.kind, base); err != nil {
			return err
		}
		s.noteControl(&e)
	}

	return nil
}
