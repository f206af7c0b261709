//go:build kafka

package kafka

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAdministrationIsTheSame takes a topic through its life with an admin client, and compares what each step says.
func TestAdministrationIsTheSame(t *testing.T) {
	same(t, func(t *testing.T, w way) map[string]string {
		cl := w.client(t)
		a := administered{t: t, client: cl, admin: kadm.NewClient(cl), topic: name(w, "plain"), said: map[string]string{}}
		a.create()
		a.configure()
		a.read()
		a.shrink()
		a.guard()
		a.remove()

		return a.said
	})
}

// administered is one topic's life; said is the gist of every answer, without the topic's name.
type administered struct {
	t      *testing.T
	client *kgo.Client
	admin  *kadm.Client
	topic  string
	said   map[string]string
}

func (a *administered) note(step string, err error, gist ...any) {
	a.said[step] = strings.ReplaceAll(fmt.Sprint(append(gist, outcome(err))...), a.topic, "TOPIC")
}

func (a *administered) create() {
	ctx := patient(a.t)
	r, err := a.admin.CreateTopic(ctx, 2, 3, map[string]*string{"retention.ms": kadm.StringPtr("777000")}, a.topic)
	a.note("create", err, r.NumPartitions, r.ReplicationFactor, len(r.Configs) > 20, r.ID != kadm.TopicID{})
	awaitTopic(a.t, a.topic, 2)
	r, err = a.admin.CreateTopic(ctx, 2, 3, nil, a.topic)
	a.note("create again", err, r.ErrMessage)
	r, err = a.admin.CreateTopic(ctx, 2, 9, nil, a.topic+"-wide")
	a.note("too many replicas", err)
	more, err := a.admin.CreatePartitions(ctx, 2, a.topic)
	a.note("add partitions", err, more[a.topic].Err)
	awaitTopic(a.t, a.topic, 4)
}

func (a *administered) configure() {
	ctx := patient(a.t)
	altered, err := a.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("54321")}}, a.topic)
	a.note("alter", err, altered[0].Err)
	altered, err = a.admin.ValidateAlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "no.such", Value: kadm.StringPtr("1")}}, a.topic)
	a.note("alter what is not there", err, altered[0].Err)
	eventually(a.t, "the setting is known", func() bool {
		configs, err := a.admin.DescribeTopicConfigs(ctx, a.topic)
		a.note("settings", err, settingsOf(configs))
		return strings.Contains(a.said["settings"], "54321")
	})

	brokers, err := a.admin.DescribeBrokerConfigs(ctx, 1)
	a.note("settings of a node", err, len(brokers) == 1 && len(brokers[0].Configs) > 100)
	resources, err := a.admin.ListConfigResources(ctx, kmsg.ConfigResourceTypeBroker)
	a.note("resources", err, len(resources.Resources))
}

