package audit

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// Query streams the decisions that match, oldest first unless f.Reverse. An
// error ends the stream.
func (l *Log) Query(ctx context.Context, f Filter) iter.Seq2[Decision, error] {
	return l.reader.Query(ctx, f)
}

// Summarize counts the decisions that match.
func (l *Log) Summarize(ctx context.Context, f Filter) (Totals, error) {
	return l.reader.Summarize(ctx, f)
}

// Lookup returns the decision with an id, ErrNotFound if there is none.
func (l *Log) Lookup(ctx context.Context, id string) (Decision, error) {
	return l.reader.Lookup(ctx, id)
}

// Query streams the decisions that match, oldest first unless f.Reverse. An
// error ends the stream.
func (r *Reader) Query(ctx context.Context, f Filter) iter.Seq2[Decision, error] {
	return func(yield func(Decision, error) bool) {
		left := f.Limit
		stopped := false
		err := r.query(ctx, f, func(d Decision) bool {
			stopped = !yield(d, nil)
			left--
			return !stopped && left != 0
		})
		if err != nil && !stopped {
			yield(Decision{}, err)
		}
	}
}

func (r *Reader) query(ctx context.Context, f Filter, yield func(Decision) bool) error {
	m, err := compile(f)
	if err != nil {
		return err
	}

	switch {
	case m.hasID:
		return r.byID(m, yield)
	case f.Offset != nil:
		return r.byCoordinate(m, yield)
	}

	return r.scan(ctx, m, func(it *item) (bool, error) { return m.rows(it, yield), nil })
}

// Lookup returns the decision with an id, ErrNotFound if there is none. The id
// of a whole batch gives the row of that batch.
func (r *Reader) Lookup(ctx context.Context, id string) (Decision, error) {
	parsed, err := ParseDecisionID(id)
	if err != nil {
		return Decision{}, err
	}

	for d, err := range r.Query(ctx, Filter{DecisionID: id, ByBatch: parsed.Index < 0}) {
		return d, err
	}
	return Decision{}, ErrNotFound
}

func (r *Reader) byID(m *matcher, yield func(Decision) bool) error {
	err := r.at(m.id.Seq, func(it *item) {
		if it.node == m.id.Node {
			m.rows(it, yield)
		}
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}

	return err
}

// byCoordinate goes from the bindings that cover the offset to their batches.
// There is more than one where a topic was made anew under its old name, and
// where clusters have topics of the same name.
func (r *Reader) byCoordinate(m *matcher, yield func(Decision) bool) error {
	segs, err := r.refresh()
	if err != nil {
		return err
	}

	found, err := r.covering(segs, coord{m.f.Cluster, m.f.Topic, *m.f.Partition}, *m.f.Offset)
	if err != nil {
		return err
	}
	if m.f.Reverse {
		slices.Reverse(found)
	}

	for _, b := range found {
		more := true
		err := r.atIn(segs, b.seq, func(it *item) {
			more = m.rows(it, func(d Decision) bool { return !d.stands(&b, *m.f.Offset) || yield(d) })
		})
		if err != nil || !more {
			return err
		}
	}

	return nil
}

func (r *Reader) covering(segs []*indexed, at coord, offset int64) ([]bind, error) {
	var found []bind
	for _, s := range segs {
		if s.seal != nil && !s.seal.covers(at, offset) {
			continue
		}
		x, err := r.indexOf(s)
		if err != nil {
			return nil, err
		}

		found = append(found, x.covering(at, offset)...)
	}

	return found, nil
}

// stands reports whether the row is that of the record at an offset which the
// binding covers. A row by batch is.
func (d *Decision) stands(b *bind, offset int64) bool {
	switch {
	case d.Index < 0:
		return true
	case b.route == "":
		return d.Offset == offset
	default:
		return d.Routed != nil && d.Routed.Topic == b.route && d.Routed.Offset == offset
	}
}

// Totals counts decisions.
type Totals struct {
	Decisions int64            `json:"decisions"` // records; a batch that was refused as a whole counts once
	Batches   int64            `json:"batches"`
	Controls  int64            `json:"controls"`
	Outcomes  map[string]int64 `json:"outcomes"`
	Modules   map[string]int64 `json:"modules"` // by deciding module; "" if none or several
	Reasons   map[string]int64 `json:"reasons"` // without records that have none
	// Topics are by cluster, then by name.
	Topics map[string]map[string]int64 `json:"topics"`
}

// Summarize counts the decisions that match. Limit, Reverse and ByBatch mean
// nothing here.
func (r *Reader) Summarize(ctx context.Context, f Filter) (Totals, error) {
	t := Totals{
		Outcomes: make(map[string]int64),
		Modules:  make(map[string]int64),
		Reasons:  make(map[string]int64),
		Topics:   make(map[string]map[string]int64),
	}

	f.Limit = 0
	f.Reverse = false
	f.ByBatch = false

	m, err := compile(f)
	if err != nil {
		return t, err
	}

	if m.hasID || f.Offset != nil { // at most a few rows
		for d, err := range r.Query(ctx, f) {
			if err != nil {
				return t, err
			}
			t.row(&d)
		}
		return t, nil
	}

	return t, r.scan(ctx, m, func(it *item) (bool, error) {
		t.item(m, it)
		return true, nil
	})
}

func (t *Totals) row(d *Decision) {
	if d.Control != nil {
		t.Controls++
		return
	}
	t.Batches++
	t.add(d.Cluster, d.Topic, &fate{outcome: d.Outcome, reason: d.Reason, module: d.Module}, 1)
}

// item counts an entry by its rulings, without looking at each record.
func (t *Totals) item(m *matcher, it *item) {
	if it.kind != KindBatch {
		if m.control(it.control) {
			t.Controls++
		}
		return
	}

	e := it.batch
	if !m.batch(e) {
		return
	}

	counts := make([]int64, max(len(e.Rulings), 1))
	for _, r := range e.Runs {
		counts[r.Ruling] += int64(r.Count)
	}

	if len(e.Runs) == 0 {
		counts[0] = int64(e.decisions())
	}
	before := t.Decisions
	for i, f := range e.fates() {
		if counts[i] > 0 && m.fate(&f) {
			t.add(e.Cluster, e.Topic, &f, counts[i])
		}
	}

	if t.Decisions > before {
		t.Batches++
	}
}

func (t *Totals) add(cluster, topic string, f *fate, n int64) {
	t.Decisions += n
	t.Outcomes[f.outcome] += n
	if t.Topics[cluster] == nil {
		t.Topics[cluster] = make(map[string]int64)
	}

	t.Topics[cluster][topic] += n
	if f.reason != "" {
		t.Reasons[f.reason] += n
	}

	if f.module == nil {
		t.Modules[""] += n
		return
	}

	t.Modules[f.module.Name] += n
}
