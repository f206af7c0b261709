package broker

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func create(name string, value *string) kmsg.Request {
	return &kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "a"}, {
		Topic: "orders", Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: value}}}}}
}

func alter(name string, value *string) kmsg.Request {
	return &kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic,
		ResourceName: "orders", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: name, Value: value}}}}}
}

func incremental(op kmsg.IncrementalAlterConfigOp) func(string, *string) kmsg.Request {
	return func(name string, value *string) kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic,
			ResourceName: "orders",
			Configs:      []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Op: op, Value: value}}}}}
	}
}

// waysToSet are the requests that give a topic a setting.
var waysToSet = map[string]func(string, *string) kmsg.Request{
	"create": create, "alter": alter,
	"set":    incremental(kmsg.IncrementalAlterConfigOpSet),
	"append": incremental(kmsg.IncrementalAlterConfigOpAppend),
}

func TestCompactionIsRefusedHoweverItIsAsked(t *testing.T) {
	for how, ask := range waysToSet {
		for _, v := range []string{"compact", "compact,delete", "delete,compact", " Compact "} {
			no := Judge(ask("cleanup.policy", &v))
			if no == nil || no.Code != kerr.InvalidConfig.Code || !strings.Contains(no.Reason, `"orders"`) {
				t.Errorf("%s with %q: %+v", how, v, no)
			}
		}

		v := "delete"
		other := "lz4"
		for name, value := range map[string]*string{"cleanup.policy": &v, "compression.type": &other, "retention.ms": nil} {
			if no := Judge(ask(name, value)); no != nil {
				t.Errorf("%s of %s refused: %s", how, name, no.Reason)
			}
		}
	}
}

func TestTurningCompactionOffIsAllowed(t *testing.T) {
	v := "compact"
	for _, op := range []kmsg.IncrementalAlterConfigOp{kmsg.IncrementalAlterConfigOpSubtract, kmsg.IncrementalAlterConfigOpDelete} {
		if no := Judge(incremental(op)("cleanup.policy", &v)); no != nil {
			t.Errorf("op %v refused: %s", op, no.Reason)
		}
	}

	if no := Judge(kmsg.NewPtrMetadataRequest()); no != nil || Judges(kmsg.Metadata) {
		t.Error("metadata refused")
	}
}

// TestSettingsOfTopicsAreKafkas: the embedded broker takes any text for any of
// them, and acts on it.
func TestSettingsOfTopicsAreKafkas(t *testing.T) {
	for name, values := range map[string]struct{ good, bad []string }{
		"retention.ms":           {[]string{"-1", "0", "86400000"}, []string{"-2", "", "1h", "1e3", "9223372036854775808", "NaN"}},
		"segment.bytes":          {[]string{"1048576"}, []string{"14", "-1", "2147483648"}},
		"max.message.bytes":      {[]string{"0", "1048588"}, []string{"-1", "many"}},
		"compression.type":       {[]string{"producer", "zstd"}, []string{"", "brotli"}},
		"message.timestamp.type": {[]string{"LogAppendTime"}, []string{"logappendtime"}},
		"kfake.is_internal":      {nil, []string{"true", "false"}},
	} {
		for how, ask := range waysToSet {
			for _, v := range values.good {
				if no := Judge(ask(name, &v)); no != nil {
					t.Errorf("%s of %s=%s refused: %s", how, name, v, no.Reason)
				}
			}
			for _, v := range values.bad {
				if no := Judge(ask(name, &v)); no == nil || no.Code != kerr.InvalidConfig.Code {
					t.Errorf("%s of %s=%s: %+v", how, name, v, no)
				}
			}
		}
	}
}

