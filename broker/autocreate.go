package broker

import (
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// autoCreate makes metadata requests create the topics that they name. kfake's own option creates them in memory only:
// killed before some other topic changes, it has forgotten them when it starts again, with all their records.
//
// The control function is added anew each time that it runs, since one that stays remembers every connection for good.
func autoCreate(cluster *kfake.Cluster) {
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.DropControl()
		autoCreate(cluster)
		r := req.(*kmsg.MetadataRequest)
		if !r.AllowAutoTopicCreation {
			return nil, nil, false
		}

		for _, t := range r.Topics {
			if t.Topic != nil && ValidTopicName(*t.Topic) && !IsInternal(*t.Topic) {
				// One that exists, or collides with one that does, is an error: the answer tells it.
				_ = cluster.CreateTopic(*t.Topic, 0, nil)
			}
		}

		return nil, nil, false
	})
}

// ValidTopicName applies Kafka's rule, which the embedded broker does not: 1-249 letters, digits, '.', '_' and '-', and
// neither "." nor "..".
func ValidTopicName(name string) bool {
	if name == "" || len(name) > 249 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}

	return true
}
