package broker

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// cleanupPolicies are the names under which topics and brokers hold the policy.
var cleanupPolicies = [...]string{"cleanup.policy", "log.cleanup.policy"}

// RefuseCompaction says whether req would turn compaction on, which the embedded broker must not do: killed while it
// compacts, it loses acknowledged records. The reason is a sentence for the client; it names the topic or resource.
// A request of any kind but CreateTopics, AlterConfigs and IncrementalAlterConfigs is never refused.
func RefuseCompaction(req kmsg.Request) (reason string, refuse bool) {
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		return refuseCreate(r)
	case *kmsg.AlterConfigsRequest:
		return refuseAlter(r)
	case *kmsg.IncrementalAlterConfigsRequest:
		return refuseIncremental(r)
	}
	return "", false
}

func refuseCreate(r *kmsg.CreateTopicsRequest) (string, bool) {
	for _, t := range r.Topics {
		for _, c := range t.Configs {
			if compacts(c.Name, c.Value) {
				return compactionReason(t.Topic), true
			}
		}
	}
	return "", false
}

func refuseAlter(r *kmsg.AlterConfigsRequest) (string, bool) {
	for _, res := range r.Resources {
		for _, c := range res.Configs {
			if compacts(c.Name, c.Value) {
				return compactionReason(res.ResourceName), true
			}
		}
	}
	return "", false
}

func refuseIncremental(r *kmsg.IncrementalAlterConfigsRequest) (string, bool) {
	for _, res := range r.Resources {
		for _, c := range res.Configs {
			adds := c.Op == kmsg.IncrementalAlterConfigOpSet || c.Op == kmsg.IncrementalAlterConfigOpAppend
			if adds && compacts(c.Name, c.Value) {
				return compactionReason(res.ResourceName), true
			}
		}
	}
	return "", false
}

// compacts is wider than the broker's own test, which is a case-sensitive "contains".
func compacts(name string, value *string) bool {
	if value == nil || !strings.Contains(strings.ToLower(*value), "compact") {
		return false
	}
	for _, p := range cleanupPolicies {
		if strings.EqualFold(strings.TrimSpace(name), p) {
			return true
		}
	}

	return false
}

func compactionReason(resource string) string {
	return fmt.Sprintf("cleanup.policy=compact is not available on the embedded broker (%q): it could lose "+
		"acknowledged records; use cleanup.policy=delete or a real cluster", resource)
}
