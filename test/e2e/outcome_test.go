package e2e

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/signing"
)

const (
	codeNone            = 0
	codeUnknown         = -1
	codeTimedOut        = 7
	codeNotEnough       = 19
	codePolicyViolation = 44
	codeOutOfOrder      = 45
	codeInvalidRecord   = 87
)

// produce sends one batch of nobody with acks=all and returns its answer.
func (w *world) produce(c *wire, topic string, values ...string) kmsgPartition {
	w.t.Helper()
	return results(c.request(produceOf(-1, part{topic, 0, batchOf(nobody, values...)})))[0]
}

func (w *world) holdsNothing(topic string) {
	w.t.Helper()
	if got := w.stored(topic, 0); len(got) != 0 {
		w.t.Errorf("%s holds %v; it must hold nothing", topic, values(got))
	}
}

func (w *world) taken(got kmsgPartition, offset int64) {
	w.t.Helper()
	if got.ErrorCode != codeNone || got.BaseOffset != offset {
		w.t.Fatalf("the answer is code %d at offset %d, want success at %d", got.ErrorCode, got.BaseOffset, offset)
	}
}

func TestPassedRecordsAreStoredByteForByte(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	sent := batchOf(nobody, "a", "b")
	w.taken(results(c.request(produceOf(-1, part{"in", 0, sent})))[0], 0)

	got := w.rawBatches("in", 0)
	// Brokers set the base offset and the leader's epoch, and nothing else.
	if len(got) != 1 || !bytes.Equal(got[0][16:], sent[16:]) {
		t.Errorf("the stored batch is not the one that was sent")
	}

	w.decided("in", 0, 0, "passed", "")
	w.decided("in", 0, 1, "passed", "")
}

func TestModifiedRecordsAreStoredAsTheModuleMadeThem(t *testing.T) {
	w := judged(t, 1)
	w.taken(w.produce(dial(t, w.addr()), "in", "a", "make", "b"), 0)
	equal(t, "stored", values(w.stored("in", 0)), []string{"a", "Make", "b"})
	w.decided("in", 0, 0, "passed", "")
	w.decided("in", 0, 1, "modified", "unspecified")

	if m := w.at("in", 0, 1).Module; m == nil || m.Name != "judge" {
		t.Errorf("the log does not say which module changed the record: %v", m)
	}
}

func TestRejectedRecordFailsItsWholeBatchWithReasonAndDecision(t *testing.T) {
	w := judged(t, 1)
	got := w.produce(dial(t, w.addr()), "in", "a", "reject", "b", "rr")
	d := w.refused(got, refusal{codeInvalidRecord, "rejected", "judge.no", []int32{1, 3}})
	if d.Index != 1 || d.Module == nil || d.Module.Name != "judge" || d.Principal != "User:ANONYMOUS" || d.ClientID != "e2e" {
		t.Errorf("the decision does not say what, who and by whom: %+v", d)
	}
	w.holdsNothing("in")
}

func TestBindingChoosesTheCodeOfRejections(t *testing.T) {
	rule := bind("in", "judge")
	rule.RejectCode = codePolicyViolation
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, modules: []module{judgeModule("in")}, bindings: []admission.Rule{rule}})
	w.refused(w.produce(dial(t, w.addr()), "in", "r"), refusal{codePolicyViolation, "rejected", "judge.no", []int32{0}})
}

