package kafka

import "testing"

// TestEveryRefusedRecordLeadsToItsOwnDecision: a gateway names one decision for
// a whole batch, and an auditor asks about a record.
func TestEveryRefusedRecordLeadsToItsOwnDecision(t *testing.T) {
	for _, c := range []struct {
		name, batch, record string
		index               int
		want                Reported
	}{
		{"the batch's id", "refused (fraud.country, decision gl-0a0b0c0d-7k)", "fraud.country", 3, Reported{"fraud.country", "gl-0a0b0c0d-7k-3"}},
		{"the id of the first", "refused (fraud.country, decision gl-0a0b0c0d-7k-1)", "fraud.country", 3, Reported{"fraud.country", "gl-0a0b0c0d-7k-3"}},
		{"the record's own id", "refused", "no (gl-0a0b0c0d-7k-3)", 3, Reported{"no (gl-0a0b0c0d-7k-3)", "gl-0a0b0c0d-7k-3"}},
		{"no record is named", "no module (decision gl-0a0b0c0d-7k)", "", 3, Reported{"no module (decision gl-0a0b0c0d-7k)", "gl-0a0b0c0d-7k"}},
		{"a broker's own words", "broken", "bad timestamp", 0, Reported{"bad timestamp", ""}},
		{"silence", "", "", 0, Reported{}},
	} {
		if got := NewReported(c.batch, c.record, c.index); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
