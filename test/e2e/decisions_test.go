package e2e

import (
	"regexp"
	"testing"

	"github.com/guardlock/guardlock/audit/query"
)

// decisions are what the log says, read from its files as an auditor would.
func decisions(t *testing.T, dir string, f query.Filter) []query.Decision {
	t.Helper()
	r := must(query.Open(dir))(t)
	defer r.Close()

	var out []query.Decision
	for d, err := range r.Query(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}

	return out
}

// at is the one decision about a stored record. The offset is bound a moment
// after the acknowledgement.
func (w *world) at(topic string, partition int32, offset int64) query.Decision {
	w.t.Helper()
	return decisionAt(w.t, w.logDir, topic, partition, offset)
}

func decisionAt(t *testing.T, dir, topic string, partition int32, offset int64) query.Decision {
	t.Helper()
	var found []query.Decision
	eventually(t, "the log names a stored record", func() bool {
		found = decisions(t, dir, query.Filter{Topics: []string{topic}, Partition: &partition, Offset: &offset})
		return len(found) > 0
	})

	if len(found) != 1 {
		t.Fatalf("%s/%d@%d has %d decisions", topic, partition, offset, len(found))
	}
	return found[0]
}

// decided fails unless the record at a coordinate has this outcome and reason.
func (w *world) decided(topic string, partition int32, offset int64, outcome, reason string) {
	w.t.Helper()
	if d := w.at(topic, partition, offset); d.Outcome != outcome || d.Reason != reason {
		w.t.Errorf("the log says of %s/%d@%d: %s (%s), not %s (%s)", topic, partition, offset, d.Outcome, d.Reason, outcome, reason)
	}
}

var decisionID = regexp.MustCompile(`decision (gl-[0-9a-z-]+)\)`)

// refusal is what a producer must be told when nothing of its batch is stored.
type refusal struct {
	code    int16
	outcome string
	reason  string
	records []int32 // of the KIP-467 list
}

// refused fails unless an answer says why, and names a decision that the log
// knows and that says the same.
func (w *world) refused(got kmsgPartition, want refusal) query.Decision {
	w.t.Helper()
	if got.ErrorCode != want.code || got.BaseOffset != -1 || got.ErrorMessage == nil {
		w.t.Fatalf("the answer is code %d, offset %d, message %q; want code %d", got.ErrorCode, got.BaseOffset, deref(got.ErrorMessage), want.code)
	}

	var records []int32
	for _, e := range got.ErrorRecords {
		records = append(records, e.RelativeOffset)
		if d := w.lookup(deref(e.ErrorMessage)); d.Index != int(e.RelativeOffset) || d.Outcome != want.outcome || d.Reason != want.reason {
			w.t.Errorf("record %d is refused with %q, of which the log says %s (%s)", e.RelativeOffset, *e.ErrorMessage, d.Outcome, d.Reason)
		}
	}

	equal(w.t, "records refused", records, want.records)
	d := w.lookup(*got.ErrorMessage)
	if d.Batch == nil || d.Batch.Outcome.String() != want.outcome || d.Reason != want.reason || d.Offset != -1 {
		w.t.Errorf("the log says %s (%s) at offset %d of %s, want %s (%s) at none", d.Outcome, d.Reason, d.Offset, d.ID, want.outcome, want.reason)
	}

	return d
}

// lookup is the decision that a producer's error names.
func (w *world) lookup(message string) query.Decision {
	w.t.Helper()
	id := decisionID.FindStringSubmatch(message)
	if id == nil {
		w.t.Fatalf("%q names no decision", message)
	}

	r := must(query.Open(w.logDir))(w.t)
	defer r.Close()
	return must(r.Lookup(w.t.Context(), id[1]))(w.t)
}
