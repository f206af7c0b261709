package broker

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// bounds are the least and the most of the numbers that a setting of a topic takes.
type bounds struct{ least, most int64 }

// topicNumbers are the settings of topics that are numbers, with Kafka's bounds. The embedded broker itself takes
// anything for them.
var topicNumbers = map[string]bounds{
	"delete.retention.ms": {0, math.MaxInt64},
	"max.message.bytes":   {0, math.MaxInt32},
	"min.insync.replicas": {1, math.MaxInt32},
	"retention.bytes":     {-1, math.MaxInt64},
	"retention.ms":        {-1, math.MaxInt64},
	"segment.bytes":       {1 << 20, math.MaxInt32},
	"segment.ms":          {1, math.MaxInt64},
}

// topicWords are the settings of topics that take one of some words only, as Kafka has them.
var topicWords = map[string][]string{
	"compression.type":       {"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"},
	"message.timestamp.type": {"CreateTime", "LogAppendTime"},
}

// checkSetting says why a topic must not get a setting. One that is not known here is the broker's to refuse. A null
// value is its default.
func checkSetting(topic, name string, value *string) *Refusal {
	name = strings.ToLower(strings.TrimSpace(name))
	if strings.HasPrefix(name, "kfake.") {
		return refuse(kerr.InvalidConfig, "topic %s: no setting is called %s", topic, name)
	}
	if value == nil {
		return nil
	}

	if compacts(name, *value) {
		return refuse(kerr.InvalidConfig, "cleanup.policy=compact is not available on the embedded broker (%q): it could lose "+
			"acknowledged records; use cleanup.policy=delete or a real cluster", topic)
	}

	if b, ok := topicNumbers[name]; ok {
		n, err := strconv.ParseInt(*value, 10, 64)
		if err != nil || n < b.least || n > b.most {
			return refuse(kerr.InvalidConfig, "topic %s: %s must be a number from %d to %d", topic, name, b.least, b.most)
		}
	}

	if words, ok := topicWords[name]; ok && !slices.Contains(words, *value) {
		return refuse(kerr.InvalidConfig, "topic %s: %s must be one of %s", topic, name, strings.Join(words, ", "))
	}
	return nil
}

// compacts reports whether a setting would turn compaction on: killed while it compacts, the embedded broker loses
// acknowledged records. It is wider than the broker's own test, which is a case-sensitive "contains".
func compacts(name, value string) bool {
	return (name == "cleanup.policy" || name == "log.cleanup.policy") && strings.Contains(strings.ToLower(value), "compact")
}
