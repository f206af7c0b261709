package e2e

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// What the modules let pass and the broker refuses is in no topic, and the log does
// not say that it passed.
func TestWhatTheBrokerRefusesIsNotSaidToHavePassed(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	p := c.newProducer()
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(p, "a")})))[0], 0)

	p.sequence = 7 // the broker waits for 1
	want := kerr.OutOfOrderSequenceNumber
	if got := results(c.request(produceOf(-1, part{"in", 0, batchOf(p, "b", "c")})))[0]; got.ErrorCode != want.Code {
		t.Fatalf("the answer is code %d, not %d", got.ErrorCode, want.Code)
	}

	var refused []query.Decision
	eventually(t, "the log knows the broker's answer", func() bool {
		refused = decisions(t, w.logDir, query.Filter{Outcomes: []string{query.NotStored}})
		return len(refused) == 2
	})
	for _, d := range refused {
		if b := d.Batch; d.Verdict != audit.Passed || d.Offset != -1 || b.Outcome != audit.OutcomePassed || b.State != query.StateRefused || b.Error() != want.Message {
			t.Errorf("the log says %+v of %+v", b, d)
		}
	}
	if passed := decisions(t, w.logDir, query.Filter{Outcomes: []string{"passed"}}); len(passed) != 1 || passed[0].Offset != 0 {
		t.Errorf("what passed: %+v", passed)
	}
}
