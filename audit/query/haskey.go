package query

import (
	"context"

	"github.com/guardlock/guardlock/audit"
)

// HasKey reports whether the log, or a part of it, was written under an audit key.
func (r *Reader) HasKey(ctx context.Context, key [32]byte) (bool, error) {
	for d, err := range r.Query(ctx, Filter{Kinds: []audit.Kind{audit.KindOpen}}) {
		if err != nil {
			return false, err
		}
		if d.Control.OpenedWith(key) {
			return true, nil
		}
	}
	return false, nil
}