// TestEmbeddedBrokerGetsOnlyWhatKafkaWouldTake: each of these ended it, now or
// at its next start, or made it as large as the client liked.
func TestEmbeddedBrokerGetsOnlyWhatKafkaWouldTake(t *testing.T) {
	topic := func(name string, partitions int32, assigned int) *kmsg.CreateTopicsRequest {
		return &kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: partitions,
			ReplicaAssignment: make([]kmsg.CreateTopicsRequestTopicReplicaAssignment, assigned)}}}
	}

	more := func(name string, n int32) kmsg.Request {
		return &kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: n}}}
	}
	quota := func(v float64, remove bool) kmsg.Request {
		return &kmsg.AlterClientQuotasRequest{Entries: []kmsg.AlterClientQuotasRequestEntry{{
			Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: v, Remove: remove}}}}}
	}

	trim := func(name string, to int64) kmsg.Request {
		return &kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: name,
			Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: to}}}}}
	}

	settings := func(kind kmsg.ConfigResourceType, name string) kmsg.Request {
		return &kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kind, ResourceName: name}}}
	}
	internal := "__consumer_offsets"

	for name, tc := range map[string]struct {
		req  kmsg.Request
		want *kerr.Error // nil: taken
	}{
		"a topic":                       {topic("orders.eu-1_a", 12, 0), nil},
		"the default partitions":        {topic("orders", -1, 0), nil},
		"as many partitions as may be":  {topic("orders", MaxPartitions, 0), nil},
		"a name too long for a file":    {topic(strings.Repeat("é", 60), 1, 0), kerr.InvalidTopicException},
		"a name that leaves":            {topic("a/../b", 1, 0), kerr.InvalidTopicException},
		"the parent directory":          {topic("..", 1, 0), kerr.InvalidTopicException},
		"no name":                       {topic("", 1, 0), kerr.InvalidTopicException},
		"an internal topic":             {topic(internal, 1, 0), kerr.PolicyViolation},
		"partitions without end":        {topic("orders", 1.87e9, 0), kerr.InvalidPartitions},
		"assigned without end":          {topic("orders", -1, MaxPartitions+1), kerr.InvalidPartitions},
		"topics without end":            {&kmsg.CreateTopicsRequest{Topics: slices.Repeat(topic("a", 1, 0).Topics, maxTopicsAsked+1)}, kerr.PolicyViolation},
		"more partitions":               {more("orders", 12), nil},
		"more partitions without end":   {more("orders", math.MaxInt32), kerr.InvalidPartitions},
		"a quota":                       {quota(1e6, false), nil},
		"a quota that is no number":     {quota(math.NaN(), false), kerr.InvalidRequest},
		"a quota without end":           {quota(math.Inf(1), false), kerr.InvalidRequest},
		"a quota below nothing":         {quota(-1, false), kerr.InvalidRequest},
		"a quota taken away":            {quota(math.NaN(), true), nil},
		"records deleted":               {trim("orders", 7), nil},
		"all records deleted":           {trim("orders", -1), nil},
		"records before the first":      {trim("orders", -2), kerr.OffsetOutOfRange},
		"Kafka's records deleted":       {trim(internal, -1), kerr.PolicyViolation},
		"Kafka's topic deleted by name": {&kmsg.DeleteTopicsRequest{TopicNames: []string{internal}}, kerr.PolicyViolation},
		"Kafka's topic deleted":         {&kmsg.DeleteTopicsRequest{Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &internal}}}, kerr.PolicyViolation},
		"a topic deleted":               {&kmsg.DeleteTopicsRequest{TopicNames: []string{"orders"}}, nil},
		"the broker's settings":         {settings(kmsg.ConfigResourceTypeBroker, "0"), kerr.PolicyViolation},
		"a group's settings":            {settings(kmsg.ConfigResourceTypeGroupConfig, "g"), nil},
	} {
		no := Judge(tc.req)
		if (no == nil) != (tc.want == nil) || no != nil && (no.Code != tc.want.Code || no.Reason == "") {
			t.Errorf("%s: %+v, want %v", name, no, tc.want)
		}
		if !Judges(kmsg.Key(tc.req.Key())) {
			t.Errorf("%s: requests of that kind are not shown to Judge", name)
		}
	}
}
