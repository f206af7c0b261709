package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/admission"
)

func TestOnePartitionIsRejectedAndTheOthersGoThrough(t *testing.T) {
	w := newWorld(t, setup{topics: map[string]int32{"in": 3, "quarantine": 1, "other": 1, "unbound": 1}, modules: []module{judgeModule("in")},
		bindings: []admission.Rule{bind("in", "judge"), bind("other")}})
	c := dial(t, w.addr())
	got := results(c.request(produceOf(-1,
		part{"in", 0, batchOf(nobody, "a")}, part{"in", 1, batchOf(nobody, "b", "r")}, part{"in", 2, batchOf(nobody, "m")},
		part{"unbound", 0, batchOf(nobody, "c")}, part{"other", 0, batchOf(nobody, "r is fine here")})))
	if len(got) != 5 {
		t.Fatalf("%d partitions were answered, want 5", len(got))
	}

	w.taken(got[0], 0)
	w.refused(got[1], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{1}})
	w.taken(got[2], 0)
	w.refused(got[3], refusal{codePolicyViolation, "policy_denied", "unbound_topic", nil})
	w.taken(got[4], 0)
	equal(t, "in/0", values(w.stored("in", 0)), []string{"a"})
	equal(t, "in/1", values(w.stored("in", 1)), []string{})
	equal(t, "in/2", values(w.stored("in", 2)), []string{"M"})
	equal(t, "unbound", values(w.stored("unbound", 0)), []string{})
	equal(t, "other", values(w.stored("other", 0)), []string{"r is fine here"})
	w.decided("other", 0, 0, "passed", "")
}

func TestBrokersOwnErrorsAreMergedWithOurs(t *testing.T) {
	w := judged(t, 2)
	c := dial(t, w.addr())
	p := c.newProducer()
	late := p
	late.sequence = 7
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(p, "first")})))[0], 0)

	got := results(c.request(produceOf(-1, part{"in", 0, batchOf(late, "a")}, part{"in", 1, batchOf(p, "r")})))
	if got[0].ErrorCode != codeOutOfOrder {
		t.Errorf("the broker's refusal became code %d", got[0].ErrorCode)
	}

	w.refused(got[1], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})
	equal(t, "in/0", values(w.stored("in", 0)), []string{"first"})
}

// The first batch of a new producer is refused while later ones are on their
// way. A broker that knows nothing of the producer would take them at any
// sequence number, and then take the client's next batch for a copy.
func TestNothingBehindTheFirstRejectedBatchIsStoredUntilTheClientComesBack(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	p := c.newProducer()
	at := func(sequence int32) producer { q := p; q.sequence = sequence; return q }
	c.pipeline(produceOf(-1, part{"in", 0, batchOf(at(0), "r")}), produceOf(-1, part{"in", 0, batchOf(at(1), "b")}), produceOf(-1, part{"in", 0, batchOf(at(2), "c")}))
	kind := produceOf(-1)
	w.refused(results(c.receive(kind, c.last-2))[0], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})

	for i := range int32(2) {
		w.refused(results(c.receive(kind, c.last-1+i))[0], refusal{codeOutOfOrder, "invalid", "out_of_order", nil})
	}
	w.holdsNothing("in")
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(at(0), "b")})))[0], 0)
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(at(1), "c")})))[0], 1)
	equal(t, "stored", values(w.stored("in", 0)), []string{"b", "c"})
}

// A broker that stops leading answers with an error what it has stored. Were the
// next batch then refused for good, Kafka's own client would send the first under
// a new epoch, and it would be stored twice.
func TestRefusalBehindABatchThatMayBeStoredIsToldWhenThatIsSettled(t *testing.T) {
	w := judged(t, 2)
	c := dial(t, w.addr())
	p := c.newProducer()
	first := part{"in", 0, batchOf(p, "a")}
	p.sequence = 1
	second := part{"in", 0, batchOf(p, "r")}
	inOther := part{"in", 1, batchOf(nobody, "b")}

	// The broker stores the first batch, and this is the answer that its producer gets.
	w.taken(results(dial(t, w.kafka.ListenAddrs()[0]).request(produceOf(-1, first)))[0], 0)
	w.kafka.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = "in"
		rp := kmsg.NewProduceResponseTopicPartition()
		rp.ErrorCode = kerr.NotLeaderForPartition.Code
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)

		return resp, nil, true
	})

	c.pipeline(produceOf(-1, first), produceOf(-1, second), produceOf(-1, second, inOther))
	kind := produceOf(-1)
	if got := results(c.receive(kind, c.last-2))[0]; got.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Fatalf("the broker's answer became code %d", got.ErrorCode)
	}

	withheld := results(c.receive(kind, c.last-1))[0]
	if d := w.lookup(deref(withheld.ErrorMessage)); withheld.ErrorCode != codeOutOfOrder || d.Outcome != "rejected" || d.Reason != "judge.no" {
		t.Errorf("alone: code %d, %q, of which the log says %s (%s)", withheld.ErrorCode, deref(withheld.ErrorMessage), d.Outcome, d.Reason)
	}

	merged := results(c.receive(kind, c.last))
	if merged[0].ErrorCode != codeOutOfOrder {
		t.Errorf("beside another partition: code %d, %q", merged[0].ErrorCode, deref(merged[0].ErrorMessage))
	}

	w.taken(merged[1], 0)

	w.taken(results(c.request(produceOf(-1, first)))[0], 0)
	w.refused(results(c.request(produceOf(-1, second)))[0], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})
	equal(t, "stored", values(w.stored("in", 0)), []string{"a"})
}

