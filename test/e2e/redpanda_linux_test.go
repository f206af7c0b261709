package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway/admission"
)

// redpandaMask is a mask that was built with Redpanda's own SDK, signed and approved
// like any module. It masks card numbers, drops what has the header no-store, routes
// what has a key of tests, and fails on a zero byte.
func redpandaMask(t *testing.T, language string, topics ...string) module {
	t.Helper()
	wasm := must(os.ReadFile(filepath.Join("..", "..", "transforms", "testdata", "redpanda", language+".wasm")))(t)
	return module{name: language, wasm: wasm, config: []byte(`{"DO": "mask"}`), topics: topics, routes: []string{"tests"}}
}

// Modules of Redpanda's SDKs stand between stock producers and their topics, in the
// gateway's process and apart, and the log says what they did.
func TestModulesOfRedpandasSDKsDecideAboutProducedRecords(t *testing.T) {
	far := bind("apart", "rust")
	far.Isolation = admission.Apart
	w := newWorld(t, setup{
		topics:   map[string]int32{"go": 1, "rust": 1, "apart": 1, "tests": 1},
		modules:  []module{redpandaMask(t, "go", "go"), redpandaMask(t, "rust", "rust", "apart")},
		bindings: []admission.Rule{bind("go", "go"), bind("rust", "rust"), far},
	})

	for n, topic := range []string{"go", "rust", "apart"} {
		t.Run(topic, func(t *testing.T) { w.decidesAsRedpandasMask(topic, int64(n)) })
	}
}

// decidesAsRedpandasMask sends one batch of each kind to a topic. routed is how many
// records the topic of tests has before.
func (w *world) decidesAsRedpandasMask(topic string, routed int64) {
	c := client(w.t, w.addr(), kgo.ProducerLinger(50*time.Millisecond))
	at := time.UnixMilli(1_767_225_600_000)
	records := []*kgo.Record{
		{Value: []byte("plain"), Timestamp: at},
		{Key: []byte("k"), Value: []byte("card 4111111111111111"), Timestamp: at.Add(time.Millisecond)},
		{Value: []byte("x"), Headers: []kgo.RecordHeader{{Key: "no-store"}}, Timestamp: at},
		{Key: []byte("test-1"), Value: []byte("t"), Timestamp: at},
	}
	for _, r := range records {
		r.Topic = topic
	}
	if err := c.ProduceSync(testContext(w.t), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}

	consumed := readAll(w.t, w.addr(), topic, 0)
	equal(w.t, "consumed", values(consumed), []string{"plain", "card ************1111"})
	if n := len(w.stored("tests", 0)); n != int(routed)+1 {
		w.t.Errorf("%d records were routed", n)
	}
	w.decided(topic, 0, 0, "passed", "")
	w.decided(topic, 0, 1, "modified", "redpanda.changed")
	w.decided(topic, 0, 2, "dropped", "redpanda.no_output")
	w.decided("tests", 0, routed, "routed", "redpanda.routed")
	equal(w.t, "times", w.timesOf(topic, 2), []time.Time{at, at.Add(time.Millisecond)})
	if consumed[1].producer.id < 0 || consumed[1].producer.sequence != 1 {
		w.t.Errorf("its producer became %+v", consumed[1].producer)
	}

	// An error of the transform fails its batch, and no other.
	errs := send(w.t, c, topic, 0, "good", "bad\x00")
	if err := errors.Join(errs...); !errors.Is(err, kerr.UnknownServerError) {
		w.t.Errorf("an error of the transform is told as %v", err)
	}
	failed := decisions(w.t, w.logDir, query.Filter{Topics: []string{topic}, Outcomes: []string{"trap"}})
	if len(failed) == 0 {
		w.t.Error("the log knows nothing of the error")
	}

	next := client(w.t, w.addr())
	mustSend(w.t, next, topic, 0, "next")
	equal(w.t, "after the error", values(readAll(w.t, w.addr(), topic, 0)), []string{"plain", "card ************1111", "next"})
}

// timesOf are the timestamps of the first records that a consumer of a topic sees.
func (w *world) timesOf(topic string, count int) []time.Time {
	w.t.Helper()
	c := client(w.t, w.addr(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var all []time.Time
	for len(all) < count {
		fetches := c.PollFetches(testContext(w.t))
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, r.Timestamp) })
	}

	return all[:count]
}
