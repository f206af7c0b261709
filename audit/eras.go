package audit

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// Era is where the record of a partition begins: what lies below Offset was stored
// before the gateway took its first batch for it. A topic that is made anew under its
// old name has another id, and begins another era.
type Era struct {
	Target
	Offset      int64     // where the partition ended
	LeaderEpoch int32     // of the leader that said so; -1 if it is not known
	Began       time.Time // when it was asked
}

// EraBegun is the outcome of every entry about an era.
const EraBegun = "begun"

// NewEra is the entry that an era begins with.
func NewEra(e Era) ControlEntry {
	return ControlEntry{
		Kind:    KindEra,
		Subject: e.Topic,
		Outcome: EraBegun,
		Time:    e.Began,
		Era:     &e,
	}
}

// begun are the eras that hold: the last of each partition. A segment begins with them,
// so that neither pruning nor a restart makes the gateway begin anew.
type begun map[Coord]*ControlEntry

func (e *Era) coord() Coord { return Coord{e.Cluster, e.Topic, e.Partition} }

// note takes a control entry, which has the sequence number seq.
func (b begun) note(c *ControlEntry, seq uint64) {
	if c.Kind != KindEra {
		return
	}
	again := *c
	if _, ok := c.Repeats(); !ok {
		again.Steps = repeats(seq)
	}

	b[c.Era.coord()] = &again
}

// has reports whether the era of a partition of just this topic has begun.
func (b begun) has(t Target) bool {
	c := b[Coord{t.Cluster, t.Topic, t.Partition}]
	return c != nil && c.Era.TopicID == t.TopicID
}

// entries are the eras as a segment repeats them.
func (b begun) entries(now time.Time) []*ControlEntry { return repeated(b, Coord.compare, now) }

// sizeBound is at least the bytes that the entries take.
func (b begun) sizeBound() int { return sizeOfRepeated(b) }

// lastingBefore takes the eras, the legal holds and what was acknowledged of the segment before the last, where a
// crash left the last without the frame that repeats them.
func (r *replay) lastingBefore(all []uint32, last *segment.Walk) error {
	if last.Last > 0 || len(all) < 2 {
		return nil
	}

	number := all[len(all)-2]
	f, err := r.files.Open(segment.Name(number), false)
	if err != nil {
		return fmt.Errorf("opening segment %d: %w", number, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("sizing segment %d: %w", number, err)
	}

	k, err := segment.NewWalk(segment.NewWindow(f, size), number)
	if err != nil {
		return err
	}

	k.Key = r.keys.Find(k.Header.KeyID)
	before := newState(k.Header.FirstSeq)
	err = k.Run(func(f *segment.Frame) error {
		if f.Sealed() { // it speaks of segments before, too
			return nil
		}
		return before.apply(f)
	})
	if err != nil {
		return err
	}

	r.state.eras = before.eras
	r.state.holds = before.holds
	r.state.acknowledged = before.acknowledged
	return nil
}

// HasEra reports whether the log has the era of a partition of just this topic, on disk:
// one that was added before the call is waited for.
func (l *Log) HasEra(ctx context.Context, t Target) (bool, error) {
	l.mu.Lock()
	has := l.w.eras.has(t)
	l.mu.Unlock()
	if !has {
		return false, nil
	}
	return true, l.flush(ctx)
}

func (e *encoder) era(a *Era, base int64) {
	e.str(RoleCluster, a.Cluster)
	e.str(RoleTopic, a.Topic)
	e.fixed(roleTopicID, a.TopicID[:])
	e.uvarint(uint64(a.Partition))
	e.uvarint(uint64(a.Offset))
	e.uvarint(uint64(a.LeaderEpoch + 1))
	e.moment(a.Began, base)
}

func (c *cursor) era(base int64) *Era {
	a := &Era{Target: Target{Cluster: c.str(RoleCluster), Topic: c.str(RoleTopic)}}
	c.fixed(roleTopicID, a.TopicID[:])
	a.Partition = int32(c.number())
	a.Offset = c.amount()
	a.LeaderEpoch = int32(c.number()) - 1
	a.Began = c.moment(base)
	return a
}

// validate refuses what could not be read back.
func (e *Era) validate() bool {
	long := max(len(e.Cluster), len(e.Topic))
	return long <= maxStringBytes && min(int64(e.Partition), e.Offset) >= 0 && e.LeaderEpoch >= -1 && e.LeaderEpoch < math.MaxInt32
}

// sizeBound is at least the bytes that the facts and their definitions take.
func (e *Era) sizeBound() int { return 96 + len(e.Cluster) + len(e.Topic) }
