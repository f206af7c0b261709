package query

import (
	"context"
	"slices"

	"github.com/guardlock/guardlock/audit"
)

// AuthorityOf finds the entry that says what the gateway served under when it made a
// decision: the last of its kind before the decision's, by their numbers and not by a
// clock. Each segment repeats it, so that no earlier one is read. It returns
// audit.ErrNotFound where the log holds none.
func (r *Reader) AuthorityOf(ctx context.Context, d Decision) (found Decision, err error) {
	err = r.before(ctx, Filter{Kinds: []audit.Kind{audit.KindAuthority}}, d.ID.Seq, func(in Decision) bool {
		found = in
		return false
	})
	if err == nil && found.Control == nil {
		err = audit.ErrNotFound
	}
	return found, err
}

// before gives fn what comes before an entry in the log, the latest first, until it
// returns false. Times do not say that: clocks are set back.
func (r *Reader) before(ctx context.Context, f Filter, seq uint64, fn func(Decision) bool) error {
	f.Reverse = true
	m, err := r.compile(f)
	if err != nil {
		return err
	}

	search := m.search(func(s *audit.Summary) bool {
		first, _ := s.Entries()
		return first < seq && m.segment(s)
	})
	return r.Scan(ctx, search, func(it *audit.Item) (bool, error) {
		if it.Seq >= seq {
			return true, nil
		}
		return m.rows(it, fn), nil
	})
}

// LastAuthorityNaming finds the last authority that names a file of a role, in all of the
// log: what the gateway serves under now may have none any more. It returns
// audit.ErrNotFound where there is none.
func (r *Reader) LastAuthorityNaming(ctx context.Context, role string) (found Decision, err error) {
	m, err := r.compile(Filter{Kinds: []audit.Kind{audit.KindAuthority}, Reverse: true})
	if err != nil {
		return found, err
	}
	segs, err := r.Refresh()
	if err != nil {
		return found, err
	}

	named := func(s *audit.Summary) bool { // each repeats the authority, and few name such a file
		return s.Any(audit.AnyRole, func(text string) bool { return text == role })
	}
	err = r.ScanIn(ctx, segs, m.search(named), func(it *audit.Item) (bool, error) {
		return m.rows(it, func(in Decision) bool {
			if in.Control.Loaded == nil || !slices.ContainsFunc(in.Control.Loaded.Files, func(f audit.File) bool { return f.Role == role }) {
				return true
			}
			found = in
			return false
		}), nil
	})
	if err == nil && found.Control == nil {
		err = audit.ErrNotFound
	}
	return found, err
}
