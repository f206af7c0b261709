package e2e

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// eras are those that the world's log tells, of one topic.
func (w *world) eras(topic string) (found []audit.Era) {
	w.t.Helper()
	f := query.Filter{Kinds: []audit.Kind{audit.KindEra}, Topics: []string{topic}}
	for d, err := range query.New(w.journal.Reader()).Query(w.t.Context(), f) {
		if err != nil {
			w.t.Fatal(err)
		}
		found = append(found, *d.Control.Era)
	}
	return found
}

// epochs are those of the leaders that stored the batches of a topic; -1 is not known.
func (w *world) epochs(topic string) (epochs []int32) {
	w.t.Helper()
	f := query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true, Topics: []string{topic}}
	for d, err := range query.New(w.journal.Reader()).Query(w.t.Context(), f) {
		if err != nil {
			w.t.Fatal(err)
		}
		epochs = append(epochs, d.Batch.Leader.Number())
	}
	return epochs
}

// begins demands the offsets that eras of a topic begin at, in the log's order.
func (w *world) begins(topic string, want ...int64) {
	w.t.Helper()
	var got []int64
	for _, e := range w.eras(topic) {
		got = append(got, e.Offset)
	}
	equal(w.t, "eras of "+topic+" begin", got, want)
}

// TestEraBeginsWhereThePartitionEnded: once for each partition of each topic, before the
// first batch for it, however often its gateway starts.
func TestEraBeginsWhereThePartitionEnded(t *testing.T) {
	w := judged(t, 2)
	direct := client(t, w.kafka.ListenAddrs()[0])
	mustSend(t, direct, "in", 0, "x", "y", "z")
	c := client(t, w.addr(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(100))
	for range 3 {
		mustSend(t, c, "in", 0, "a")
	}
	w.begins("in", 3)
	mustSend(t, c, "in", 1, "a", "q") // the second is routed
	w.begins("in", 3, 0)
	w.begins("quarantine", 0)
	eventually(t, "every batch is stored, in the epoch of its leader", func() bool {
		return slices.Equal(w.epochs("in"), []int32{0, 0, 0, 0})
	})

	first := w.eras("in")[0]
	if first.TopicID != w.kafka.TopicInfo("in").TopicID || first.Cluster != "main" || first.LeaderEpoch < 0 || first.Began.IsZero() {
		t.Errorf("%+v", first)
	}

	w.stop()
	again := must(gateway.New(gateway.Config{Decisions: w.journal, Clusters: []gateway.ClusterConfig{{Name: "main", Upstream: upstream(t, w.kafka), Host: "127.0.0.1", MaxNode: 63}}}))(t)
	w.gateway, w.cluster = again, again.Cluster("main")
	w.cluster.SetBindings(gateway.NewBindings(w.set.Bindings, pipeline.Unbound))
	w.serve()
	c = client(t, w.addr(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(100))
	mustSend(t, c, "in", 0, "a")
	w.begins("in", 3, 0)

	old := first.TopicID
	if err := w.kafka.DeleteTopic("in"); err != nil {
		t.Fatal(err)
	}
	if err := w.kafka.CreateTopic("in", 1, nil); err != nil {
		t.Fatal(err)
	}
	direct = client(t, w.kafka.ListenAddrs()[0])
	mustSend(t, direct, "in", 0, "x")
	c = client(t, w.addr(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(100))
	mustSend(t, c, "in", 0, "a")
	w.begins("in", 3, 0, 1)
	if w.eras("in")[2].TopicID == old {
		t.Error("the topic that was made anew has the id of the one before")
	}
}

// TestBatchWithoutAnEraIsNotStored: a cluster that does not say where a partition ends did
// not say no. The producer is told to try again, and everything goes on when it does.
func TestBatchWithoutAnEraIsNotStored(t *testing.T) {
	w := judged(t, 1)
	var denies atomic.Bool
	w.kafka.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.kafka.KeepControl()
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		p.ErrorCode = kerr.TopicAuthorizationFailed.Code
		resp.Topics = []kmsg.OffsetForLeaderEpochResponseTopic{{Topic: "in", Partitions: []kmsg.OffsetForLeaderEpochResponseTopicPartition{p}}}
		return resp, nil, denies.Load()
	})

	denies.Store(true)
	req := produceOf(-1, part{"in", 0, batchOf(nobody, "a")})
	w.refused(results(dial(t, w.addr()).request(req))[0], refusal{kerr.NotEnoughReplicas.Code, "unavailable", "era_unknown", nil})
	equal(t, "stored", values(w.stored("in", 0)), nil)
	w.begins("in")

	denies.Store(false)
	mustSend(t, client(t, w.addr(), kgo.DisableIdempotentWrite()), "in", 0, "a")
	w.begins("in", 0)

	missing := results(dial(t, w.addr()).request(produceOf(-1, part{"in", 7, batchOf(nobody, "a")})))[0]
	w.refused(missing, refusal{kerr.UnknownTopicOrPartition.Code, "invalid", "unknown_partition", nil})
}

// TestManyFirstBatchesBeginOneEra: whoever comes meanwhile waits for the one that asks.
func TestManyFirstBatchesBeginOneEra(t *testing.T) {
	w := judged(t, 1)
	var asked atomic.Int32
	w.kafka.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.kafka.KeepControl()
		asked.Add(1)
		return nil, nil, false
	})

	var all sync.WaitGroup
	for range 20 {
		c := client(t, w.addr(), kgo.DisableIdempotentWrite())
		all.Go(func() {
			if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("a")}).FirstErr(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.begins("in", 0)
	if asked.Load() != 1 {
		t.Errorf("the cluster was asked %d times", asked.Load())
	}
}
