package broker

import (
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// MaxPartitions is how many partitions a topic of the embedded broker has at most. Each costs memory and files from the
// moment that it is asked for.
const MaxPartitions = 1000

// maxTopicsAsked bounds the topics that one request makes, each with up to MaxPartitions.
const maxTopicsAsked = 100

// Refusal is why the embedded broker must not be given a request: one of Kafka's codes, and a sentence for the client
// that names the topic or resource.
type Refusal struct {
	Code   int16
	Reason string
}

// rules is what the embedded broker is given of the requests that change more than records. It takes some that Kafka
// refuses and that end it, now or at its next start: it makes a file name of any topic's name, as many partitions as are
// asked for, and cannot save a number that is none.
var rules = map[kmsg.Key]func(kmsg.Request) *Refusal{
	kmsg.CreateTopics:            rule(createTopics),
	kmsg.CreatePartitions:        rule(createPartitions),
	kmsg.DeleteTopics:            rule(deleteTopics),
	kmsg.DeleteRecords:           rule(deleteRecords),
	kmsg.AlterConfigs:            rule(alterConfigs),
	kmsg.IncrementalAlterConfigs: rule(incrementalAlterConfigs),
	kmsg.AlterClientQuotas:       rule(alterClientQuotas),
}

func rule[R kmsg.Request](judge func(R) *Refusal) func(kmsg.Request) *Refusal {
	return func(req kmsg.Request) *Refusal { return judge(req.(R)) }
}

// Judges reports whether requests of that kind must be shown to Judge before the embedded broker gets them.
func Judges(key kmsg.Key) bool { return rules[key] != nil }

// Judge says why the embedded broker must not be given a request, or nil where it may have it. Requests of other kinds
// than Judges names pass.
func Judge(req kmsg.Request) *Refusal {
	judge := rules[kmsg.Key(req.Key())]
	if judge == nil {
		return nil
	}
	return judge(req)
}

func refuse(err *kerr.Error, format string, args ...any) *Refusal {
	return &Refusal{Code: err.Code, Reason: fmt.Sprintf(format, args...)}
}

// IsInternal reports whether a name is one of those that Kafka keeps for itself, such as __consumer_offsets.
func IsInternal(topic string) bool { return strings.HasPrefix(topic, "__") }

// checkName is for whatever makes, changes or removes a topic: the embedded broker would make a file of any name, and
// does not protect Kafka's own topics.
func checkName(topic string) *Refusal {
	if !ValidTopicName(topic) {
		return refuse(kerr.InvalidTopicException, "topic name %q: want 1-249 letters, digits, '.', '_' and '-'", topic)
	}
	if IsInternal(topic) {
		return refuse(kerr.PolicyViolation, "topic %s: names that begin with __ are Kafka's own", topic)
	}
	return nil
}

func checkPartitions(topic string, n int64) *Refusal {
	if n > MaxPartitions {
		return refuse(kerr.InvalidPartitions, "topic %s: %d partitions are more than the %d of the embedded broker", topic, n, MaxPartitions)
	}
	return nil
}

// createTopics checks the names, the number and the settings of topics that are to be made.
func createTopics(r *kmsg.CreateTopicsRequest) *Refusal {
	if len(r.Topics) > maxTopicsAsked {
		return refuse(kerr.PolicyViolation, "%d topics in one request are more than the %d that the embedded broker takes", len(r.Topics), maxTopicsAsked)
	}

	for _, t := range r.Topics {
		if no := checkName(t.Topic); no != nil {
			return no
		}
		if no := checkPartitions(t.Topic, int64(max(int(t.NumPartitions), len(t.ReplicaAssignment)))); no != nil {
			return no
		}

		for _, c := range t.Configs {
			if no := checkSetting(t.Topic, c.Name, c.Value); no != nil {
				return no
			}
		}
	}

	return nil
}

func createPartitions(r *kmsg.CreatePartitionsRequest) *Refusal {
	for _, t := range r.Topics {
		if no := checkName(t.Topic); no != nil {
			return no
		}
		if no := checkPartitions(t.Topic, int64(t.Count)); no != nil {
			return no
		}
	}
	return nil
}

// deleteTopics keeps Kafka's own topics. It looks at both lists, since versions differ in which of them they use.
func deleteTopics(r *kmsg.DeleteTopicsRequest) *Refusal {
	for _, name := range r.TopicNames {
		if IsInternal(name) {
			return checkName(name)
		}
	}

	for _, t := range r.Topics {
		if t.Topic != nil && IsInternal(*t.Topic) {
			return checkName(*t.Topic)
		}
	}

	return nil
}

// deleteRecords checks the offsets: -1 is the end of the log, and nothing else below 0 is an offset.
func deleteRecords(r *kmsg.DeleteRecordsRequest) *Refusal {
	for _, t := range r.Topics {
		if no := checkName(t.Topic); no != nil {
			return no
		}
		for _, p := range t.Partitions {
			if p.Offset < -1 {
				return refuse(kerr.OffsetOutOfRange, "topic %s: offset %d", t.Topic, p.Offset)
			}
		}
	}
	return nil
}

func alterConfigs(r *kmsg.AlterConfigsRequest) *Refusal {
	for _, res := range r.Resources {
		var wanted []setting
		for _, c := range res.Configs {
			wanted = append(wanted, setting{c.Name, c.Value})
		}

		if no := checkResource(res.ResourceType, res.ResourceName, wanted); no != nil {
			return no
		}
	}
	return nil
}

// incrementalAlterConfigs checks what is set or appended. What is only taken away
// leaves a topic with the broker's own setting, which needs no check.
func incrementalAlterConfigs(r *kmsg.IncrementalAlterConfigsRequest) *Refusal {
	for _, res := range r.Resources {
		var wanted []setting
		for _, c := range res.Configs {
			if c.Op == kmsg.IncrementalAlterConfigOpSet || c.Op == kmsg.IncrementalAlterConfigOpAppend {
				wanted = append(wanted, setting{c.Name, c.Value})
			}
		}

		if no := checkResource(res.ResourceType, res.ResourceName, wanted); no != nil {
			return no
		}
	}
	return nil
}

// setting is one configuration entry that a request asks for. A nil value is Kafka's null, which means the default.
type setting struct {
	name  string
	value *string
}

// checkResource checks the settings that a request wants for a topic, and refuses
// those of a broker, since they stand in the gateway's configuration.
func checkResource(kind kmsg.ConfigResourceType, name string, wanted []setting) *Refusal {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if no := checkName(name); no != nil {
			return no
		}
		for _, s := range wanted {
			if no := checkSetting(name, s.name, s.value); no != nil {
				return no
			}
		}

	case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
		return refuse(kerr.PolicyViolation, "settings of the embedded broker stand in the gateway's configuration, not in requests")
	}
	return nil
}

func alterClientQuotas(r *kmsg.AlterClientQuotasRequest) *Refusal {
	for _, e := range r.Entries {
		for _, op := range e.Ops {
			if !op.Remove && (math.IsNaN(op.Value) || math.IsInf(op.Value, 0) || op.Value < 0) {
				return refuse(kerr.InvalidRequest, "quota %s: %v is no quota", op.Key, op.Value)
			}
		}
	}
	return nil
}
