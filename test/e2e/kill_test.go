package e2e

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

var kills = flag.Int("kills", 0, "kill `so often` in each test that does; 0 is as usual")

// killRounds is how often a test kills.
func killRounds() int {
	if *kills > 0 {
		return *kills
	}
	return usualRounds()
}

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

// kill -9 at any moment, again and again: no acknowledged record is lost, none is stored
// without its decision, and each decision can still be proven to somebody who has
// nothing but a file and the log's public key.
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
	stored := d.everyRecordHasItsDecision("idempotent")
	idempotent.compare(t, stored, false)
	plain.compare(t, d.everyRecordHasItsDecision("plain"), false)
	if out, exit := guardlock(t, "audit", "reconcile", "--bootstrap", d.address, "--dir", d.audit()); exit != 0 {
		t.Errorf("what is stored was not all decided:\n%s", out)
	}

	gateway.terminate()
	if out, exit := guardlock(t, "audit", "verify", "--dir", d.audit()); exit != 0 {
		t.Errorf("the log does not verify:\n%s", out)
	}
	for partition, records := range stored {
		for i := 0; i < len(records); i += max(1, len(records)/provenSample) {
			d.proves("idempotent", partition, records[i].offset)
		}
	}
}

// provenSample is about how many records of a partition are proven.
const provenSample = 10

// proves makes evidence of a record, and verifies that by the log's key alone.
func (d *deployment) proves(topic string, partition int32, offset int64) {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "record.evidence.json")
	place := fmt.Sprintf("%s/%d@%d", topic, partition, offset)
	if out, exit := guardlock(d.t, "audit", "prove", place, "--dir", d.audit(), "-o", file); exit != 0 {
		d.t.Errorf("%s cannot be proven:\n%s", place, out)
		return
	}
	if out, exit := guardlock(d.t, "audit", "verify", file, "--log-key", filepath.Join(d.dir, "data", "log.key.pub")); exit != 0 {
		d.t.Errorf("the evidence of %s does not verify:\n%s", place, out)
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

// everyBatchIsSettled waits until nothing is open in the log.
func (d *deployment) everyBatchIsSettled(topic string) {
	d.t.Helper()
	eventually(d.t, "every decision knows what became of its batch", func() bool {
		for _, b := range decisions(d.t, d.audit(), query.Filter{Topics: []string{topic}, ByBatch: true}) {
			if b.Batch.State == query.StateUnknown {
				return false
			}
		}
		return true
	})
}

// everyRecordHasItsDecision waits until nothing is open in the log, then asks
// it about every record that the topic holds. It returns the records.
func (d *deployment) everyRecordHasItsDecision(topic string) map[int32][]entry {
	d.t.Helper()
	d.everyBatchIsSettled(topic)
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
