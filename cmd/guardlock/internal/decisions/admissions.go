package decisions

import (
	"context"
	"io"
	"strings"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// admissionOf finds the entry that let a module of a batch run: the last one before
// the batch, of the same module, under the same policy and, where the batch had one
// module only, with the same grant.
func admissionOf(ctx context.Context, r *query.Reader, d query.Decision, m audit.ModuleRef) (query.Decision, bool, error) {
	f := query.Filter{
		Kinds:    []audit.Kind{audit.KindAdmission},
		Modules:  []string{m.Digest.String()},
		Outcomes: []string{"allowed"},
		To:       d.Time,
		Reverse:  true}
	for found, err := range r.Query(ctx, f) {
		if err != nil {
			return query.Decision{}, false, err
		}
		if found.Control.Module.Name == m.Name && found.Control.Revision == d.Batch.PolicyRevision && (len(d.Batch.Modules) > 1 || hasGrant(found.Control, d.Batch.GrantDigest)) {
			return found, true, nil
		}
	}

	return query.Decision{}, false, nil
}

// hasGrant reports whether the approvals of an admission are for a grant.
func hasGrant(c *audit.ControlEntry, grant audit.Digest) bool {
	for _, s := range c.Steps {
		if strings.Contains(s.Detail, "grant="+grant.String()) {
			return true
		}
	}
	return false
}

// writeAdmissions says who let the modules of a batch run.
func writeAdmissions(ctx context.Context, w io.Writer, r *query.Reader, d query.Decision) error {
	if d.Batch == nil {
		return nil
	}

	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	for _, m := range d.Batch.Modules {
		found, ok, err := admissionOf(ctx, r, d, m)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}

		f.field("admitted", "%s  %s at %s", m.Name, found.ID, found.Control.Subject)
		for _, s := range found.Control.Steps {
			if s.Name == "author" || s.Name == "approvals" {
				f.field("", "%s", s.Detail)
			}
		}
	}

	return f.err
}
