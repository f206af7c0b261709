//go:build kafka

package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// protocols of consumer groups, by the type that the cluster lists them under.
var protocols = map[string][]kgo.Opt{
	"classic":  {kgo.Balancers(kgo.RangeBalancer())},
	"consumer": {kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer())}, // KIP-848
}

// member is one consumer of a group.
type member struct {
	*kgo.Client

	mu   sync.Mutex
	owns map[int32]bool
}

func join(t *testing.T, w way, group, topic string, opts ...kgo.Opt) *member {
	t.Helper()
	m := &member{owns: map[int32]bool{}}
	change := func(owned bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, p := range parts[topic] {
				m.owns[p] = owned
			}
		}
	}

	m.Client = w.client(t, append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
		kgo.DisableAutoCommit(), kgo.HeartbeatInterval(200*time.Millisecond))...)
	return m
}

func (m *member) owned() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, is := range m.owns {
		if is {
			n++
		}
	}

	return n
}

// poll lets every member read until holds, each record counted under its value.
func poll(t *testing.T, seen map[string]int, holds func() bool, members ...*member) {
	t.Helper()
	for ctx := patient(t); !holds(); {
		for _, m := range members {
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			m.PollFetches(short).EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
			cancel()
		}
		if ctx.Err() != nil {
			t.Fatalf("the group did not get there; %d records read", len(seen))
		}
	}
}

// grouped is what a group comes to whose second member joins, and whose first leaves.
type grouped struct {
	Before, After, Resumed int
	Again                  int // records of before that the last member read again
	Type, State            string
	Committed              int64
}

func TestGroupsRebalance(t *testing.T) {
	for kind, opts := range protocols {
		t.Run(kind, func(t *testing.T) {
			same(t, func(t *testing.T, w way) grouped { return rebalance(t, w, opts) })
		})
	}
}

func rebalance(t *testing.T, w way, opts []kgo.Opt) grouped {
	t.Helper()
	to := topic(t, w, "plain", 4)
	first := join(t, w, to, to, opts...)
	before := map[string]int{}
	spread(t, w, to, "before", 40)
	poll(t, before, func() bool { return first.owned() == 4 && len(before) == 40 }, first)
	commit(t, first)

	second := join(t, w, to, to, opts...)
	after := map[string]int{}
	poll(t, after, func() bool { return first.owned() == 2 && second.owned() == 2 }, first, second)
	spread(t, w, to, "after", 40)
	poll(t, after, func() bool { return len(after) == 40 }, first, second)
	commit(t, first)
	commit(t, second)
	got := grouped{Before: len(before), After: len(after)}
	got.Type, got.State = listed(t, w, to)

	first.Close()
	resumed := map[string]int{}
	poll(t, resumed, func() bool { return second.owned() == 4 }, second)
	spread(t, w, to, "resumed", 20)
	poll(t, resumed, func() bool { return resumed["resumed 0"] > 0 && resumed["resumed 19"] > 0 && len(resumed) >= 20 }, second)

	for value := range resumed {
		got.Resumed++
		got.Again += before[value] + after[value]
	}

	commit(t, second)
	for _, o := range must(w.admin(t).FetchOffsets(patient(t), to))(t)[to] {
		got.Committed += o.At
	}

	second.Close()
	eventually(t, "the group is empty", func() bool {
		_, state := listed(t, w, to)
		return state == "Empty"
	})

	if _, err := w.admin(t).DeleteGroup(patient(t), to); err != nil {
		t.Error(err)
	}
	return got
}

// listed is a group's type and state.
func listed(t *testing.T, w way, group string) (kind, state string) {
	t.Helper()
	for _, g := range must(kmsg.NewPtrListGroupsRequest().RequestWith(patient(t), w.client(t)))(t).Groups {
		if g.Group == group {
			return g.GroupType, g.GroupState
		}
	}
	return "", ""
}

func commit(t *testing.T, m *member) {
	t.Helper()
	if err := m.CommitUncommittedOffsets(patient(t)); err != nil {
		t.Fatal(err)
	}
}

// spread produces n values over the four partitions of a topic.
func spread(t *testing.T, w way, topic, prefix string, n int) {
	t.Helper()
	var all []*kgo.Record
	for i, v := range numbered(prefix, n) {
		all = append(all, records(topic, int32(i%4), v)...)
	}
	mustSend(t, w.client(t), all...)
}

