package decisions

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// suspension is why a binding's modules were given no batches.
type suspension struct {
	Decision string `json:"decision_id"`
	Since    string `json:"since"`
	Module   string `json:"module"`
	Cause    string `json:"cause"`
	Client   string `json:"client,omitempty"` // empty: all
}

// suspensionOf finds the suspension that a batch was refused for: the last before it
// of one of its modules, and of its client or of everybody.
func suspensionOf(ctx context.Context, r *query.Reader, d *query.Decision) (*suspension, error) {
	if d.Batch == nil || d.Batch.Reason != "module_suspended" {
		return nil, nil
	}

	f := query.Filter{
		Kinds:    []audit.Kind{audit.KindConduct},
		Outcomes: []string{"suspended"},
		To:       d.Time.Add(entryLate),
		Reverse:  true,
	}
	for found, err := range r.Query(ctx, f) {
		if err != nil {
			return nil, err
		}

		c := found.Control
		ofModule := slices.Contains(d.Batch.Modules, c.Module)
		if ofModule && (c.Principal == "" || c.Principal == d.Principal || c.Principal == pipeline.SourceOf(d.Source)) {
			return &suspension{
				Decision: fmt.Sprint(found.ID),
				Since:    found.Time.UTC().Format(time.RFC3339),
				Module:   c.Module.Name,
				Cause:    c.Reason,
				Client:   c.Principal,
			}, nil
		}
	}

	return nil, nil
}

// entryLate is how far the entry of a suspension may lie behind the first batch that
// was refused for it, which did not wait for it.
const entryLate = time.Second
