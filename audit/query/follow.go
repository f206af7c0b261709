package query

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/guardlock/guardlock/audit"
)

const (
	followInterval = 100 * time.Millisecond
	// followPatience is how long a decision is held back for its offset.
	followPatience = 2 * time.Second
)

// Follow streams the decisions that match as they become durable: those from
// f.From or f.After on, or only new ones if neither is set. A forwarded batch is held
// back until its offset is known, for at most two seconds. The stream ends with
// the context's error or the log's. Limit counts; Reverse means nothing.
func (r *Reader) Follow(ctx context.Context, f Filter) iter.Seq2[Decision, error] {
	return func(yield func(Decision, error) bool) {
		f.Reverse = false
		t := follower{reader: r, left: f.Limit, yield: func(d Decision) bool { return yield(d, nil) }}
		if err := t.run(ctx, f); err != nil && !t.enough {
			yield(Decision{}, err)
		}
	}
}

// follower goes along the log.
type follower struct {
	reader  *Reader
	matcher *matcher
	next    uint64 // sequence number to look at next
	held    uint64 // entry that is held back, and since when
	since   time.Time
	left    int
	enough  bool
	yield   func(Decision) bool
}

func (t *follower) run(ctx context.Context, f Filter) error {
	var err error
	if t.matcher, err = t.reader.compile(f); err != nil {
		return err
	}
	if t.next, err = t.reader.firstToFollow(f); err != nil {
		return err
	}

	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		if more, err := t.step(ctx); err != nil || !more {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("following decision log: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// firstToFollow returns the sequence number that following begins with.
func (r *Reader) firstToFollow(f Filter) (uint64, error) {
	segs, err := r.Refresh()
	if err != nil || len(segs) == 0 || !f.From.IsZero() {
		return max(f.After.Seq, 1), err
	}
	if f.After != (After{}) {
		return f.After.Seq, nil
	}
	return r.NextSeq(segs), nil
}

// step gives out what is new. It returns false when whoever reads the stream
// has had enough.
func (t *follower) step(ctx context.Context) (bool, error) {
	segs, err := t.reader.Refresh()
	if err != nil {
		return false, err
	}

	for _, s := range segs {
		if s.Seal != nil && (s.Seal.NextSeq <= t.next || !t.matcher.segment(s.Seal)) {
			t.next = max(t.next, s.Seal.NextSeq)
			continue
		}

		more, err := t.segment(ctx, s)
		if err != nil || t.enough {
			return false, err
		}
		if !more {
			return true, nil
		}
	}

	return true, nil
}

// segment gives out one segment's entries from t.next on. It returns false if
// it stopped before the end.
func (t *follower) segment(ctx context.Context, s *audit.Indexed) (bool, error) {
	sc, err := t.reader.Scanner(s)
	if errors.Is(err, audit.ErrPruned) {
		return true, nil
	}
	if err != nil {
		return false, err
	}

	defer sc.Close()
	return sc.Each(ctx, t.next, t.item)
}

// item gives out one entry, or stops at one whose binding may still come.
func (t *follower) item(it *audit.Item) (bool, error) {
	if it.Seq < t.next {
		return true, nil
	}
	if it.Kind == audit.KindBatch && it.Batch.Awaits() && t.matcher.batch(it.Batch) && t.hold(it) {
		return false, nil
	}

	t.next = it.Seq + 1
	t.matcher.rows(it, func(d Decision) bool {
		t.left--
		t.enough = !t.yield(d) || t.left == 0
		return !t.enough
	})

	return !t.enough, nil
}

func (t *follower) hold(it *audit.Item) bool {
	if _, ok := it.Bound(""); ok {
		return false
	}
	if t.held != it.Seq {
		t.held = it.Seq
		t.since = time.Now()
	}

	return time.Since(t.since) < followPatience
}