// sharing is what a share group comes to (KIP-932).
type sharing struct {
	Seen      []string
	Delivered map[string]int32 // how often, where it is more than once
	Refused   string           // what an acknowledgement of what nobody holds gets
}

// TestShareGroupsDeliverReleaseAndAccept: released records come again, others do not.
func TestShareGroupsDeliverReleaseAndAccept(t *testing.T) {
	same(t, func(t *testing.T, w way) sharing {
		to := topic(t, w, "plain", 1)
		mustSend(t, w.client(t), records(to, 0, numbered("shared", 30)...)...)
		return share(t, w, to, 30)
	})
}

// TestPlaceholdersAreTakenOutOfShareFetch: and the group still gets to the topic's end.
func TestPlaceholdersAreTakenOutOfShareFetch(t *testing.T) {
	w := through(shared)
	to := dropped(t, w)
	mustSend(t, w.client(t), records(to, 0, "keep 9")...)
	got := share(t, w, to, 4)
	if !slices.Equal(got.Seen, []string{"keep 1", "keep 3", "keep 6", "keep 9"}) {
		t.Errorf("%+v", got)
	}
}

// share reads what is in a topic with two members of a share group. Every third record is released the first time.
func share(t *testing.T, w way, topic string, want int) sharing {
	t.Helper()
	fromStart(t, w, topic)
	var mu sync.Mutex
	var failed error
	note := func(_ *kgo.Client, all kgo.ShareAckResults) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, all.Error())
	}

	var members []*kgo.Client
	for range 2 {
		members = append(members, w.client(t, kgo.ShareGroup(topic), kgo.ConsumeTopics(topic), kgo.ShareMaxRecords(5), kgo.ShareAckCallback(note)))
	}

	got := sharing{Delivered: map[string]int32{}}
	done := map[string]bool{}
	for ctx := patient(t); len(done) < want; {
		for _, m := range members {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			m.PollFetches(short).EachRecord(func(r *kgo.Record) {
				if r.DeliveryCount() == 1 && r.Offset%3 == 0 {
					r.Ack(kgo.AckRelease)
					return
				}

				r.Ack(kgo.AckAccept)
				done[string(r.Value)] = true
				if r.DeliveryCount() > 1 {
					got.Delivered[string(r.Value)] = r.DeliveryCount()
				}
			})

			cancel()
			if err := m.FlushAcks(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records came", len(done), want)
		}
	}

	for value := range done {
		got.Seen = append(got.Seen, value)
	}
	slices.Sort(got.Seen)
	eventually(t, "the group has got to the end", func() bool {
		for _, m := range members { // what is released has to be taken by somebody
			short, cancel := context.WithTimeout(patient(t), 50*time.Millisecond)
			m.PollFetches(short)
			cancel()
		}
		described := must(w.admin(t).DescribeShareGroupOffsets(patient(t), topic))(t)
		return described[topic].Offsets[topic][0].Lag == 0
	})

	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		t.Errorf("acknowledging: %v", failed)
	}

	got.Refused = acknowledgeNothing(t, w, topic)
	return got
}

// fromStart makes a share group begin at the topic's start.
func fromStart(t *testing.T, w way, group string) {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType = kmsg.ConfigResourceTypeGroupConfig
	r.ResourceName = group
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "share.auto.offset.reset", kmsg.StringPtr("earliest")
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)

	resp := must(req.RequestWith(patient(t), w.client(t)))(t)
	if err := kerr.ErrorForCode(resp.Resources[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

// acknowledgeNothing sends a ShareAcknowledge outside any session.
func acknowledgeNothing(t *testing.T, w way, topic string) string {
	t.Helper()
	cl := w.client(t)
	meta := metadataOf(t, cl, topic)
	req := kmsg.NewPtrShareAcknowledgeRequest()
	req.GroupID, req.MemberID, req.ShareSessionEpoch = &topic, kmsg.StringPtr("AAAAAAAAAAAAAAAAAAAAAA"), 1
	rt := kmsg.NewShareAcknowledgeRequestTopic()
	rt.TopicID = meta.TopicID
	rp := kmsg.NewShareAcknowledgeRequestTopicPartition()
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp := must(req.RequestWith(patient(t), cl.Broker(int(meta.Partitions[0].Leader))))(t)

	return outcome(kerr.ErrorForCode(resp.ErrorCode))
}