func settingsOf(configs kadm.ResourceConfigs) string {
	var all []string
	for _, c := range configs {
		for _, s := range c.Configs {
			all = append(all, fmt.Sprint(s.Key, "=", s.MaybeValue(), " ", s.Source))
		}
	}

	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (a *administered) read() {
	ctx := patient(a.t)
	topics, err := a.admin.ListTopics(ctx, a.topic)
	var parts []string
	for _, p := range topics[a.topic].Partitions.Sorted() {
		parts = append(parts, fmt.Sprint(p.Partition, len(p.Replicas), len(p.ISR), p.Leader > 0, p.Err))
	}

	a.note("describe", err, parts, topics[a.topic].IsInternal)
	a.note("describe what is not there", nil, metadataOf(a.t, direct().client(a.t), "plain-nowhere").ErrorCode)
	meta, err := a.admin.BrokerMetadata(ctx)
	a.note("nodes", err, meta.Brokers.NodeIDs(), meta.Controller > 0, meta.Cluster)
	a.describePartitions()
	a.describeCluster()

	for kind, list := range map[string]func() (kadm.ListedOffsets, error){
		"starts":    func() (kadm.ListedOffsets, error) { return a.admin.ListStartOffsets(ctx, a.topic) },
		"ends":      func() (kadm.ListedOffsets, error) { return a.admin.ListEndOffsets(ctx, a.topic) },
		"committed": func() (kadm.ListedOffsets, error) { return a.admin.ListCommittedOffsets(ctx, a.topic) },
		"latest":    func() (kadm.ListedOffsets, error) { return a.admin.ListMaxTimestampOffsets(ctx, a.topic) },
		"local":     func() (kadm.ListedOffsets, error) { return a.admin.ListLocalLogStartOffsets(ctx, a.topic) },
		"in an hour": func() (kadm.ListedOffsets, error) {
			return a.admin.ListOffsetsAfterMilli(ctx, time.Now().Add(time.Hour).UnixMilli(), a.topic)
		},
	} {
		offsets, err := list()
		a.note("list "+kind, err, offsetsOf(offsets))
	}

	dirs, err := a.admin.DescribeAllLogDirs(ctx, kadm.TopicsSet{a.topic: {0: {}}})
	a.note("log directories", err, slices.Sorted(maps.Keys(dirs)))
	reassigned, err := a.admin.ListPartitionReassignments(ctx, kadm.TopicsSet{a.topic: {0: {}}})
	a.note("reassignments", err, len(reassigned))
	eventually(a.t, "the transaction coordinator is there", func() bool { // its topic is made when it is first asked
		transactions, err := a.admin.DescribeTransactions(ctx, "nobody")
		a.note("transactions", err, transactions["nobody"].Err)
		return !strings.Contains(a.said["transactions"], kerr.CoordinatorNotAvailable.Message)
	})

	quotas, err := a.admin.DescribeClientQuotas(ctx, false, nil)
	a.note("quotas", err, len(quotas))
	scrams, err := a.admin.DescribeUserSCRAMs(ctx)
	delete(scrams, "")
	a.note("users", err, slices.Sorted(maps.Keys(scrams)))
}

func offsetsOf(all kadm.ListedOffsets) string {
	var out []string
	all.Each(func(o kadm.ListedOffset) { out = append(out, fmt.Sprint(o.Partition, "@", o.Offset, " ", o.Err)) })
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// describePartitions asks for two partitions at a time (KIP-966).
func (a *administered) describePartitions() {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
	rt.Topic = a.topic
	req.Topics = append(req.Topics, rt)
	req.ResponsePartitionLimit = 2

	resp, err := req.RequestWith(patient(a.t), a.client)
	if err != nil || len(resp.Topics) != 1 {
		a.note("partitions", err)
		return
	}

	a.note("partitions", err, resp.Topics[0].ErrorCode, len(resp.Topics[0].Partitions), resp.NextCursor != nil && resp.NextCursor.Partition == 2)
}

func (a *administered) describeCluster() {
	resp, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(patient(a.t), a.client)
	var ids []int32
	for _, b := range resp.Brokers {
		ids = append(ids, b.NodeID)
	}
	slices.Sort(ids)
	a.note("cluster", cmp.Or(err, kerr.ErrorForCode(resp.ErrorCode)), resp.ClusterID, ids, resp.ControllerID > 0)
}

// shrink deletes records.
func (a *administered) shrink() {
	mustSend(a.t, a.client, records(a.topic, 0, numbered("gone", 10)...)...)
	deleted, err := a.admin.DeleteRecords(patient(a.t), kadm.Offsets{a.topic: {0: kadm.Offset{Topic: a.topic, Partition: 0, At: 7}}})
	low, _ := deleted.Lookup(a.topic, 0)
	a.note("delete records", err, low.LowWatermark, low.Err)
	starts, err := a.admin.ListStartOffsets(patient(a.t), a.topic)
	a.note("starts after", err, offsetsOf(starts))
	deleted, err = a.admin.DeleteRecords(patient(a.t), kadm.Offsets{a.topic: {0: kadm.Offset{Topic: a.topic, Partition: 0, At: 70}}})
	low, _ = deleted.Lookup(a.topic, 0)
	a.note("delete more than there is", err, low.Err)
	producers, err := a.admin.DescribeProducers(patient(a.t), kadm.TopicsSet{a.topic: {0: {}}})
	part := producers[a.topic].Partitions[0]
	a.note("producers", err, part.Err, len(part.ActiveProducers))
}

// guard sets, lists and deletes an ACL.
func (a *administered) guard() {
	build := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(a.topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead).Allow("User:bob").AllowHosts("10.1.2.3")
	}
	made, err := a.admin.CreateACLs(patient(a.t), build())
	a.note("create ACL", err, len(made), made[0].Err)
	eventually(a.t, "the ACL is known", func() bool {
		described, err := a.admin.DescribeACLs(patient(a.t), build())
		a.note("ACLs", err, len(described), described[0].Err)
		for _, acl := range described[0].Described {
			a.note("ACL", nil, acl.Principal, acl.Host, acl.Name, acl.Operation, acl.Permission)
		}
		return len(described[0].Described) == 1
	})

	gone, err := a.admin.DeleteACLs(patient(a.t), build())
	a.note("delete ACL", err, len(gone), len(gone[0].Deleted))
}

func (a *administered) remove() {
	deleted, err := a.admin.DeleteTopic(patient(a.t), a.topic)
	a.note("delete", cmp.Or(err, deleted.Err), deleted.Topic)
	eventually(a.t, "the topic is gone", func() bool {
		again, err := a.admin.DeleteTopic(patient(a.t), a.topic)
		a.note("delete again", cmp.Or(err, again.Err))
		return strings.Contains(a.said["delete again"], kerr.UnknownTopicOrPartition.Message)
	})
}

// TestTopicsAreDescribedByTheirIds: what is asked by id is answered by id, through the gateway too.
func TestTopicsAreDescribedByTheirIds(t *testing.T) {
	same(t, func(t *testing.T, w way) string {
		to := topic(t, w, "plain", 1)
		cl := w.client(t)
		req := kmsg.NewPtrMetadataRequest()
		rt := kmsg.NewMetadataRequestTopic()
		rt.TopicID = metadataOf(t, cl, to).TopicID
		req.Topics = append(req.Topics, rt)

		resp := must(req.RequestWith(patient(t), cl))(t)
		if *resp.Topics[0].Topic != to {
			t.Errorf("the id names %s", *resp.Topics[0].Topic)
		}

		req.Topics[0].TopicID[3]++
		resp = must(req.RequestWith(patient(t), cl))(t)
		return outcome(kerr.ErrorForCode(resp.Topics[0].ErrorCode))
	})
}
