package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// The outcomes of entries about legal holds.
const (
	HoldAdded  = "held"
	HoldLifted = "hold_lifted"
)

// The facts of an entry about a legal hold. Times are as in the file of the holds.
const (
	factHold      = "hold"
	factHoldFrom  = "from"
	factHoldTo    = "to"
	factHoldAdded = "added"
	factHoldWhy   = "reason" // it was added for, where it is lifted for another
	factHoldEnded = "lifted"
)

// ErrHoldsMissing says that the log knows of a legal hold that the file of holds lacks.
var ErrHoldsMissing = errors.New("a legal hold is missing that the log says was added")

// toldHolds are the legal holds in force that the log was told of, by their ids, and the
// last one that was added, which may be lifted: ids ascend, so that it says up to where
// holds were told. A segment begins with them, so that neither pruning nor a restart makes
// the log forget one, or tell of one twice.
type toldHolds map[string]*ControlEntry

// note takes a control entry, which has the sequence number seq.
func (t toldHolds) note(c *ControlEntry, seq uint64) {
	if c.Kind != KindHold {
		return
	}
	again := *c
	if _, ok := c.Repeats(); !ok {
		again.Steps = repeats(seq)
	}
	t[c.Fact(factHold)] = &again

	last := t.last()
	maps.DeleteFunc(t, func(id string, c *ControlEntry) bool { return !t.holds(id) && holdNumber(id) < last })
}

// holds reports whether the log says that a hold is in force.
func (t toldHolds) holds(id string) bool { return t[id] != nil && t[id].Outcome == HoldAdded }

// last is the number of the last hold that was told; 0 if there was none.
func (t toldHolds) last() (n uint64) {
	for id := range t {
		n = max(n, holdNumber(id))
	}
	return n
}

// holdNumber is the number that a hold has for an id; 0 if it has none.
func holdNumber(id string) uint64 {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0
	}
	return n
}

// news are the entries that the log has not got yet of a hold: both, where it was added
// and lifted between two looks.
func (t toldHolds) news(h *Hold) (news []ControlEntry) {
	added := *h
	added.Lifted = time.Time{}
	held := t.holds(h.ID)
	fresh := holdNumber(h.ID) > t.last()

	if !held && (h.InForce() || fresh) {
		news = append(news, added.entry())
	}
	if !h.InForce() && (held || fresh) {
		news = append(news, h.entry())
	}
	return news
}

// entries are the holds as a segment repeats them.
func (t toldHolds) entries(now time.Time) []*ControlEntry {
	return repeated(t, cmp.Compare[string], now)
}

// entry is what the log says of a hold that was added, or lifted.
func (h *Hold) entry() ControlEntry {
	e := ControlEntry{
		Kind:      KindHold,
		Subject:   h.Topic,
		Principal: h.By,
		Outcome:   HoldAdded,
		Reason:    h.Reason,
		Facts: []Fact{
			{factHold, h.ID},
			{factHoldFrom, holdTime(h.From)},
			{factHoldTo, holdTime(h.To)},
			{factHoldAdded, holdTime(h.Added)},
		},
	}

	if !h.InForce() {
		e.Outcome = HoldLifted
		e.Principal = h.LiftedBy
		e.Reason = h.LiftReason
		e.Facts = append(e.Facts, Fact{factHoldWhy, h.Reason}, Fact{factHoldEnded, holdTime(h.Lifted)})
	}
	return e
}

func holdTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// TellHolds has the log say which legal holds were added and lifted since it was told
// last. A hold that the log knows of and that is not among them is ErrHoldsMissing, and
// stays known.
func (l *Log) TellHolds(ctx context.Context, hs Holds) error {
	l.mu.Lock()
	var news []ControlEntry
	missing := hs.lacks(l.w.holds)
	for i := range hs {
		news = append(news, l.w.holds.news(&hs[i])...)
	}
	l.mu.Unlock()

	for _, e := range news {
		if err := l.Record(ctx, e); err != nil {
			return err
		}
	}
	return missing
}

// lacks finds a hold that the log was told of and that is not among these as it was.
func (hs Holds) lacks(told toldHolds) error {
	as := make(map[string]*Hold, len(hs))
	for i := range hs {
		as[hs[i].ID] = &hs[i]
	}

	for _, c := range told.entries(time.Time{}) {
		id := c.Fact(factHold)
		if !told.holds(id) {
			continue
		}
		h := as[id]
		same := h != nil && h.Topic == c.Subject && holdTime(h.From) == c.Fact(factHoldFrom) && holdTime(h.To) == c.Fact(factHoldTo)
		if !same || holdTime(h.Added) != c.Fact(factHoldAdded) {
			return fmt.Errorf("%w: hold %s of topic %q, added %s", ErrHoldsMissing, id, c.Subject, c.Fact(factHoldAdded))
		}
	}
	return nil
}

// holdsToldIn reads which legal holds a log says are in force. The last two segments tell:
// each begins with what was in force, unless a crash kept the last from it.
func holdsToldIn(d segment.Files) (toldHolds, error) {
	r := NewReader(d, func() (*segment.Mark, error) { return CommittedMark(d) })
	defer r.Close()
	segs, err := r.Refresh()
	if err != nil {
		return nil, err
	}

	told := make(toldHolds)
	all := Search{To: math.MaxInt64, Segment: func(*Summary) bool { return true }}
	err = r.ScanIn(context.Background(), segs[max(0, len(segs)-2):], all, func(it *Item) (bool, error) {
		if it.Control != nil {
			told.note(it.Control, it.Seq)
		}
		return true, nil
	})
	return told, err
}
