package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

// What a cluster does to itself, clients get over as they would without us.

func TestClientsFollowLeadersThatMove(t *testing.T) {
	s := judgeSetup(3, nil)
	s.kafka = []kfake.Opt{kfake.NumBrokers(3)}
	w := newWorld(t, s)
	c := client(t, w.addr())
	const n = 600
	var sent sync.WaitGroup
	for i := range n {
		if i%100 == 50 {
			w.kafka.ShufflePartitionLeaders()
		}
		sent.Add(1)
		c.Produce(t.Context(), &kgo.Record{Topic: "in", Partition: int32(i % 3), Value: fmt.Appendf(nil, "a%d", i)}, func(r *kgo.Record, err error) {
			defer sent.Done()
			if err != nil {
				t.Errorf("%s: %v", r.Value, err)
			}
		})

		if i%20 == 0 {
			sent.Wait() // spread the records over the moves
		}
	}

	sent.Wait()
	seen := map[string]int{}
	for p := range int32(3) {
		for _, v := range values(readAll(t, w.addr(), "in", p)) {
			seen[v]++
		}
	}

	for i := range n {
		if v := fmt.Sprintf("a%d", i); seen[v] != 1 {
			t.Errorf("%s is stored %d times", v, seen[v])
		}
	}
}

// Policy is by name, and newer clients send ids only: the new topic's id must
// lead to the same binding, and the old one's nowhere.
func TestTopicMadeAgainIsServedUnderItsNewID(t *testing.T) {
	w := judged(t, 1)
	c := client(t, w.addr(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(100))
	mustSend(t, c, "in", 0, "m1")
	old := w.kafka.TopicInfo("in").TopicID

	if err := w.kafka.DeleteTopic("in"); err != nil {
		t.Fatal(err)
	}
	if err := w.kafka.CreateTopic("in", 1, nil); err != nil {
		t.Fatal(err)
	}

	fresh := client(t, w.addr(), kgo.DisableIdempotentWrite())
	mustSend(t, fresh, "in", 0, "m2")
	equal(t, "stored", values(w.stored("in", 0)), []string{"M2"})

	if got := send(t, fresh, "in", 0, "r")[0]; got == nil {
		t.Error("the topic's binding is gone with its id")
	}
	req := produceOf(-1, part{"in", 0, batchOf(nobody, "stale")})
	req.Version = 13
	req.Topics[0].Topic = ""
	req.Topics[0].TopicID = old

	if got := results(dial(t, w.addr()).request(req))[0]; got.ErrorCode == codeNone {
		t.Error("a topic that is gone takes records")
	}
	equal(t, "stored", values(w.stored("in", 0)), []string{"M2"})
}

// An id that nobody can name is refused, never passed: policy is by name.
func TestTopicIDThatNobodyKnowsIsRefused(t *testing.T) {
	w := judged(t, 1)
	req := produceOf(-1, part{"in", 0, batchOf(nobody, "a")})
	req.Version = 13
	req.Topics[0].Topic = ""
	req.Topics[0].TopicID = [16]byte{1, 2, 3}
	w.refused(results(dial(t, w.addr()).request(req))[0], refusal{100, "invalid", "unknown_topic_id", nil})
}

func TestPartitionsThatAreAddedAreServed(t *testing.T) {
	w := judged(t, 1)
	c := client(t, w.addr())
	mustSend(t, c, "in", 0, "m1")

	if _, err := kadm.NewClient(c).UpdatePartitions(testContext(t), 3, "in"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client sees the new partitions", func() bool {
		c.ForceMetadataRefresh()
		return send(t, c, "in", 2, "m2")[0] == nil
	})

	equal(t, "stored", values(w.stored("in", 2)), []string{"M2"})
	w.decided("in", 2, 0, "modified", "unspecified")
}

// A consumer group reads through the gateway, loses a member, and goes on where
// it was.
func TestConsumerGroupGoesOnThroughARebalance(t *testing.T) {
	w := judged(t, 2)
	mustSend(t, client(t, w.addr()), "in", 0, "a", "d", "b")
	mustSend(t, client(t, w.addr()), "in", 1, "m", "c")
	member := func() *kgo.Client {
		return client(t, w.addr(), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.DisableAutoCommit(), kgo.FetchMaxWait(50*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond))
	}

	first := member()
	got := consume(t, first, 4)
	if err := first.CommitUncommittedOffsets(testContext(t)); err != nil {
		t.Fatal(err)
	}

	second := member()
	first.Close()
	mustSend(t, client(t, w.addr()), "in", 0, "after")

	if later := consume(t, second, 1); later[0] != "after" {
		t.Errorf("the second member read %q, not what came after", later)
	}
	if len(got) != 4 || len(decisions(t, w.logDir, query.Filter{Topics: []string{"in"}})) != 6 {
		t.Errorf("the first member read %q", got)
	}
}

func consume(t *testing.T, c *kgo.Client, n int) []string {
	t.Helper()
	var out []string
	for len(out) < n {
		fetches := c.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			out = append(out, string(r.Value))
		}
	}

	return out
}
