package e2e

import (
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestNoRequestEndsTheEmbeddedBroker: a topic's name once kept it from ever
// starting again, a quota killed it, and a count of partitions took all memory.
func TestNoRequestEndsTheEmbeddedBroker(t *testing.T) {
	d := deploy(t, plan{bindings: map[string]string{"orders": ""}})
	p := serve(t, d)
	c := client(t, d.address, kgo.UnknownTopicRetries(10))
	createTopic(t, c, "orders", 1, nil)
	broker := p.child()

	createTopic(t, c, strings.Repeat("é", 60), 1, kerr.InvalidTopicException)
	createTopic(t, c, "..", 1, kerr.InvalidTopicException)
	createTopic(t, c, "__transaction_state", 1, kerr.PolicyViolation)
	createTopic(t, c, "wide", 2_000_000, kerr.InvalidPartitions)

	quotas := kmsg.NewPtrAlterClientQuotasRequest()
	quotas.Entries = []kmsg.AlterClientQuotasRequestEntry{{Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: math.NaN()}}}}
	if resp := must(quotas.RequestWith(testContext(t), c))(t); resp.Entries[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a quota that is no number is answered with %v", kerr.ErrorForCode(resp.Entries[0].ErrorCode))
	}

	mustSend(t, c, "orders", 0, "a")
	if now := p.child(); now != broker {
		t.Errorf("the embedded broker was %d and is %d: it was ended", broker, now)
	}

	p.terminate()

	serve(t, d)
	again := client(t, d.address)
	mustSend(t, again, "orders", 0, "b")
	equal(t, "stored", values(readAll(t, d.address, "orders", 0)), []string{"a", "b"})
}

func createTopic(t *testing.T, c *kgo.Client, name string, partitions int32, want error) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic = name
	topic.NumPartitions = partitions
	topic.ReplicationFactor = 1
	req.Topics = append(req.Topics, topic)

	resp := must(req.RequestWith(testContext(t), c))(t)
	if got := kerr.ErrorForCode(resp.Topics[0].ErrorCode); got != want {
		t.Errorf("creating %q with %d partitions: %v, want %v", name, partitions, got, want)
	}
}
