//go:build kafka

package kafka

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms/record"
)

// part is one partition of a Produce request.
type part struct {
	topic     string
	id        [16]byte
	partition int32
	batch     []byte
}

// produceOf is one request, partitions of the same topic together.
func produceOf(parts ...part) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = 30_000

	for _, p := range parts {
		n := len(req.Topics)
		if n == 0 || req.Topics[n-1].Topic != p.topic {
			rt := kmsg.NewProduceRequestTopic()
			rt.Topic = p.topic
			rt.TopicID = p.id
			req.Topics = append(req.Topics, rt)
			n++
		}

		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = p.partition
		rp.Records = p.batch
		req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
	}

	return req
}

// compressed is a batch of values as gzip makes it at one of the gateway's levels.
func compressed(t *testing.T, level int, values ...string) []byte {
	t.Helper()
	c := recordbatch.NewCodec(recordbatch.Limits{})
	var b record.Batch
	h := must(c.Decode(batchOf(values...), &b))(t)
	return must(c.Encode(nil, h, &b, recordbatch.EncodeOptions{Compression: recordbatch.Gzip, Level: level}))(t)
}

// limited makes a topic that takes batches up to so many bytes.
func limited(t *testing.T, kind string, partitions int32, bytes int) string {
	t.Helper()
	to := name(through(shared), kind)
	limit := strconv.Itoa(bytes)
	makeTopic(t, to, partitions, map[string]*string{"max.message.bytes": &limit})
	return to
}

// TestABatchThatGrewIsCompressedHarder: at the gateway's first level it would be too large for the topic, and is not stored
// at that.
func TestABatchThatGrewIsCompressedHarder(t *testing.T) {
	var values []string
	words := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var line strings.Builder
		for range 40 {
			fmt.Fprintf(&line, "%s ", []string{"river", "lock", "gate", "water", "canal", "keeper"}[words.IntN(6)])
		}
		values = append(values, line.String())
	}

	sent := compressed(t, 2, values...)
	loud := upperCase(values)
	fast := len(compressed(t, 0, loud...))
	dense := len(compressed(t, 2, loud...))

	limit := max(len(sent), dense) + 16
	if fast <= limit {
		t.Fatalf("the text does not tell the levels apart: %d bytes fast, %d dense", fast, dense)
	}

	w := through(shared)
	to := limited(t, "upper", 1, limit)
	cl := w.client(t)

	resp := must(produceOf(part{to, metadataOf(t, cl, to).TopicID, 0, sent}).RequestWith(patient(t), cl.Broker(int(leader(t, to, 0)))))(t)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("error %d", code)
	}
	if got := consume(t, w, to)[0]; fmt.Sprint(got) != fmt.Sprint(loud) {
		t.Errorf("%d of %d records are stored", len(got), len(loud))
	}

	everyRecordIsDecided(t, to, shared)
}

// TestABatchThatGrewTooLargeFailsAlone: small records become placeholders that no codec makes small enough; the request's other
// partition is stored.
func TestABatchThatGrewTooLargeFailsAlone(t *testing.T) {
	w := through(shared)
	to := name(w, "dropping")
	onOneNode(t, to, 2, 1)
	must(direct().admin(t).AlterTopicConfigs(patient(t), []kadm.AlterConfig{{Name: "max.message.bytes", Value: kadm.StringPtr("130")}}, to))(t)
	eventually(t, "the limit is known", func() bool {
		return strings.Contains(settingsOf(must(w.admin(t).DescribeTopicConfigs(patient(t), to))(t)), "max.message.bytes=130")
	})

	cl := w.client(t)
	id := metadataOf(t, cl, to).TopicID
	many := make([]string, 1000)
	for i := range many {
		many[i] = "drop"
	}

	resp := must(produceOf(part{to, id, 0, batchOf(many...)}, part{to, id, 1, batchOf("keep", "drop")}).RequestWith(patient(t), cl.Broker(1)))(t)
	for _, p := range resp.Topics[0].Partitions {
		want := int16(0)
		if p.Partition == 0 {
			want = kerr.MessageTooLarge.Code
		}
		if p.ErrorCode != want {
			t.Errorf("partition %d: error %d, want %d", p.Partition, p.ErrorCode, want)
		}
	}

	if got := consume(t, w, to); fmt.Sprint(got) != "[[] [keep]]" {
		t.Errorf("stored: %q", got)
	}
	everyRecordIsDecided(t, to, shared)
}
