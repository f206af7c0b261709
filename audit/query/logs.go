package query

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/guardlock/guardlock/audit"
)

// Log is one gateway's log among several.
type Log struct {
	Gateway string // on each of its rows; "" where it is the only one
	Dir     string // where it is, and what belongs to it beside it
	Node    uint32 // in its decisions' ids
	*Reader
}

// Logs are those of a cluster's gateways. Their rows are merged by time: no order
// among gateways is claimed beyond what their clocks say, and each log keeps its own.
type Logs []Log

// Cursor says by node how far each log was read. A log that it lacks is at its
// beginning.
type Cursor map[uint32]After

// ErrForeignCursor means that a cursor is of a log that is not among those asked.
var ErrForeignCursor = errors.New("cursor of another log")

// Note moves the cursor to a row.
func (c Cursor) Note(d *Decision) { c[d.ID.Node] = After{d.ID.Seq, d.Index} }

// String spells the ids of the last rows, one for each log.
func (c Cursor) String() string {
	ids := make([]string, 0, len(c))
	for _, node := range slices.Sorted(maps.Keys(c)) {
		ids = append(ids, audit.DecisionID{Node: node, Seq: c[node].Seq, Index: c[node].Index}.String())
	}
	return strings.Join(ids, ",")
}

// ParseCursor is the inverse of String. The id of any decision is a cursor, too.
func ParseCursor(s string) (Cursor, error) {
	c := make(Cursor)
	if s == "" {
		return c, nil
	}

	for part := range strings.SplitSeq(s, ",") {
		id, err := audit.ParseDecisionID(part)
		if err != nil {
			return nil, fmt.Errorf("parsing cursor: %w", err)
		}
		if _, twice := c[id.Node]; twice {
			return nil, fmt.Errorf("parsing cursor: log %08x is in it twice", id.Node)
		}
		c[id.Node] = After{id.Seq, id.Index}
	}

	return c, nil
}

// Of returns the log whose decisions' ids have a node.
func (l Logs) Of(node uint32) (Log, bool) {
	i := slices.IndexFunc(l, func(log Log) bool { return log.Node == node })
	if i < 0 {
		return Log{}, false
	}
	return l[i], true
}

// Check returns an error where the cursor does not lie in the logs: it is of another
// log, or of entries that are not there.
func (l Logs) Check(c Cursor) error {
	for node, after := range c {
		log, there := l.Of(node)
		if !there {
			return fmt.Errorf("%w: none of those given has decisions gl-%08x-…", ErrForeignCursor, node)
		}

		segs, err := log.Refresh()
		if err != nil {
			return err
		}
		if next := log.NextSeq(segs); after.Seq >= next {
			return fmt.Errorf("entry %d: %w: the log ends before it", after.Seq, audit.ErrNoPosition)
		}
		if _, err := log.SegmentOf(after.Seq + 1); errors.Is(err, audit.ErrNotFound) {
			return fmt.Errorf("what follows entry %d: %w", after.Seq, audit.ErrPruned)
		}
	}

	return nil
}

// Ends is a cursor behind all that is durable now.
func (l Logs) Ends() (Cursor, error) {
	c := make(Cursor)
	for _, log := range l {
		segs, err := log.Refresh()
		if err != nil {
			return nil, err
		}
		c[log.Node] = After{Index: math.MaxInt}
		if len(segs) > 0 {
			c[log.Node] = After{log.NextSeq(segs) - 1, math.MaxInt}
		}
	}

	return c, nil
}

// Query streams the decisions of all logs that match and come behind the cursor, by
// time. An error of any log ends the stream.
func (l Logs) Query(ctx context.Context, f Filter, after Cursor) iter.Seq2[Decision, error] {
	return func(yield func(Decision, error) bool) {
		m := merge{reverse: f.Reverse, rest: f.Rest}
		defer m.stop()
		for _, log := range l {
			f.After = after[log.Node]
			if !m.add(log.rows(ctx, f), yield) {
				return
			}
		}

		for left := f.Limit; len(m.heads) > 0; {
			more, err := m.first(yield)
			left--
			if err != nil {
				yield(Decision{}, errors.Join(append(m.damaged, err)...))
				return
			}
			if !more {
				return
			}
			if left == 0 {
				break
			}
		}
		if len(m.damaged) > 0 {
			yield(Decision{}, errors.Join(m.damaged...))
		}
	}
}

