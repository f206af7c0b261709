package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// maxTallyCells is how many counts a seal has room for. A client that makes up
// topics must not make it grow; without counts a query reads the segment.
const maxTallyCells = 1 << 16

// Tally counts the decisions of one segment on one topic.
type Tally struct {
	Cluster  string
	Topic    string
	Batches  int64 // that hold a decision
	Outcomes [len(OutcomeNames)]int64
	Modules  []Count // by deciding module; "" if none or several
	Reasons  []Count // without records that have none
}

// Count is how often a name came.
type Count struct {
	Name string
	N    int64
}

type topicKey struct{ cluster, topic string }

// tallies are those of one segment.
type tallies struct {
	list    []*Tally
	byTopic map[topicKey]*Tally
	cells   int
	tooMany bool    // to be kept
	perRule []int64 // scratch of note
}

// note counts a batch by its rulings, as Totals of package query does.
func (t *tallies) note(e *BatchEntry) {
	if t.tooMany || e.Decisions() == 0 {
		return
	}
	topic := t.of(e.Cluster, e.Topic)
	topic.Batches++

	if len(e.Runs) == 0 {
		t.add(topic, &e.RuledOutcomes()[0], int64(e.Decisions()))
		return
	}

	t.perRule = append(t.perRule[:0], make([]int64, len(e.Rulings))...)
	for _, run := range e.Runs {
		t.perRule[run.Ruling] += int64(run.Count)
	}

	for i, n := range t.perRule {
		if n > 0 {
			r := e.ruled(&e.Rulings[i])
			t.add(topic, &r, n)
		}
	}
}

func (t *tallies) of(cluster, topic string) *Tally {
	k := topicKey{cluster, topic}
	if have, ok := t.byTopic[k]; ok {
		return have
	}
	if t.byTopic == nil {
		t.byTopic = make(map[topicKey]*Tally)
	}

	made := &Tally{Cluster: cluster, Topic: topic}
	t.byTopic[k] = made
	t.list = append(t.list, made)
	t.grow()

	return made
}

// grow counts one more cell, and lets go of all when there are too many.
func (t *tallies) grow() {
	t.cells++
	if t.cells > maxTallyCells {
		*t = tallies{tooMany: true}
	}
}

func (t *tallies) add(topic *Tally, r *RuledOutcome, n int64) {
	if i := slices.Index(OutcomeNames[:], r.Outcome); i >= 0 {
		topic.Outcomes[i] += n
	}

	module := ""
	if r.Module != nil {
		module = r.Module.Name
	}

	topic.Modules = t.count(topic.Modules, module, n)
	if r.Reason != "" {
		topic.Reasons = t.count(topic.Reasons, r.Reason, n)
	}
}

// count adds to the count of a name. There are few names of modules and reasons:
// both come from catalogues.
func (t *tallies) count(list []Count, name string, n int64) []Count {
	for i := range list {
		if list[i].Name == name {
			list[i].N += n
			return list
		}
	}

	t.grow()
	return append(list, Count{name, n})
}

// sorted brings the tallies into the one order that a seal has them in.
func (t *tallies) sorted() []*Tally {
	byName := func(a, b Count) int { return cmp.Compare(a.Name, b.Name) }
	for _, topic := range t.list {
		slices.SortFunc(topic.Modules, byName)
		slices.SortFunc(topic.Reasons, byName)
	}

	slices.SortFunc(t.list, func(a, b *Tally) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Topic, b.Topic))
	})
	return t.list
}

// TallyLast counts the last segment as its seal would, but without strings, unless
// that is not asked for, by the least and the greatest time in it: then it is nil.
func (r *Reader) TallyLast(ctx context.Context, segs []*Indexed, asked func(least, greatest int64) bool) (*Summary, error) {
	sc, err := r.Scanner(segs[len(segs)-1])
	if err != nil {
		return nil, err
	}

	defer sc.Close()
	s := newSummary(sc.seg.hdr.FirstSeq, newDict())
	if !asked(sc.View.times()) {
		return nil, nil
	}

	for i := range sc.View.Blocks {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("counting decisions: %w", err)
		}

		_, err := sc.walk(sc.win, i, func(off int64, p *payload) (bool, error) {
			err := p.each(func(e rawEntry) error { return sc.tally(s, e, p.base) })
			if err != nil {
				err = segment.Corrupt(sc.seg.hdr.Number, off, "%w", err)
			}
			return true, err
		})
		if err != nil {
			return nil, err
		}
	}

	return s, nil
}

func (sc *scanner) tally(s *Summary, e rawEntry, base int64) error {
	c := e.read(sc.View.strs)
	switch {
	case e.seq == 0:
		return nil
	case e.kind == KindBatch:
		if err := c.batch(&sc.batch, base); err != nil {
			return err
		}
		s.noteBatch(&sc.batch)
		return nil
	}

	var control ControlEntry
	if err := c.control(&control, e.kind, base); err != nil {
		return err
	}

	s.noteControl(&control)
	return nil
}

// tallies writes 0, or 1 and the counts.
func (e *encoder) tallies(t *tallies) {
	if t.tooMany {
		e.byte(0)
		return
	}

	e.byte(1)
	list := t.sorted()
	e.uvarint(uint64(len(list)))

	for _, topic := range list {
		e.plain(topic.Cluster)
		e.plain(topic.Topic)
		e.uvarint(uint64(topic.Batches))
		e.outcomes(&topic.Outcomes)
		e.counts(topic.Modules)
		e.counts(topic.Reasons)
	}
}

func (e *encoder) outcomes(counts *[len(OutcomeNames)]int64) {
	kinds := 0
	for _, n := range counts {
		if n > 0 {
			kinds++
		}
	}

	e.uvarint(uint64(kinds))
	for i, n := range counts {
		if n > 0 {
			e.byte(byte(i))
			e.uvarint(uint64(n))
		}
	}
}

func (e *encoder) counts(list []Count) {
	e.uvarint(uint64(len(list)))
	for _, c := range list {
		e.plain(c.Name)
		e.uvarint(uint64(c.N))
	}
}

// tallies reads what encoder.tallies wrote.
func (c *cursor) tallies() (t tallies) {
	switch c.byte() {
	case 0:
		t.tooMany = true
		return t
	case 1:
	default:
		c.bad = true
		return t
	}

	for n := c.count(); n > 0 && !c.bad; n-- {
		topic := &Tally{Cluster: c.str(RoleCluster), Topic: c.str(RoleTopic)}
		topic.Batches = int64(c.uvarint())
		c.outcomes(&topic.Outcomes)
		topic.Modules = c.counts()
		topic.Reasons = c.counts()
		t.list = append(t.list, topic)
	}

	return t
}

func (c *cursor) outcomes(counts *[len(OutcomeNames)]int64) {
	for n := c.count(); n > 0 && !c.bad; n-- {
		i := int(c.byte())
		v := c.uvarint()
		if i >= len(counts) {
			c.bad = true
			return
		}
		counts[i] = int64(v)
	}
}

func (c *cursor) counts() (list []Count) {
	for n := c.count(); n > 0 && !c.bad; n-- {
		list = append(list, Count{c.str(RoleReason), int64(c.uvarint())})
	}
	return list
}