// A dropped record leaves a placeholder, whether or not its producer counts his
// records, and consumers never see it.
func TestDroppedRecordsLeavePlaceholdersThatConsumersNeverSee(t *testing.T) {
	for kind, idempotent := range map[string]bool{"idempotent": true, "plain": false} {
		t.Run(kind, func(t *testing.T) {
			w := judged(t, 1)
			c := dial(t, w.addr())
			p := nobody

			if idempotent {
				p = c.newProducer()
			}

			offset := int64(0)
			for _, values := range [][]string{{"a", "drop", "b"}, {"dd", "d"}, {"c"}} {
				if idempotent {
					p.sequence = int32(offset)
				}
				w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(p, values...)})))[0], offset)
				offset += int64(len(values))
			}

			raw := w.stored("in", 0)
			if len(raw) != 6 || !strings.Contains(raw[1].headers, "guardlock.dropped") || raw[1].key+raw[1].value != "" {
				t.Errorf("the topic itself holds %q, want a placeholder for each dropped record", values(raw))
			}

			equal(t, "consumed", values(readAll(t, w.addr(), "in", 0)), []string{"a", "b", "c"})
			w.decided("in", 0, 1, "dropped", "judge.drop")
			w.decided("in", 0, 4, "dropped", "judge.drop")
			w.decided("in", 0, 5, "passed", "")
		})
	}
}

// A producer is told the batch's offset and counts on from there: each record
// lies, or its placeholder does, where its producer was told.
func TestOffsetsToldAreOffsetsStored(t *testing.T) {
	w := judged(t, int32(len(kinds)*len(codecs)))
	partition := int32(-1)
	for kind, opts := range kinds {
		if kind == "plain acks0" {
			continue // is told nothing
		}
		for codec, compression := range codecs {
			partition++
			t.Run(kind+"/"+codec, func(t *testing.T) {
				c := client(t, w.addr(), append(slices.Clone(opts), kgo.ProducerBatchCompression(compression), kgo.ProducerLinger(50*time.Millisecond))...)
				var sent []*kgo.Record
				for _, v := range []string{"d0", "a1", "q2", "m3", "d4", "d5", "b6", "q7"} {
					sent = append(sent, &kgo.Record{Topic: "in", Partition: partition, Value: []byte(padded(v))})
				}

				told := c.ProduceSync(testContext(t), sent...)
				if err := told.FirstErr(); err != nil {
					t.Fatal(err)
				}

				want := map[int64]string{}
				for _, r := range told {
					switch v := string(r.Record.Value); v[0] {
					case 'a', 'b':
						want[r.Record.Offset] = v
					case 'm':
						want[r.Record.Offset] = "M" + v[1:]
					}
				}

				got := map[int64]string{}
				for _, r := range readAll(t, w.addr(), "in", partition) {
					got[r.offset] = r.value
				}

				if !maps.Equal(got, want) {
					t.Errorf("consumed %v, told %v", got, want)
				}
				if n := len(w.stored("in", partition)); n != len(sent) {
					t.Errorf("%d places are taken by %d records", n, len(sent))
				}
			})
		}
	}
}

// A topic that compacts refuses records without a key, and a null value under a
// record's own key would delete what stands there.
func TestPlaceholdersOfATopicThatCompactsHaveAKey(t *testing.T) {
	s := judgeSetup(1, nil)
	w := newWorld(t, s)
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	compact := "compact"
	alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "in",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "cleanup.policy", Value: &compact}}}}

	must(alter.RequestWith(testContext(t), client(t, w.kafka.ListenAddrs()[0])))(t)

	c := dial(t, w.addr())
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(c.newProducer(), "a", "drop", "b")})))[0], 0)
	if raw := w.stored("in", 0); len(raw) != 3 || !strings.Contains(raw[1].key, "guardlock.dropped") {
		t.Errorf("the topic itself holds %q, want a placeholder with a key", values(raw))
	}

	equal(t, "consumed", values(readAll(t, w.addr(), "in", 0)), []string{"a", "b"})
}

