//go:build kafka

package kafka

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// loads are the same load both ways at once, so that both live through the same things.
func loads(t *testing.T, kind string, parts int32, opts ...kgo.Opt) []*load {
	t.Helper()
	var all []*load
	for _, w := range []way{direct(), through(shared)} {
		all = append(all, startLoad(t, w, topic(t, w, kind, parts), parts, opts...))
	}
	return all
}

func advance(all []*load, n int64) {
	for _, l := range all {
		l.t.Helper()
		l.advance(n)
	}
}

// startNode starts a node again, and waits until it has caught up with the topics.
func startNode(t *testing.T, id int, all []*load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	if err := cluster.StartNode(ctx, id); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		awaitTopic(t, l.topic, int(l.parts))
	}
}

// quorumLeader is the active controller.
func quorumLeader(t *testing.T) int {
	t.Helper()
	req := kmsg.NewPtrDescribeQuorumRequest()
	rt := kmsg.NewDescribeQuorumRequestTopic()
	rt.Topic = "__cluster_metadata"
	rt.Partitions = append(rt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, rt)
	id := int32(-1)
	eventually(t, "there is an active controller", func() bool {
		resp, err := req.RequestWith(patient(t), direct().client(t))
		if err == nil && len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
			id = resp.Topics[0].Partitions[0].LeaderID
		}
		return id > 0
	})

	return int(id)
}

// TestNothingAcknowledgedIsLostWhenNodesDie: leaders move in order, the active controller dies hard, and so does a leader;
// clients of the cluster and of the gateway go on meanwhile, and again when the nodes are back.
func TestNothingAcknowledgedIsLostWhenNodesDie(t *testing.T) {
	idempotent := loads(t, "plain", 3)
	others := loads(t, "upper", 3, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxProduceRequestsInflightPerBroker(1))
	all := slices.Concat(idempotent, others)
	for _, step := range []struct {
		name string
		end  func(id int)
		node func() int
	}{
		{"the leader of a partition stops", cluster.StopNode, func() int { return int(leader(t, idempotent[1].topic, 0)) }},
		{"the active controller dies", cluster.KillNode, func() int { return quorumLeader(t) }},
	} {
		id := step.node()
		t.Logf("%s: node %d", step.name, id)
		step.end(id)
		advance(all, 100)
		startNode(t, id, all)
		advance(all, 100)
	}

	for _, l := range idempotent {
		l.finish(true)
	}
	for _, l := range others {
		l.finish(false)
	}

	everyRecordIsDecided(t, idempotent[1].topic, shared)
	everyRecordIsDecided(t, others[1].topic, shared)
}

// TestLeadersThatMoveAreFollowed: every leader moves to another node and back, without a node that fails.
func TestLeadersThatMoveAreFollowed(t *testing.T) {
	all := loads(t, "plain", 3)
	for range 2 {
		for _, l := range all {
			moveLeaders(t, l.topic, l.parts)
		}
		advance(all, 150)
	}

	for _, l := range all {
		l.finish(true)
	}
	everyRecordIsDecided(t, all[1].topic, shared)
}

// moveLeaders makes another node lead each partition of a topic.
func moveLeaders(t *testing.T, topic string, parts int32) {
	t.Helper()
	var req kadm.AlterPartitionAssignmentsReq
	var set kadm.TopicsSet
	for p := range parts {
		replicas := []int32{1, 2, 3}
		at := slices.Index(replicas, leader(t, topic, p))
		req.Assign(topic, p, append(replicas[(at+1)%3:], replicas[:(at+1)%3]...))
		set.Add(topic, p)
	}

	must(direct().admin(t).AlterPartitionAssignments(patient(t), req))(t)
	eventually(t, "the new order of replicas is known", func() bool {
		return len(must(direct().admin(t).ListPartitionReassignments(patient(t), set))(t)) == 0
	})

	must(direct().admin(t).ElectLeaders(patient(t), kadm.ElectPreferredReplica, set))(t)
}

// TestPartitionsAddedMeanwhileAreUsed: running clients find them.
func TestPartitionsAddedMeanwhileAreUsed(t *testing.T) {
	same(t, func(t *testing.T, w way) int {
		to := topic(t, w, "plain", 1)
		producer := w.client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MetadataMaxAge(time.Second))
		consumer := w.client(t, kgo.ConsumeTopics(to), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMaxAge(time.Second))
		mustSend(t, producer, &kgo.Record{Topic: to, Value: []byte("before")})
		must(w.admin(t).UpdatePartitions(patient(t), 3, to))(t)
		awaitTopic(t, to, 3)
		used := map[int32]bool{}
		eventually(t, "the new partitions are produced to", func() bool {
			r := &kgo.Record{Topic: to, Value: []byte("after")}
			mustSend(t, producer, r)
			used[r.Partition] = true
			return len(used) == 3
		})

		read := map[int32]bool{}
		for ctx := patient(t); len(read) < 3; {
			consumer.PollFetches(ctx).EachRecord(func(r *kgo.Record) { read[r.Partition] = true })
			if ctx.Err() != nil {
				t.Fatalf("only %v are read", read)
			}
		}

		return len(read)
	})
}

// TestATopicMadeAgainIsAnotherTopic: a topic is deleted and made again under its name while clients run. The old one's id is
// known no more, to whichever node; the clients are told, and go on when they take the new one.
func TestATopicMadeAgainIsAnotherTopic(t *testing.T) {
	type seen struct {
		Gone, Fetched   int16
		Running, Purged string
		Read            []string
	}
	same(t, func(t *testing.T, w way) seen {
		to := topic(t, w, "plain", 1)
		producer := w.client(t)
		consumer := w.client(t, kgo.ConsumeTopics(to), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		old := metadataOf(t, producer, to).TopicID
		mustSend(t, producer, records(to, 0, "before")...)
		got := seen{Read: readOne(t, consumer)}
		must(w.admin(t).DeleteTopic(patient(t), to))(t)
		eventually(t, "the old id is known no more", func() bool {
			got.Gone = produced(t, producer, 1, to, old)
			return got.Gone == kerr.UnknownTopicID.Code
		})

		makeTopic(t, to, 1, nil)
		got.Gone = produced(t, producer, int(leader(t, to, 0)), to, old)
		fetched := must(question(1, 17, to, old).(*kmsg.FetchRequest).RequestWith(patient(t), producer.Broker(int(leader(t, to, 0)))))(t)
		got.Fetched = fetched.Topics[0].Partitions[0].ErrorCode
		got.Running = send(t, producer, records(to, 0, "still the old id")...)[0]
		producer.PurgeTopicsFromClient(to)
		consumer.PurgeTopicsFromClient(to)
		consumer.AddConsumeTopics(to)
		got.Purged = send(t, producer, records(to, 0, "after")...)[0]
		got.Read = append(got.Read, readOne(t, consumer)...)

		if w.name == "gateway" {
			everyRecordIsDecided(t, to, shared)
		}
		return got
	})
}

// readOne reads until there is a record.
func readOne(t *testing.T, c *kgo.Client) (read []string) {
	t.Helper()
	for ctx := patient(t); len(read) == 0; {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { read = append(read, string(r.Value)) })
		if ctx.Err() != nil {
			t.Fatal("nothing came")
		}
	}

	return read
}

// produced is the answer of one node to a batch for a topic's id.
func produced(t *testing.T, cl *kgo.Client, node int, topic string, id [16]byte) int16 {
	t.Helper()
	return must(produceOf(part{topic, id, 0, batchOf("by id")}).RequestWith(patient(t), cl.Broker(node)))(t).Topics[0].Partitions[0].ErrorCode
}
