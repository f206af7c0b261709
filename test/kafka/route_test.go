//go:build kafka

package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

const (
	quarantine = "quarantine"
	// large makes the module fraud send payments above 1000 to the quarantine.
	large = `{"threshold": 80, "action": "route", "rules": [{"path": "$.amount", "op": "gt", "value": 1000, "weight": 80, "reason": "fraud.amount"}]}`
)

// quarantined makes the topic, where it is not there, and returns what is in it. It takes a record of acks=all only while all
// three nodes have it.
func quarantined(t *testing.T) map[position]*kgo.Record {
	t.Helper()
	all := "3"
	_, err := direct().admin(t).CreateTopic(patient(t), 1, 3, map[string]*string{"min.insync.replicas": &all}, quarantine)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}

	awaitTopic(t, quarantine, 1)
	return storedIn(t, quarantine)
}

// added are the records that came to the quarantine since.
func added(t *testing.T, before map[position]*kgo.Record) (out []*kgo.Record) {
	t.Helper()
	now := storedIn(t, quarantine)
	for _, at := range places(now) {
		if before[at] == nil {
			out = append(out, now[at])
		}
	}

	return out
}

func payments(topic string) []*kgo.Record {
	return records(topic, 0, `{"amount":1}`, `{"amount":5000}`, `{"amount":2}`, `{"amount":7000}`)
}

// TestRoutedRecordsAreInTheQuarantine: key, value and headers as they came, with the verdict behind them; their own topic
// keeps the others, and the log says where each went.
func TestRoutedRecordsAreInTheQuarantine(t *testing.T) {
	w := through(shared)
	for kind, opts := range map[string][]kgo.Opt{"idempotent": nil, "plain": {kgo.DisableIdempotentWrite()}} {
		t.Run(kind, func(t *testing.T) {
			before := quarantined(t)
			to := topic(t, w, "routing", 1)
			mustSend(t, w.client(t, opts...), payments(to)...)

			if got := consume(t, w, to)[0]; !slices.Equal(got, []string{`{"amount":1}`, `{"amount":2}`}) {
				t.Errorf("the topic gives %q", got)
			}
			if n := len(storedIn(t, to)); n != 4 {
				t.Errorf("the topic holds %d records; 2 kept and 2 that stand for what went", n)
			}

			copies := added(t, before)
			if len(copies) != 2 {
				t.Fatalf("%d records are in the quarantine", len(copies))
			}

			for i, want := range []string{"1 key 1 {\"amount\":5000}", "3 key 3 {\"amount\":7000}"} {
				r := copies[i]
				if len(r.Headers) != 2 || string(r.Headers[0].Value)+" "+string(r.Key)+" "+string(r.Value) != want ||
					r.Headers[1].Key != "guardlock-fraud-verdict" || !strings.HasPrefix(string(r.Headers[1].Value), "route;score=80;reasons=") {
					t.Errorf("the quarantine holds %q = %q, headers %q; want %q", r.Key, r.Value, r.Headers, want)
				}
			}

			decided := shared.decisions(t, query.Filter{Topics: []string{to}, Outcomes: []string{"routed"}})
			for i, d := range decided {
				if i >= len(copies) || d.Routed == nil || d.Routed.Topic != quarantine || d.Routed.Partition != copies[i].Partition || d.Routed.Offset != copies[i].Offset {
					t.Errorf("the log says that a record went to %+v", d.Routed)
				}
			}

			if len(decided) != 2 {
				t.Errorf("the log has %d routed records", len(decided))
			}
			everyRecordIsDecided(t, to, shared)
		})
	}
}

// TestNothingIsAcknowledgedBeforeItsCopyIsSafe: while a node is away the quarantine takes acks=1 and not acks=all. Nothing of
// a batch with a routed record is stored then; the producer may try again, and succeeds, once, when the node is back.
func TestNothingIsAcknowledgedBeforeItsCopyIsSafe(t *testing.T) {
	w := through(shared)
	before := quarantined(t)
	to := topic(t, w, "routing", 1)
	other := topic(t, w, "routing", 1)
	waiting := w.client(t)
	mustSend(t, waiting, records(other, 0, `{"amount":3}`)...)

	away := 1 // neither leads the topic nor the quarantine: what fails is a copy, not a connection
	for away == int(leader(t, to, 0)) || away == int(leader(t, quarantine, 0)) {
		away++
	}

	cluster.StopNode(away)

	impatient := w.client(t, kgo.DisableIdempotentWrite(), kgo.RecordRetries(1))
	if got := send(t, impatient, payments(to)...); !slices.Equal(got, slices.Repeat([]string{kerr.KafkaStorageError.Message}, 4)) {
		t.Errorf("without a safe copy: %q", got)
	}

	one := direct().client(t, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
	if got := send(t, one, &kgo.Record{Topic: quarantine, Value: []byte("acks=1")})[0]; got != "ok" {
		t.Errorf("the quarantine takes nothing at all: %s", got)
	}
	if got := storedIn(t, to); len(got) > 0 {
		t.Errorf("stored without a safe copy: %q", values(got))
	}

	results := make(chan error, 4)
	for _, r := range payments(other) {
		waiting.Produce(patient(t), r, func(_ *kgo.Record, err error) { results <- err })
	}

	if got := send(t, w.client(t), records(to, 0, `{"amount":4}`)...)[0]; got != "ok" {
		t.Errorf("a batch without a routed record: %s", got)
	}
	if log := shared.logged(); !strings.Contains(log, "sending copies to topic quarantine") || strings.Contains(log, "5000") {
		t.Errorf("the gateway does not say why, or too much: %s", log)
	}

	startNode(t, away, nil)
	for range 4 {
		if err := <-results; err != nil {
			t.Errorf("when the node is back: %v", err)
		}
	}

	if got := consume(t, w, other)[0]; !slices.Equal(got, []string{`{"amount":3}`, `{"amount":1}`, `{"amount":2}`}) {
		t.Errorf("the topic gives %q", got)
	}
	var copies []string
	for _, r := range added(t, before) {
		copies = append(copies, string(r.Value))
	}

	slices.Sort(copies)
	if !slices.Equal(copies, []string{"acks=1", `{"amount":5000}`, `{"amount":7000}`}) {
		t.Errorf("the quarantine holds %q", copies)
	}

	everyRecordIsDecided(t, to, shared)
	everyRecordIsDecided(t, other, shared)
}

// TestTransactionsRouteNothing: a copy cannot be taken back, so that the record is rejected, and the producer aborts.
func TestTransactionsRouteNothing(t *testing.T) {
	w := through(shared)
	before := quarantined(t)
	to := topic(t, w, "routing", 1)

	c := w.client(t, kgo.TransactionalID(to))
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}

	for i, got := range send(t, c, payments(to)...) {
		if got != kerr.InvalidRecord.Message {
			t.Errorf("record %d: %s", i, got)
		}
	}

	if err := c.EndTransaction(patient(t), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	transact(t, c, kgo.TryCommit, records(to, 0, `{"amount":8}`)...)
	if got := consume(t, w, to, kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0]; !slices.Equal(got, []string{`{"amount":8}`}) {
		t.Errorf("the topic gives %q", got)
	}
	if copies := added(t, before); len(copies) > 0 {
		t.Errorf("%d records are in the quarantine", len(copies))
	}

	why := map[string]bool{}
	for _, d := range shared.decisions(t, query.Filter{Topics: []string{to}, Outcomes: []string{"rejected"}}) {
		why[d.Reason] = true
	}

	if !why["route_in_transaction"] {
		t.Errorf("the log gives as reasons %v", why)
	}
}