// TestOnDropRejectLeavesNoPlaceholders: wherever one would have to stand, the
// batch is rejected, and says by which record.
func TestOnDropRejectLeavesNoPlaceholders(t *testing.T) {
	s := judgeSetup(1, nil)
	s.bindings[0].RejectDrops = true
	w := newWorld(t, s)
	c := dial(t, w.addr())
	p := c.newProducer()
	got := results(c.request(produceOf(-1, part{"in", 0, batchOf(p, "a", "drop", "b")})))[0]
	w.dropRefused(got, 1)

	// A producer without an id counts on from the offset that he is told, too.
	w.dropRefused(w.produce(c, "in", "a", "drop", "b"), 1)
	w.dropRefused(w.produce(c, "in", "drop", "drop"), 0, 1)
	w.taken(w.produce(c, "in", "a", "b"), 0)
	equal(t, "stored", values(w.stored("in", 0)), []string{"a", "b"})
}

func (w *world) dropRefused(got kmsgPartition, records ...int32) {
	w.t.Helper()
	if got.ErrorCode != kerr.InvalidRecord.Code || !strings.Contains(deref(got.ErrorMessage), "drop_refused") {
		w.t.Fatalf("the answer is code %d, %q", got.ErrorCode, deref(got.ErrorMessage))
	}

	var named []int32
	for _, e := range got.ErrorRecords {
		named = append(named, e.RelativeOffset)
		if !strings.Contains(deref(e.ErrorMessage), "judge.drop") {
			w.t.Errorf("record %d is refused with %q", e.RelativeOffset, deref(e.ErrorMessage))
		}
	}

	equal(w.t, "records that are at fault", named, records)
	if d := w.lookup(*got.ErrorMessage); d.Batch == nil || d.Batch.Outcome != audit.OutcomeRejected {
		w.t.Errorf("the log says %+v", d)
	}
}

func TestBatchOfOnlyDroppedRecordsIsAcknowledged(t *testing.T) {
	w := judged(t, 1)
	w.taken(w.produce(dial(t, w.addr()), "in", "d", "dd"), 0)
	if got := readAll(t, w.addr(), "in", 0); len(got) != 0 {
		t.Errorf("a consumer sees %q", values(got))
	}
	if d := decisions(t, w.logDir, query.Filter{Topics: []string{"in"}, ByBatch: true}); len(d) != 1 || d[0].Outcome != "dropped" {
		t.Errorf("the log says: %+v", d)
	}
}

func TestRoutedRecordIsStoredElsewhereBeforeTheAcknowledgement(t *testing.T) {
	w := judged(t, 1)
	w.taken(w.produce(dial(t, w.addr()), "in", "a", "quarantine me", "b"), 0)
	equal(t, "quarantine", values(w.stored("quarantine", 0)), []string{"quarantine me"})
	equal(t, "topic", values(w.stored("in", 0)), []string{"a", "", "b"}) // a placeholder between them
	equal(t, "consumed", values(readAll(t, w.addr(), "in", 0)), []string{"a", "b"})
	w.decided("quarantine", 0, 0, "routed", "judge.route")

	d := w.at("quarantine", 0, 0)
	if d.Topic != "in" || d.Routed == nil || d.Routed.Topic != "quarantine" {
		t.Errorf("the log does not say where the record came from: %+v", d)
	}
}

func TestRecordThatCannotBeRoutedFailsItsBatch(t *testing.T) {
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, modules: []module{judgeModule("in")}, bindings: []admission.Rule{bind("in", "judge")}})
	got := w.produce(dial(t, w.addr()), "in", "a", "q")
	if got.ErrorCode == codeNone {
		t.Fatal("a record that is nowhere was acknowledged")
	}
	if id := decisionID.FindStringSubmatch(deref(got.ErrorMessage)); id == nil {
		t.Errorf("%q names no decision", deref(got.ErrorMessage))
	}

	w.holdsNothing("in")
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func TestTrapFailsTheBatch(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	w.refused(w.produce(c, "in", "a", "trap"), refusal{codeUnknown, "trap", "trap", nil})
	w.holdsNothing("in")
	w.taken(w.produce(c, "in", "next"), 0)
}

