package audit_test

import (
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// TestEveryRecordKeepsItsPlace: a record that was dropped or routed leaves a
// placeholder, whoever produced it, so that offset and index never part.
func TestEveryRecordKeepsItsPlace(t *testing.T) {
	for producer, id := range map[string]int64{"idempotent": 7, "plain": -1} {
		for _, kept := range []int{0, 2} { // behind two dropped and a routed one
			l := openMem(t, newMemFiles(), audit.Options{Node: "gw-1", Now: func() time.Time { return noon }})
			e := batchOf("cards", 1, 0)
			e.ProducerID = id
			e.Records = 3 + kept
			e.Outcome = audit.OutcomeModified
			e.Add(audit.Ruling{Verdict: audit.Dropped, Module: 1, Reason: "duplicate"}, 2)
			e.Add(audit.Ruling{Verdict: audit.Routed, Module: 1, Reason: "suspicious", Route: "quarantine"}, 1)

			if kept > 0 {
				e.Add(audit.Ruling{}, kept)
			}

			seq := mustAppend(t, l, e, nil)
			l.Place(seq, audit.Placement{BaseOffset: 70})
			flushed(t, l)

			ds := collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"cards"}})
			if len(ds) != 3+kept {
				t.Errorf("%s: %d decisions", producer, len(ds))
			}

			for i, d := range ds {
				if d.Offset != int64(70+i) || d.Index != i {
					t.Errorf("%s, %d kept: record %d is index %d at %d", producer, kept, i, d.Index, d.Offset)
				}
			}
		}
	}
}
