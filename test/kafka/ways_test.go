//go:build kafka

package kafka

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// way is how clients come to the cluster.
type way struct {
	name  string
	seeds []string
	opts  []kgo.Opt // of every client that goes this way
}

func direct() way { return way{name: "direct", seeds: cluster.Bootstrap()} }

// with is the same way with more options.
func (w way) with(opts ...kgo.Opt) way {
	w.opts = append(slices.Clone(w.opts), opts...)
	return w
}

func through(g *gateway) way { return way{name: "gateway", seeds: []string{g.addr}} }

// same does a thing straight against the cluster and through the shared gateway, and fails unless both come out the same.
func same[T any](t *testing.T, do func(t *testing.T, w way) T) {
	t.Helper()
	sameVia(t, through(shared), do)
}

func sameVia[T any](t *testing.T, gateway way, do func(t *testing.T, w way) T) {
	t.Helper()
	var got [2]T
	for i, w := range []way{direct(), gateway} {
		if !t.Run(w.name, func(t *testing.T) { got[i] = do(t, w) }) {
			return
		}
	}

	if !reflect.DeepEqual(got[0], got[1]) {
		direct, gateway := differing(reflect.ValueOf(got[0]), reflect.ValueOf(got[1]))
		t.Errorf("direct:  %+v\ngateway: %+v", direct, gateway)
	}
}

// differing leaves of two maps what differs.
func differing(a, b reflect.Value) (any, any) {
	if a.Kind() == reflect.Map {
		for _, k := range a.MapKeys() {
			if v := b.MapIndex(k); v.IsValid() && reflect.DeepEqual(a.MapIndex(k).Interface(), v.Interface()) {
				a.SetMapIndex(k, reflect.Value{})
				b.SetMapIndex(k, reflect.Value{})
			}
		}
	}
	return a.Interface(), b.Interface()
}

// client is a stock franz-go client that does not wait long before it tries again.
func (w way) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	all := append([]kgo.Opt{kgo.SeedBrokers(w.seeds...), kgo.ClientID("kafka-test"), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}, w.opts...)
	c := must(kgo.NewClient(append(all, opts...)...))(t)
	t.Cleanup(c.Close)
	return c
}

func (w way) admin(t *testing.T) *kadm.Client {
	t.Helper()
	return kadm.NewClient(w.client(t))
}

var lastName atomic.Int32

// name is one that nothing else has. Kinds are plain, and those of modules.
func name(w way, kind string) string {
	return fmt.Sprintf("%s-%s-%d", kind, w.name, lastName.Add(1))
}

// topic makes a topic of a kind, with three replicas.
func topic(t *testing.T, w way, kind string, partitions int32) string {
	t.Helper()
	n := name(w, kind)
	makeTopic(t, n, partitions, nil)
	return n
}

// makeTopic returns when every node knows the topic and a leader of each partition.
func makeTopic(t *testing.T, topic string, partitions int32, settings map[string]*string) {
	t.Helper()
	must(direct().admin(t).CreateTopic(patient(t), partitions, 3, settings, topic))(t)
	awaitTopic(t, topic, int(partitions))
}

func awaitTopic(t *testing.T, topic string, partitions int) {
	t.Helper()
	cl := direct().client(t)
	for node := range int32(3) {
		eventually(t, "every node knows "+topic, func() bool {
			m := metadataOf(t, cl.Broker(int(node+1)), topic)
			return m.ErrorCode == 0 && len(m.Partitions) == partitions &&
				!slices.ContainsFunc(m.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 || len(p.ISR) < 3 })
		})
	}
}

func metadataOf(t *testing.T, r kmsg.Requestor, topic string) kmsg.MetadataResponseTopic {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)

	resp, err := req.RequestWith(patient(t), r)
	if err != nil || len(resp.Topics) != 1 {
		return kmsg.MetadataResponseTopic{ErrorCode: -1}
	}
	return resp.Topics[0]
}

// leader is who leads a partition, as the cluster itself says.
func leader(t *testing.T, topic string, partition int32) int32 {
	t.Helper()
	for _, p := range metadataOf(t, direct().client(t), topic).Partitions {
		if p.Partition == partition {
			return p.Leader
		}
	}
	return -1
}

// records makes one record of each value.
func records(topic string, partition int32, values ...string) []*kgo.Record {
	out := make([]*kgo.Record, len(values))
	for i, v := range values {
		out[i] = &kgo.Record{Topic: topic, Partition: partition, Key: []byte(fmt.Sprint("key ", i)), Value: []byte(v),
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(fmt.Sprint(i))}}}
	}
	return out
}

// numbered makes n values.
func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s %d", prefix, i)
	}
	return out
}