// When a leader moves, a producer has batches under way to the old one while it
// sends the next to the new one, over another connection.
func TestRefusalWaitsForBatchesOnOtherConnections(t *testing.T) {
	w := judged(t, 1)
	old := dial(t, w.addr())
	p := old.newProducer()
	arrived, release := slowly(w.kafka, kmsg.Produce)
	first := produceOf(-1, part{"in", 0, batchOf(p, "a")})
	old.send(first)
	<-arrived

	p.sequence = 1
	c := dial(t, w.addr())
	second := produceOf(-1, part{"in", 0, batchOf(p, "r")})
	if got := results(c.request(second))[0]; got.ErrorCode != codeOutOfOrder {
		t.Errorf("while the first has no answer: code %d, %q", got.ErrorCode, deref(got.ErrorMessage))
	}

	release()
	w.taken(results(old.receive(first, old.last))[0], 0)
	w.refused(results(c.request(second))[0], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})
}

// A stock client keeps five requests in flight. Rejections among them must cost
// it only what was rejected: nothing else is lost or, with a producer id, stored
// twice.
func TestRejectedBatchAmongFiveInFlightLosesAndDuplicatesNothing(t *testing.T) {
	for _, first := range []bool{true, false} {
		for kind, opts := range map[string][]kgo.Opt{"idempotent": nil, "plain": {kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5)}} {
			t.Run(fmt.Sprintf("%s/first batch %v", kind, first), func(t *testing.T) {
				w := judged(t, 1)
				acknowledged := w.flood(t, opts, first)
				seen := map[string]int{}
				for _, v := range values(w.stored("in", 0)) {
					seen[v]++
				}

				for v := range acknowledged {
					if seen[v] == 0 {
						t.Errorf("%s was acknowledged and is not stored", v)
					}
				}

				for v, n := range seen {
					if v[0] == 'r' || n != 1 && kind == "idempotent" {
						t.Errorf("%s is stored %d times", v, n)
					}
				}
			})
		}
	}
}

// flood sends 2,000 records in small batches, one in a hundred to be rejected,
// and returns those that were acknowledged. A record that failed with another's
// batch is sent again, as an application would.
func (w *world) flood(t *testing.T, opts []kgo.Opt, rejectFirst bool) map[string]bool {
	t.Helper()
	c := client(t, w.addr(), append(opts, kgo.ProducerBatchMaxBytes(512), kgo.ProducerLinger(0))...)
	var mu sync.Mutex
	done := map[string]bool{}
	var pending sync.WaitGroup
	var produce func(v string)
	produce = func(v string) {
		c.Produce(t.Context(), &kgo.Record{Topic: "in", Value: []byte(v)}, func(_ *kgo.Record, err error) {
			defer pending.Done()
			mu.Lock()
			defer mu.Unlock()

			switch {
			case err == nil:
				done[v] = true
			case v[0] == 'r' && errors.Is(err, kerr.InvalidRecord):
			case errors.Is(err, kerr.InvalidRecord), errors.Is(err, kgo.ErrMaxBuffered):
				pending.Add(1)
				go produce(v)
			default:
				t.Errorf("%s: %v", v, err)
			}
		})
	}
	for i := range 2000 {
		v := "a" + strconv.Itoa(i)
		if i%100 == 50 || i == 0 && rejectFirst {
			v = "r" + strconv.Itoa(i)
		}
		pending.Add(1)
		produce(v)
	}

	pending.Wait()
	return done
}
