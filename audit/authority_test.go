package audit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// A decision's authority is the last before it in the log, whatever clocks said, also
// where the entry that said it first was pruned.
func TestTheAuthorityOfADecisionIsTheLastBeforeIt(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	const each = 60
	decide(t, l, 0, 1)
	for n := range 3 {
		err := l.Record(t.Context(), audit.ControlEntry{
			Kind: audit.KindAuthority, Time: noon.Add(-time.Duration(n) * 24 * time.Hour), Subject: "guardlock.yaml", Outcome: "in_force", Revision: fmt.Sprint(n),
			Loaded: &audit.Loaded{Files: []audit.File{{Role: "configuration", Name: "guardlock.yaml", Digest: audit.Digest{1}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		decide(t, l, 1+n*each, each)
	}
	mustClose(t, l)

	check := func(when string) {
		t.Helper()
		r := query.New(readerOf(d))
		for _, row := range collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}) {
			at := int(row.Time.Sub(noon).Minutes()) - 1
			in, err := r.AuthorityOf(t.Context(), row)
			if at < 0 {
				if !errors.Is(err, audit.ErrNotFound) {
					t.Errorf("%s: of what was before all: %v", when, err)
				}
				continue
			}
			if err != nil || in.Control.Revision != fmt.Sprint(at/each) || in.ID.Seq >= row.ID.Seq {
				t.Fatalf("%s: of batch %d: entry %d, %+v, %v", when, row.ID.Seq, in.ID.Seq, in.Control, err)
			}
		}
	}

	check("whole")
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(2 * time.Hour)})); err != nil {
		t.Fatal(err)
	}
	check("pruned")
}