// send produces and returns the name of each record's outcome.
func send(t *testing.T, c *kgo.Client, records ...*kgo.Record) []string {
	t.Helper()
	var out []string
	for _, r := range c.ProduceSync(patient(t), records...) {
		out = append(out, outcome(r.Err))
	}
	return out
}

func mustSend(t *testing.T, c *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := c.ProduceSync(patient(t), records...).FirstErr(); err != nil {
		t.Fatalf("producing: %v", err)
	}
}

// outcome names an error as Kafka does.
func outcome(err error) string {
	var ke *kerr.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &ke):
		return ke.Message
	}

	return err.Error()
}

const sentinel = "the end of what a test reads"

// consume reads a topic from its start with a stock client, and returns what it has in each partition. Only what stood there
// when it was called counts: a record that says so is put behind it, straight into the cluster.
func consume(t *testing.T, w way, topic string, opts ...kgo.Opt) [][]string {
	t.Helper()
	n := len(metadataOf(t, direct().client(t), topic).Partitions)
	end := direct().client(t)
	for p := range n {
		mustSend(t, end, &kgo.Record{Topic: topic, Partition: int32(p), Key: []byte(sentinel), Value: []byte(sentinel)})
	}

	c := w.client(t, append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer c.Close()
	got := make([][]string, n)
	ends := make([]bool, n)
	for ctx := patient(t); slices.Contains(ends, false); {
		fetches := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("reading %s: %v after %d", topic, err, lengths(got))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			switch {
			case ends[r.Partition]:
			case string(r.Key) != sentinel:
				got[r.Partition] = append(got[r.Partition], string(r.Value))
			default:
				ends[r.Partition] = true
			}
		})
	}

	return got
}

func lengths(all [][]string) (out []int) {
	for _, a := range all {
		out = append(out, len(a))
	}
	return out
}

type position struct {
	partition int32
	offset    int64
}

// storedIn is every record that a topic holds, as the cluster itself gives it, but for sentinels and control records.
func storedIn(t *testing.T, topic string) map[position]*kgo.Record {
	t.Helper()
	cl := direct().client(t)
	var starts, ends kadm.ListedOffsets
	eventually(t, "all leaders of "+topic+" say where it begins and ends", func() bool {
		starts = must(kadm.NewClient(cl).ListStartOffsets(patient(t), topic))(t)
		ends = must(kadm.NewClient(cl).ListEndOffsets(patient(t), topic))(t)
		return starts.Error() == nil && ends.Error() == nil
	})

	out := map[position]*kgo.Record{}
	ends.Each(func(end kadm.ListedOffset) {
		first, _ := starts.Lookup(topic, end.Partition)
		for offset := first.Offset; offset < end.Offset; {
			part, next := fetch(t, cl, topic, end.Partition, offset)
			if next <= offset {
				t.Fatalf("reading %s/%d does not get beyond %d: %v", topic, end.Partition, offset, part.Err)
			}

			for _, r := range part.Records {
				if string(r.Key) != sentinel {
					out[position{r.Partition, r.Offset}] = r
				}
			}

			offset = next
		}
	})

	return out
}

// fetch asks the leader once for a partition's records, and returns where the next ones are.
func fetch(t *testing.T, cl *kgo.Client, topic string, partition int32, offset int64) (kgo.FetchPartition, int64) {
	t.Helper()
	meta := metadataOf(t, cl, topic)
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 5000
	req.MaxBytes = 8 << 20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	rt.TopicID = meta.TopicID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition = partition
	rp.FetchOffset = offset
	rp.PartitionMaxBytes = 8 << 20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	node := slices.IndexFunc(meta.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Partition == partition })
	if node < 0 {
		t.Fatalf("%s/%d is not there", topic, partition)
	}

	resp := must(req.RequestWith(patient(t), cl.Broker(int(meta.Partitions[node].Leader))))(t)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		t.Fatalf("fetching %s/%d: error %d", topic, partition, resp.ErrorCode)
	}

	o := kgo.ProcessFetchPartitionOpts{Offset: offset, Topic: topic, Partition: partition}
	return kgo.ProcessFetchPartition(o, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
}

// values are the records' values in order of their places.
func values(stored map[position]*kgo.Record) []string {
	var out []string
	for _, at := range places(stored) {
		out = append(out, string(stored[at].Value))
	}
	return out
}

func places(stored map[position]*kgo.Record) []position {
	var out []position
	for at := range stored {
		out = append(out, at)
	}

	slices.SortFunc(out, func(a, b position) int {
		return int(a.partition-b.partition)<<20 + int(a.offset-b.offset)
	})
	return out
}

// upperCase is what the module upper makes of values.
func upperCase(values []string) []string {
	out := slices.Clone(values)
	for i := range out {
		out[i] = strings.ToUpper(out[i])
	}
	return out
}
