package query

import (
	"context"
	"encoding/hex"
	"slices"

	"github.com/guardlock/guardlock/audit"
)

// HasKey reports whether the log, or a part of it, was written under an audit key.
func (r *Reader) HasKey(ctx context.Context, key [32]byte) (bool, error) {
	id := audit.KeyID(key)
	mine := audit.Step{Name: audit.StepKeyID, Verdict: hex.EncodeToString(id[:])}
	for d, err := range r.Query(ctx, Filter{Kinds: []audit.Kind{audit.KindOpen}}) {
		if err != nil {
			return false, err
		}
		if slices.Contains(d.Control.Steps, mine) {
			return true, nil
		}
	}

	return false, nil
}
