package query

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"sort"
	"time"

	"github.com/guardlock/guardlock/audit"
)

// fewRefused is how many batches of a segment, stored nowhere, are looked up
// instead of reading the whole segment.
const fewRefused = 256

// search is the scan for what matches, in the segments that are asked for.
func (m *matcher) search(segment func(*audit.Summary) bool) audit.Search {
	s := audit.Search{
		Reverse: m.f.Reverse,
		From:    math.MinInt64,
		To:      math.MaxInt64,
		Segment: segment,
		Rest:    m.f.Rest,
	}

	if !m.f.From.IsZero() {
		s.From = m.f.From.UnixMicro()
	}
	if !m.f.To.IsZero() {
		s.To = m.f.To.Add(time.Microsecond - 1).UnixMicro()
	}

	return s
}

// sums adds up what matches: from the seals of finished segments that say all, and
// from the entries of the others.
type sums struct {
	m       *matcher
	t       *Totals
	refused []uint64 // in order
	again   []uint64 // of these, the ones that a seal counts as they were decided
}

func (r *Reader) sum(ctx context.Context, m *matcher, t *Totals) error {
	segs, err := r.Refresh()
	if err != nil {
		return err
	}

	s := sums{m: m, t: t, refused: r.Refused(segs)}
	slices.Sort(s.refused)
	s.refused = slices.Compact(s.refused)

	toRead, err := s.last(ctx, r, segs)
	if err != nil {
		return err
	}

	err = r.ScanIn(ctx, toRead, m.search(s.segment), func(it *audit.Item) (bool, error) {
		t.item(m, it)
		return true, nil
	})
	if err != nil {
		return err
	}

	for _, seq := range s.again {
		err := r.AtIn(segs, seq, s.correct)
		if err != nil && !errors.Is(err, audit.ErrNotFound) {
			return err
		}
	}

	return nil
}

// last counts the last segment by what would be its seal, if that says all, and
// returns the segments that are left.
func (s *sums) last(ctx context.Context, r *Reader, segs []*audit.Indexed) ([]*audit.Indexed, error) {
	if len(segs) == 0 {
		return nil, nil
	}

	seal, err := r.TallyLast(ctx, segs, s.m.wholly)
	if err != nil || seal == nil || s.count(seal) {
		return segs, err
	}
	return segs[:len(segs)-1], nil
}

// segment reports whether a finished segment has to be read.
func (s *sums) segment(seal *audit.Summary) bool { return s.m.segment(seal) && s.count(seal) }

// count adds what a seal counts; true means that it does not say all.
func (s *sums) count(seal *audit.Summary) bool {
	list, ok := seal.Tallies()
	first, next := seal.Entries()

	refused := within(s.refused, first, next)
	if !ok || !s.m.wholly(seal.MinTime, seal.MaxTime) || len(refused) > fewRefused {
		return true
	}

	s.again = append(s.again, refused...)
	if s.m.f.Cluster == "" && len(s.m.f.Topics) == 0 && s.m.kinds == 0 {
		s.t.Controls += seal.Controls()
	}

	for _, topic := range list {
		if (s.m.f.Cluster == "" || s.m.f.Cluster == topic.Cluster) && s.m.topic(topic.Topic) {
			s.t.tally(topic)
		}
	}

	return false
}

// within returns the sequence numbers of a sorted list from first on, below next.
func within(list []uint64, first, next uint64) []uint64 {
	i := sort.Search(len(list), func(i int) bool { return list[i] >= first })
	j := sort.Search(len(list), func(i int) bool { return list[i] >= next })
	return list[i:j]
}

// wholly reports whether the filter asks for nothing that a seal does not count: for
// no more than a cluster, topics, batches, and a time that the segment lies in, by
// its least and its greatest.
func (m *matcher) wholly(least, greatest int64) bool {
	rest := m.f
	rest.Cluster = ""
	rest.Topics = nil

	if m.kinds == 1<<audit.KindBatch {
		rest.Kinds = nil
	}
	if m.time(audit.TimeOf(least)) && m.time(audit.TimeOf(greatest)) {
		rest.From = time.Time{}
		rest.To = time.Time{}
	}

	return reflect.DeepEqual(rest, Filter{})
}

// tally adds what a seal counts of one topic.
func (t *Totals) tally(topic *audit.Tally) {
	n := int64(0)
	for i, count := range topic.Outcomes {
		if count > 0 {
			t.Outcomes[audit.OutcomeNames[i]] += count
			n += count
		}
	}

	t.Decisions += n
	t.Batches += topic.Batches
	t.onTopic(topic.Cluster, topic.Topic, n)

	for _, c := range topic.Modules {
		t.Modules[c.Name] += c.N
	}
	for _, c := range topic.Reasons {
		t.Reasons[c.Name] += c.N
	}
}

func (t *Totals) onTopic(cluster, topic string, n int64) {
	if t.Topics[cluster] == nil {
		t.Topics[cluster] = make(map[string]int64)
	}
	t.Topics[cluster][topic] += n
}

// correct counts a batch, which a seal counts as it was decided, as it ended.
func (s *sums) correct(it *audit.Item) {
	if it.Kind != audit.KindBatch || !s.m.batch(it.Batch) {
		return
	}

	counts := countsByRuling(it.Batch)
	ended := ruledOutcomes(it, it.Batch)
	for i, decided := range it.Batch.RuledOutcomes() {
		s.t.move(decided.Outcome, ended[i].Outcome, counts[i])
	}
}

func (t *Totals) move(from, to string, n int64) {
	if n == 0 || from == to {
		return
	}
	t.Outcomes[to] += n
	t.Outcomes[from] -= n

	if t.Outcomes[from] == 0 {
		delete(t.Outcomes, from)
	}
}

// countsByRuling counts the decisions of a batch by their rulings.
func countsByRuling(e *audit.BatchEntry) []int64 {
	counts := make([]int64, max(len(e.Rulings), 1))
	for _, r := range e.Runs {
		counts[r.Ruling] += int64(r.Count)
	}

	if len(e.Runs) == 0 {
		counts[0] = int64(e.Decisions())
	}
	return counts
}
