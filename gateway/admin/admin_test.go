package admin

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func incremental(kind kmsg.ConfigResourceType, name string, settings ...string) kmsg.Request {
	res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
	for _, s := range settings {
		res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: s})
	}
	return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{res}}
}

// TestWhatTouchesEvidenceIsNamed: everything that deletes records, keeps them for
// less time, or changes who may; and nothing else.
func TestWhatTouchesEvidenceIsNamed(t *testing.T) {
	orders := "orders"
	for name, tc := range map[string]struct {
		req  kmsg.Request
		want []string
	}{
		"records": {&kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: "a"}, {Topic: "b"}}},
			[]string{"topic a []", "topic b []"}},
		"topics by name": {&kmsg.DeleteTopicsRequest{TopicNames: []string{"a"}}, []string{"topic a []"}},
		"topics":         {&kmsg.DeleteTopicsRequest{Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &orders}, {}}}, []string{"topic orders []", "topic  []"}},
		"all settings":   {&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "a"}}}, []string{"topic a []"}},
		"retention":      {incremental(kmsg.ConfigResourceTypeTopic, "a", "Retention.MS", "compression.type"), []string{"topic a [Retention.MS compression.type]"}},
		"compaction":     {incremental(kmsg.ConfigResourceTypeTopic, "a", "cleanup.policy"), []string{"topic a [cleanup.policy]"}},
		"the broker's":   {incremental(kmsg.ConfigResourceTypeBroker, "1", "log.retention.hours"), []string{"broker 1 [log.retention.hours]"}},
		"another":        {incremental(kmsg.ConfigResourceTypeTopic, "a", "max.message.bytes"), nil},
		"a group's":      {incremental(kmsg.ConfigResourceTypeGroupConfig, "g", "share.record.lock.duration.ms"), nil},
		"Kafka's own":    {incremental(kmsg.ConfigResourceTypeTopic, "__consumer_offsets", "max.message.bytes"), []string{"topic __consumer_offsets [max.message.bytes]"}},
		"an internal topic": {&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "a"}, {Topic: "__a"}}},
			[]string{"topic __a []"}},
		"rights":      {&kmsg.CreateACLsRequest{}, []string{"acl  []"}},
		"less rights": {&kmsg.DeleteACLsRequest{}, []string{"acl  []"}},
		"a look":      {&kmsg.DescribeConfigsRequest{}, nil},
	} {
		var got []string
		for _, a := range Actions(tc.req) {
			var names []string
			for _, s := range a.Settings {
				names = append(names, s.Name)
			}
			got = append(got, fmt.Sprint(a.Resource, " ", a.Name, " ", names))
		}

		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if len(tc.want) > 0 && !Concerns(kmsg.Key(tc.req.Key())) {
			t.Errorf("%s: requests of that kind are not decoded", name)
		}
	}
}