// rows are those of one log, with its gateway's name.
func (log Log) rows(ctx context.Context, f Filter) iter.Seq2[Decision, error] {
	return func(yield func(Decision, error) bool) {
		for d, err := range log.Reader.Query(ctx, f) {
			d.Gateway = log.Gateway
			if !yield(d, log.named(err)) {
				return
			}
		}
	}
}

func (log Log) named(err error) error {
	if err == nil || log.Gateway == "" {
		return err
	}
	return fmt.Errorf("log of %s: %w", log.Gateway, err)
}

// head is the next row of one log.
type head struct {
	row  Decision
	next func() (Decision, error, bool)
}

// merge takes the first of several streams' heads.
type merge struct {
	heads   []*head
	stops   []func()
	reverse bool
	rest    bool    // the others go on where one is damaged
	damaged []error // what ended those that are
}

func (m *merge) stop() {
	for _, stop := range m.stops {
		stop()
	}
}

// add begins with a stream; false means that it failed, and that this was given on.
func (m *merge) add(rows iter.Seq2[Decision, error], yield func(Decision, error) bool) bool {
	next, stop := iter.Pull2(rows)
	m.stops = append(m.stops, stop)
	h := &head{next: next}

	there, err := m.advance(h)
	if err != nil {
		yield(Decision{}, err)
		return false
	}
	if there {
		m.heads = append(m.heads, h)
	}
	return true
}

// advance reads the next row of a stream, for which an error is its end.
func (m *merge) advance(h *head) (bool, error) {
	row, err, there := h.next()
	h.row = row
	if m.rest && errors.Is(err, audit.ErrCorrupt) {
		m.damaged = append(m.damaged, err)
		return false, nil
	}
	return there, err
}

// first gives the first row, and advances its stream.
func (m *merge) first(yield func(Decision, error) bool) (bool, error) {
	best := 0
	for i, h := range m.heads {
		order := h.row.Time.Compare(m.heads[best].row.Time)
		if m.reverse && order > 0 || !m.reverse && order < 0 {
			best = i
		}
	}

	h := m.heads[best]
	if !yield(h.row, nil) {
		return false, nil
	}
	there, err := m.advance(h)
	if !there {
		m.heads = slices.Delete(m.heads, best, best+1)
	}
	return true, err
}

// Follow streams what becomes durable in any of the logs, as Reader.Follow does for
// one: in each log's order, and among them as it comes.
func (l Logs) Follow(ctx context.Context, f Filter, after Cursor) iter.Seq2[Decision, error] {
	return func(yield func(Decision, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()

		type row struct {
			decision Decision
			err      error
		}
		rows := make(chan row)
		for _, log := range l {
			f := f
			f.After = after[log.Node]
			all.Go(func() {
				for d, err := range log.Reader.Follow(ctx, f) {
					d.Gateway = log.Gateway
					select {
					case rows <- row{d, log.named(err)}:
					case <-ctx.Done():
						return
					}
				}
			})
		}

		for left := f.Limit; ; {
			select {
			case r := <-rows:
				left--
				if !yield(r.decision, r.err) || r.err != nil || left == 0 {
					return
				}
			case <-ctx.Done():
				yield(Decision{}, fmt.Errorf("following decision logs: %w", ctx.Err()))
				return
			}
		}
	}
}

// Summarize counts what matches in all logs.
func (l Logs) Summarize(ctx context.Context, f Filter) (Totals, error) {
	sum := newTotals()
	for _, log := range l {
		t, err := log.Reader.Summarize(ctx, f)
		if err != nil {
			return sum, log.named(err)
		}
		sum.merge(&t)
	}

	return sum, nil
}

// Unseen returns what a filter asks for that none of the logs has seen.
func (l Logs) Unseen(ctx context.Context, f Filter) ([]Unseen, error) {
	var all []Unseen
	for i, log := range l {
		missing, err := log.Reader.Unseen(ctx, f)
		if err != nil {
			return nil, log.named(err)
		}
		if i == 0 {
			all = missing
			continue
		}

		var still []Unseen
		for _, u := range all {
			same := slices.IndexFunc(missing, func(o Unseen) bool { return o.What == u.What && o.Name == u.Name })
			if same >= 0 {
				u.Known = slices.Compact(slices.Sorted(slices.Values(append(u.Known, missing[same].Known...))))
				still = append(still, u)
			}
		}
		all = still
	}

	return all, nil
}

// Close closes every log.
func (l Logs) Close() error {
	var errs []error
	for _, log := range l {
		errs = append(errs, log.Reader.Close())
	}
	return errors.Join(errs...)
}
