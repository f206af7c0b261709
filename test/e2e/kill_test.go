package e2e

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

// crashPlan is a gateway with the embedded broker, all writes synced, and two
// topics under the judge.
func crashPlan() plan {
	m := judgeModule("idempotent", "plain")
	return plan{modules: []module{m}, bindings: map[string]string{"idempotent": "judge", "plain": "judge"}}
}

func startLoads(t *testing.T, addrs ...string) (idempotent, plain *load) {
	t.Helper()
	return startLoad(t, "idempotent", addrs), startLoad(t, "plain", addrs, kgo.DisableIdempotentWrite())
}

// kill -9 at any moment, again and again: no acknowledged record is lost, and
// no record is stored without its decision.
func TestKilledGatewayLosesNoAcknowledgedRecordAndNoDecision(t *testing.T) {
	d := deploy(t, crashPlan())
	gateway := serve(t, d)
	idempotent, plain := startLoads(t, d.address)
	for range killRounds() {
		idempotent.more(t, 40)
		plain.more(t, 40)
		gateway.kill()
		gateway = serve(t, d)
	}

	idempotent.finish(t)
	plain.finish(t)
	// The embedded broker saves sequence numbers as it ends, so that a retry is
	// hardly ever stored twice; but its promise is only that nothing is lost.
	idempotent.compare(t, d.everyRecordHasItsDecision("idempotent"), false)
	plain.compare(t, d.everyRecordHasItsDecision("plain"), false)
	gateway.terminate()

	if out, exit := guardlock(t, "audit", "verify", "--dir", d.audit()); exit != 0 {
		t.Errorf("the log does not verify:\n%s", out)
	}
}

// A killed broker is restarted; what it acknowledged is on its disk.
func TestKilledEmbeddedBrokerLosesNoAcknowledgedRecord(t *testing.T) {
	d := deploy(t, crashPlan())
	gateway := serve(t, d)
	idempotent, plain := startLoads(t, d.address)
	for range killRounds() {
		idempotent.more(t, 40)
		plain.more(t, 40)
		gateway.killBroker()
	}

	idempotent.more(t, 40)
	idempotent.finish(t)
	plain.finish(t)
	// kfake saves sequence numbers only when it ends in order, so that a retry
	// after its death may be stored twice.
	idempotent.compare(t, d.everyRecordHasItsDecision("idempotent"), false)
	plain.compare(t, d.everyRecordHasItsDecision("plain"), false)
	gateway.terminate()
}

// everyRecordHasItsDecision waits until nothing is open in the log, then asks
// it about every record that the topic holds. It returns the records.
func (d *deployment) everyRecordHasItsDecision(topic string) map[int32][]entry {
	d.t.Helper()
	eventually(d.t, "every decision knows what became of its batch", func() bool {
		for _, b := range decisions(d.t, d.audit(), query.Filter{Topics: []string{topic}, ByBatch: true}) {
			if b.Batch.State == query.StateUnknown {
				return false
			}
		}
		return true
	})

	r := must(query.Open(d.audit()))(d.t)
	defer r.Close()
	stored := map[int32][]entry{}
	undecided := 0
	twice := 0
	wrong := 0
	for partition := range int32(loadPartitions) {
		stored[partition] = readAll(d.t, d.address, topic, partition)
		for _, e := range stored[partition] {
			switch n, fits := d.ask(r, topic, partition, e); {
			case n == 0:
				undecided++
			case !fits:
				wrong++
			case n > 1:
				twice++
			}
		}
	}

	if undecided > 0 || wrong > 0 {
		d.t.Errorf("%s: %d stored records have no decision, %d one that does not fit", topic, undecided, wrong)
	}
	d.t.Logf("%s: %d records were decided again when their producer sent them again", topic, twice)
	return stored
}

// ask counts the decisions at a record's place, and says whether they fit it.
func (d *deployment) ask(r *query.Reader, topic string, partition int32, e entry) (n int, fits bool) {
	d.t.Helper()
	want := "passed"
	if e.value[0] == 'M' {
		want = "modified"
	}

	for found, err := range r.Query(context.WithoutCancel(d.t.Context()), query.Filter{Topics: []string{topic}, Partition: &partition, Offset: &e.offset}) {
		if err != nil {
			d.t.Fatal(err)
		}
		n, fits = n+1, (n == 0 || fits) && found.Outcome == want
	}

	return n, fits
}
