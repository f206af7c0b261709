package query

import (
	"context"

	"github.com/guardlock/guardlock/audit"
)

// AuthorityOf finds the entry that says what the gateway served under when it made a
// decision: the last of its kind before the decision's, by their numbers and not by a
// clock. It returns audit.ErrNotFound where the log holds none.
func (r *Reader) AuthorityOf(ctx context.Context, d Decision) (Decision, error) {
	for found, err := range r.Query(ctx, Filter{Kinds: []audit.Kind{audit.KindAuthority}, Reverse: true}) {
		if err != nil {
			return Decision{}, err
		}
		if found.ID.Seq < d.ID.Seq {
			return found, nil
		}
	}
	return Decision{}, audit.ErrNotFound
}
