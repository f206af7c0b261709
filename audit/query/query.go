// Package query answers questions about decisions from the files of a log: which
// match, which is at an offset, how many there are, which come next. A row is one
// record; package audit keeps one entry for a batch.
//
// Nothing here needs a key or writes anything, and all of it may be used beside a
// gateway that is writing: then it sees what is durable. Errors are audit's.
package query

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/guardlock/guardlock/audit"
)

// Reader answers questions from a log's entries. Its methods are safe for
// concurrent use.
type Reader struct{ *audit.Reader }

// Open opens the log in dir for reading. It needs no key, writes nothing,
// and may be used beside a gateway that is writing: then it sees what is durable.
func Open(dir string) (*Reader, error) {
	r, err := audit.OpenReader(dir)
	if err != nil {
		return nil, err
	}
	return &Reader{r}, nil
}

// New answers from what r reads.
func New(r *audit.Reader) *Reader { return &Reader{r} }

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
	m, err := r.compile(f)
	if err != nil {
		return err
	}

	switch {
	case m.hasID:
		return r.byID(m, yield)
	case f.Offset != nil && f.LastOffset == nil:
		return r.byCoordinate(m, yield)
	}

	return r.Scan(ctx, m.search(m.segment), func(it *audit.Item) (bool, error) { return m.rows(it, yield), nil })
}

// compile makes the matcher of a filter, which knows where the log begins.
func (r *Reader) compile(f Filter) (*matcher, error) {
	m, err := compile(f)
	if err != nil {
		return nil, err
	}

	segs, err := r.Refresh()
	if err != nil || len(segs) == 0 {
		return m, err
	}
	m.first, m.next = segs[0].Entries()
	return m, nil
}

// Lookup returns the decision with an id, ErrNotFound if there is none. The id
// of a whole batch gives the row of that batch.
func (r *Reader) Lookup(ctx context.Context, id string) (Decision, error) {
	parsed, err := audit.ParseDecisionID(id)
	if err != nil {
		return Decision{}, err
	}

	for d, err := range r.Query(ctx, Filter{ByBatch: parsed.Index < 0, Finer: Finer{DecisionID: id}}) {
		return d, err
	}
	return Decision{}, audit.ErrNotFound
}

func (r *Reader) byID(m *matcher, yield func(Decision) bool) error {
	err := r.At(m.id.Seq, func(it *audit.Item) {
		if it.Node == m.id.Node {
			m.rows(it, yield)
		}
	})
	if errors.Is(err, audit.ErrNotFound) {
		return nil
	}

	return err
}

// byCoordinate goes from the bindings that cover the offset to their batches.
// There is more than one where a topic was made anew under its old name, and
// where clusters have topics of the same name.
func (r *Reader) byCoordinate(m *matcher, yield func(Decision) bool) error {
	segs, err := r.Refresh()
	if err != nil {
		return err
	}

	found, err := r.Covering(segs, audit.Coord{Cluster: m.f.Cluster, Topic: m.f.Topics[0], Partition: *m.f.Partition}, *m.f.Offset)
	if err != nil {
		return err
	}
	if m.f.Reverse {
		slices.Reverse(found)
	}

	for _, b := range found {
		more := true
		err := r.AtIn(segs, b.Seq, func(it *audit.Item) {
			more = m.rows(it, func(d Decision) bool { return !d.stands(&b, *m.f.Offset) || yield(d) })
		})
		if err != nil || !more {
			return err
		}
	}

	return nil
}

// stands reports whether the row is that of the record at an offset which the
// binding covers. A row by batch is.
func (d *Decision) stands(b *audit.Bind, offset int64) bool {
	switch {
	case d.Index < 0:
		return true
	case b.Route == "":
		return d.Offset == offset
	default:
		return d.Routed != nil && d.Routed.Topic == b.Route && d.Routed.Offset == offset
	}
}

// Totals counts decisions.
type Totals struct {
	Decisions int64            `json:"decisions"` // records; a batch that was refused as a whole counts once
	Batches   int64            `json:"batches"`
	Controls  int64            `json:"controls"` // all other entries
	Outcomes  map[string]int64 `json:"outcomes"`
	Modules   map[string]int64 `json:"modules"` // by deciding module; "" if none or several
	Reasons   map[string]int64 `json:"reasons"` // without records that have none
	// Topics are by cluster, then by name.
	Topics map[string]map[string]int64 `json:"topics"`
}

// Summarize counts the decisions that match. Limit, Reverse and ByBatch mean
// nothing here.
func (r *Reader) Summarize(ctx context.Context, f Filter) (Totals, error) {
	t := newTotals()
	f.Limit = 0
	f.Reverse = false
	f.ByBatch = false
	f.ByRun = false
	f.After = After{}

	m, err := compile(f)
	if err != nil {
		return t, err
	}

	if m.hasID || f.Offset != nil { // row by row, since a batch may fit in part
		last := uint64(0)
		for d, err := range r.Query(ctx, f) {
			if err != nil {
				return t, err
			}
			t.row(&d, d.ID.Seq != last)
			last = d.ID.Seq
		}
		return t, nil
	}

	return t, r.sum(ctx, m, &t)
}

// row counts a row; begins says that it is the first of its batch.
func (t *Totals) row(d *Decision, begins bool) {
	if d.Control != nil {
		t.Controls++
		return
	}
	if begins {
		t.Batches++
	}
	t.add(d.Cluster, d.Topic, &audit.RuledOutcome{Outcome: d.Outcome, Reason: d.Reason, Module: d.Module}, 1)
}

// item counts an entry by its rulings, without looking at each record.
func (t *Totals) item(m *matcher, it *audit.Item) {
	if it.Kind != audit.KindBatch {
		if m.counted(it.Control) {
			t.Controls++
		}
		return
	}

	e := it.Batch
	if !m.batch(e) || !m.state(it) {
		return
	}

	counts := countsByRuling(e)
	before := t.Decisions
	for i, f := range ruledOutcomes(it, e) {
		if counts[i] > 0 && m.ruled(&f) {
			t.add(e.Cluster, e.Topic, &f, counts[i])
		}
	}

	if t.Decisions > before {
		t.Batches++
	}
}

func newTotals() Totals {
	return Totals{
		Outcomes: make(map[string]int64),
		Modules:  make(map[string]int64),
		Reasons:  make(map[string]int64),
		Topics:   make(map[string]map[string]int64),
	}
}

// merge adds what was counted elsewhere.
func (t *Totals) merge(o *Totals) {
	t.Decisions += o.Decisions
	t.Batches += o.Batches
	t.Controls += o.Controls
	addAll(t.Outcomes, o.Outcomes)
	addAll(t.Modules, o.Modules)
	addAll(t.Reasons, o.Reasons)

	for cluster, topics := range o.Topics {
		if t.Topics[cluster] == nil {
			t.Topics[cluster] = make(map[string]int64)
		}
		addAll(t.Topics[cluster], topics)
	}
}

func addAll(to, from map[string]int64) {
	for name, n := range from {
		to[name] += n
	}
}

func (t *Totals) add(cluster, topic string, f *audit.RuledOutcome, n int64) {
	t.Decisions += n
	t.Outcomes[f.Outcome] += n
	t.onTopic(cluster, topic, n)

	if f.Reason != "" {
		t.Reasons[f.Reason] += n
	}

	if f.Module == nil {
		t.Modules[""] += n
		return
	}

	t.Modules[f.Module.Name] += n
}
