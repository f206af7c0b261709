package audit

import (
	"context"
	"errors"
	"fmt"
)

// PlacedAt returns the batches that bindings put at an offset of a partition:
// several, where a topic was made anew under its old name. What was bound
// before the call counts, although a binding is lazy: it is waited for. Copies
// of routed records are not looked at.
func (l *Log) PlacedAt(ctx context.Context, t Target, offset int64) ([]BatchRef, error) {
	if err := l.flush(ctx); err != nil {
		return nil, err
	}
	return l.reader.boundAt(Coord{t.Cluster, t.Topic, t.Partition}, offset)
}

// flush returns when everything added before the call is durable.
func (l *Log) flush(ctx context.Context) error {
	l.mu.Lock()
	f := l.w.latest()
	l.mu.Unlock()
	if f == nil {
		return nil
	}
	return Ticket{flight: f, awaited: l.awaited}.Wait(ctx)
}

func (r *Reader) boundAt(at Coord, offset int64) ([]BatchRef, error) {
	segs, err := r.Refresh()
	if err != nil {
		return nil, err
	}

	found, err := r.Covering(segs, at, offset)
	if err != nil {
		return nil, err
	}

	var refs []BatchRef
	for _, b := range found {
		if b.Route != "" {
			continue
		}
		ref, err := r.refOf(b.Seq)
		if err != nil {
			return nil, fmt.Errorf("reading batch %d: %w", b.Seq, err)
		}

		refs = append(refs, *ref)
	}

	return refs, nil
}

// Covering lists the bindings that cover a coordinate, oldest first.
func (r *Reader) Covering(segs []*Indexed, at Coord, offset int64) ([]Bind, error) {
	var found []Bind
	for _, s := range segs {
		if s.Seal != nil && !s.Seal.covers(at, offset) {
			continue
		}

		some, err := r.coveringIn(s, at, offset)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}

	return found, nil
}

func (r *Reader) coveringIn(s *Indexed, at Coord, offset int64) ([]Bind, error) {
	sc, err := r.Scanner(s)
	if errors.Is(err, ErrPruned) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	defer sc.Close()
	found, err := sc.covering(at, offset)
	if errors.Is(err, errIndex) {
		if err := sc.renew(); err != nil {
			return nil, err
		}
		found, err = sc.covering(at, offset)
	}

	return found, err
}
