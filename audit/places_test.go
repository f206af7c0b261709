package audit_test

import (
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// TestABatchOfNothingButDroppedRecordsKeepsItsPlaces: no broker stores a batch without records, so what is dropped leaves
// placeholders behind, even where there is no producer id to keep sequence numbers for.
func TestABatchOfNothingButDroppedRecordsKeepsItsPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		kept   int // records behind two dropped and a routed one
		stored int
		want   []int64
	}{
		"nothing is kept": {0, 3, []int64{70, 71, 72}},
		"one is kept":     {1, 1, []int64{-1, -1, -1, 70}},
	} {
		l := openMem(t, newMemFiles(), audit.Options{Node: "gw-1", Now: func() time.Time { return noon }})
		e := batchOf("cards", 1, 0)
		e.ProducerID = -1
		e.Records = 3 + c.kept
		e.Outcome = audit.OutcomeDropped
		e.Add(audit.Ruling{Verdict: audit.Dropped, Module: 1, Reason: "duplicate"}, 2)
		e.Add(audit.Ruling{Verdict: audit.Routed, Module: 1, Reason: "suspicious", Route: "quarantine"}, 1)

		if c.kept > 0 {
			e.Outcome = audit.OutcomeModified
			e.Add(audit.Ruling{}, c.kept)
		}

		seq := mustAppend(t, l, e, nil)
		if open := l.Unplaced(); len(open) != 1 || open[0].Stored != c.stored {
			t.Errorf("%s: forwarded as %+v", name, open)
		}

		l.Place(seq, audit.Placement{BaseOffset: 70})
		flushed(t, l)
		for i, d := range collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"cards"}}) {
			if d.Offset != c.want[i] {
				t.Errorf("%s: record %d is at %d, want %d", name, i, d.Offset, c.want[i])
			}
		}
	}
}
