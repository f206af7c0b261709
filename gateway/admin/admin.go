// Package admin names what a request would do to the evidence that topics are:
// delete records or topics, keep records for less time, or change who may do so.
// It is pure: a decoded request in, actions out. Whether they may be done is for
// the gateway and for policy.
package admin

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Resource is what an action is about. The names are those of policy and of the
// decision log: never rename one.
type Resource string

// The kinds of resources that an action can be about, as policies and the
// decision log spell them.
const (
	Topic  Resource = "topic"
	Broker Resource = "broker"
	ACL    Resource = "acl"
)

// Action is one thing that a request would do to one resource. A request may
// hold many.
type Action struct {
	Resource Resource
	Name     string   // of the topic or broker
	TopicID  [16]byte // instead of Name, where the request names none
	Settings []Setting
}

// Setting is a configuration entry that changes, with the value it would get.
type Setting struct {
	Name    string
	Value   string
	Removed bool // back to its default
}

// IsInternal reports whether a name is one of those that Kafka keeps for itself,
// such as __consumer_offsets.
func IsInternal(topic string) bool { return strings.HasPrefix(topic, "__") }

// Concerns reports whether requests of that kind can do something to evidence,
// and must be decoded.
func Concerns(key kmsg.Key) bool {
	switch key {
	case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.DeleteRecords, kmsg.CreatePartitions, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs,
		kmsg.CreateACLs, kmsg.DeleteACLs:
		return true
	}
	return false
}

// Actions lists what a request would do, in its order. None: it does nothing to
// evidence.
func Actions(req kmsg.Request) []Action {
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		return createTopics(r)
	case *kmsg.CreatePartitionsRequest:
		return createPartitions(r)
	case *kmsg.DeleteTopicsRequest:
		return deleteTopics(r)
	case *kmsg.DeleteRecordsRequest:
		return deleteRecords(r)
	case *kmsg.AlterConfigsRequest:
		return alterConfigs(r)
	case *kmsg.IncrementalAlterConfigsRequest:
		return incrementalAlterConfigs(r)
	case *kmsg.CreateACLsRequest:
		return []Action{{Resource: ACL}}
	case *kmsg.DeleteACLsRequest:
		return []Action{{Resource: ACL}}
	}
	return nil
}

// createTopics is about Kafka's own topics alone. Topics of clients may be made
// by whom the cluster lets: a new topic holds no evidence yet.
func createTopics(r *kmsg.CreateTopicsRequest) (out []Action) {
	for _, t := range r.Topics {
		if !IsInternal(t.Topic) {
			continue
		}
		a := Action{Resource: Topic, Name: t.Topic}
		for _, c := range t.Configs {
			a.Settings = append(a.Settings, setting(c.Name, c.Value, false))
		}

		out = append(out, a)
	}
	return out
}

func createPartitions(r *kmsg.CreatePartitionsRequest) (out []Action) {
	for _, t := range r.Topics {
		if IsInternal(t.Topic) {
			out = append(out, Action{Resource: Topic, Name: t.Topic})
		}
	}
	return out
}

func deleteTopics(r *kmsg.DeleteTopicsRequest) (out []Action) {
	for _, name := range r.TopicNames {
		out = append(out, Action{Resource: Topic, Name: name})
	}
	for _, t := range r.Topics {
		a := Action{Resource: Topic, TopicID: t.TopicID}
		if t.Topic != nil {
			a.Name = *t.Topic
		}
		out = append(out, a)
	}

	return out
}

func deleteRecords(r *kmsg.DeleteRecordsRequest) (out []Action) {
	for _, t := range r.Topics {
		out = append(out, Action{Resource: Topic, Name: t.Topic})
	}
	return out
}

// alterConfigs knows that the request sets what it names and puts everything
// else back to its default, so that any of them may change how long records
// stay.
func alterConfigs(r *kmsg.AlterConfigsRequest) (out []Action) {
	for _, res := range r.Resources {
		var settings []Setting
		for _, c := range res.Configs {
			settings = append(settings, setting(c.Name, c.Value, false))
		}
		out = appendSettings(out, res.ResourceType, res.ResourceName, settings, true)
	}
	return out
}

func incrementalAlterConfigs(r *kmsg.IncrementalAlterConfigsRequest) (out []Action) {
	for _, res := range r.Resources {
		var settings []Setting
		for _, c := range res.Configs {
			settings = append(settings, setting(c.Name, c.Value, c.Op == kmsg.IncrementalAlterConfigOpDelete))
		}
		out = appendSettings(out, res.ResourceType, res.ResourceName, settings, slices.ContainsFunc(settings, weakens))
	}
	return out
}

func setting(name string, value *string, removed bool) Setting {
	s := Setting{Name: name, Removed: removed || value == nil}
	if value != nil {
		s.Value = *value
	}
	return s
}

func appendSettings(out []Action, kind kmsg.ConfigResourceType, name string, settings []Setting, weaken bool) []Action {
	switch {
	case kind == kmsg.ConfigResourceTypeTopic && (weaken || IsInternal(name)):
		return append(out, Action{Resource: Topic, Name: name, Settings: settings})
	case kind == kmsg.ConfigResourceTypeBroker && weaken:
		return append(out, Action{Resource: Broker, Name: name, Settings: settings})
	}
	return out
}

// weakens reports whether a setting, of a topic or a broker, says how long
// records stay, or who decides what may be asked.
func weakens(s Setting) bool {
	name := strings.ToLower(strings.TrimSpace(s.Name))
	for _, part := range []string{"retention", "cleanup.policy", "segment.", "log.roll", "remote.storage", "remote.log",
		"unclean.leader.election", "super.users", "authorizer"} {
		if strings.Contains(name, part) {
			return true
		}
	}

	return false
}
