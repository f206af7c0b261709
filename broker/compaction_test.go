package broker

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func create(name string, value *string) kmsg.Request {
	return &kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "a"}, {
		Topic: "orders", Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: value}}}}}
}

func alter(name string, value *string) kmsg.Request {
	return &kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{
		ResourceName: "orders", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: name, Value: value}}}}}
}

func incremental(op kmsg.IncrementalAlterConfigOp) func(string, *string) kmsg.Request {
	return func(name string, value *string) kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{
			ResourceName: "orders",
			Configs:      []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Op: op, Value: value}}}}}
	}
}

func TestCompactionIsRefusedHoweverItIsAsked(t *testing.T) {
	asks := map[string]func(string, *string) kmsg.Request{
		"create": create, "alter": alter,
		"set":    incremental(kmsg.IncrementalAlterConfigOpSet),
		"append": incremental(kmsg.IncrementalAlterConfigOpAppend),
	}
	for how, ask := range asks {
		for _, v := range []string{"compact", "compact,delete", "delete,compact", " Compact "} {
			reason, refuse := RefuseCompaction(ask("cleanup.policy", &v))
			if !refuse || !strings.Contains(reason, `"orders"`) {
				t.Errorf("%s with %q: %v %q", how, v, refuse, reason)
			}
		}

		v := "delete"
		other := "compact"
		for name, value := range map[string]*string{"cleanup.policy": &v, "compression.type": &other, "retention.ms": nil} {
			if reason, refuse := RefuseCompaction(ask(name, value)); refuse {
				t.Errorf("%s of %s refused: %s", how, name, reason)
			}
		}
	}
}

func TestTurningCompactionOffIsAllowed(t *testing.T) {
	v := "compact"
	for _, op := range []kmsg.IncrementalAlterConfigOp{kmsg.IncrementalAlterConfigOpSubtract, kmsg.IncrementalAlterConfigOpDelete} {
		if reason, refuse := RefuseCompaction(incremental(op)("cleanup.policy", &v)); refuse {
			t.Errorf("op %v refused: %s", op, reason)
		}
	}

	if _, refuse := RefuseCompaction(kmsg.NewPtrMetadataRequest()); refuse {
		t.Error("metadata refused")
	}
}