func TestEndlessLoopTimesOutAndFailsTheBatch(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	w.refused(w.produce(c, "in", "a", "loop"), refusal{codeTimedOut, "timeout", "timeout", nil})
	w.holdsNothing("in")
	w.taken(w.produce(c, "in", "next"), 0)
}

func TestTopicWithoutApprovedModuleTakesNothing(t *testing.T) {
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, modules: []module{judgeModule("in")},
		bindings: []admission.Rule{bind("in", "judge")},
		tamper:   func(_ string, p *signing.Package) { p.Signature = nil }})
	w.refused(w.produce(dial(t, w.addr()), "in", "a"), refusal{codePolicyViolation, "no_module", "unsigned", nil})
	w.holdsNothing("in")
}

func TestTopicThatWasNotApprovedTakesNothing(t *testing.T) {
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, modules: []module{judgeModule("other")},
		bindings: []admission.Rule{bind("in", "judge")}})
	w.refused(w.produce(dial(t, w.addr()), "in", "a"), refusal{codePolicyViolation, "no_module", "topic_not_granted", nil})
	w.holdsNothing("in")
}

func TestTopicWithoutBindingTakesNothing(t *testing.T) {
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}})
	w.refused(w.produce(dial(t, w.addr()), "in", "a"), refusal{codePolicyViolation, "policy_denied", "unbound_topic", nil})
	w.holdsNothing("in")
}

func TestGrantThatEndsWhileRunningStopsItsTopic(t *testing.T) {
	m := judgeModule("in")
	m.lasts = 2e9
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, modules: []module{m}, bindings: []admission.Rule{bind("in", "judge")}})
	c := dial(t, w.addr())
	w.taken(w.produce(c, "in", "a"), 0)
	var last kmsgPartition
	eventually(t, "the grant ends", func() bool {
		last = w.produce(c, "in", "more")
		return last.ErrorCode != codeNone
	})

	w.refused(last, refusal{codeNotEnough, "policy_denied", "grant_expired", nil}) // nobody judges it anew here
	before := len(w.stored("in", 0))
	w.refused(w.produce(c, "in", "late"), refusal{codeNotEnough, "policy_denied", "grant_expired", nil})

	if got := w.stored("in", 0); len(got) != before || slices.Contains(values(got), "late") {
		t.Error("something was stored after the grant had ended")
	}
}

func TestMalformedBatchesAreRefusedAndRecorded(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	good := batchOf(nobody, "a", "b")
	broken := slices.Clone(good)
	broken[len(broken)-1] ^= 1
	twice := slices.Concat(good, good)
	short := good[:40]
	for what, batch := range map[string][]byte{"a wrong checksum": broken, "two batches": twice, "half a header": short, "nothing": {}} {
		got := results(c.request(produceOf(-1, part{"in", 0, batch})))[0]
		if got.ErrorCode == codeNone || decisionID.FindString(deref(got.ErrorMessage)) == "" {
			t.Errorf("%s was answered with code %d, %q", what, got.ErrorCode, deref(got.ErrorMessage))
		}
	}

	w.holdsNothing("in")
	if got := decisions(t, w.logDir, query.Filter{Outcomes: []string{"invalid"}, ByBatch: true}); len(got) != 4 {
		t.Errorf("the log has %d refusals of malformed batches, want 4", len(got))
	}
}

func TestCountsOfABatchStayInTheHeaderThatTheBrokerSees(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	p := c.newProducer()
	w.taken(results(c.request(produceOf(-1, part{"in", 0, batchOf(p, "m", "d", "a")})))[0], 0)

	h := must(recordbatch.ParseHeader(w.rawBatches("in", 0)[0]))(t)
	if h.ProducerID != p.id || h.ProducerEpoch != p.epoch || h.BaseSequence != 0 || h.NumRecords != 3 || h.LastOffsetDelta != 2 {
		t.Errorf("the stored batch has producer %d/%d, sequence %d, %d records", h.ProducerID, h.ProducerEpoch, h.BaseSequence, h.NumRecords)
	}
}
