package gateway

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// topicSettings remembers what topics take, for a while. Safe for concurrent use.
type topicSettings struct {
	mu    sync.Mutex
	known map[string]knownSettings
}

type knownSettings struct {
	pipeline.TopicSettings
	until time.Time
}

// settingsAge is how long looked up settings are believed.
const settingsAge = time.Minute

// unknownSettings are for a topic that cannot be asked about: its broker has the
// last word on sizes, and takes a placeholder with a key in any case.
var unknownSettings = pipeline.TopicSettings{MaxMessage: math.MaxInt, Compacts: true}

// Settings implements pipeline.Topics.
func (c *Cluster) Settings(ctx context.Context, topic string) pipeline.TopicSettings {
	s := &c.settings
	s.mu.Lock()
	got, ok := s.known[topic]
	s.mu.Unlock()

	if ok && time.Now().Before(got.until) {
		return got.TopicSettings
	}

	asked := knownSettings{TopicSettings: c.askSettings(ctx, topic), until: time.Now().Add(settingsAge)}
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.known == nil || len(s.known) >= maxInterned {
		s.known = map[string]knownSettings{}
	}
	s.known[topic] = asked
	return asked.TopicSettings
}

func (c *Cluster) askSettings(ctx context.Context, topic string) pipeline.TopicSettings {
	ctx, cancel := context.WithTimeout(ctx, c.gw.cfg.DialTimeout)
	defer cancel()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType = kmsg.ConfigResourceTypeTopic
	r.ResourceName = topic
	r.ConfigNames = []string{"max.message.bytes", "cleanup.policy"}
	req.Resources = append(req.Resources, r)

	resp, err := req.RequestWith(ctx, c.admin)
	if err != nil || len(resp.Resources) != 1 || resp.Resources[0].ErrorCode != 0 {
		return unknownSettings
	}

	out := unknownSettings
	for _, cfg := range resp.Resources[0].Configs {
		switch {
		case cfg.Value == nil:
		case cfg.Name == "cleanup.policy":
			out.Compacts = strings.Contains(*cfg.Value, "compact")
		case cfg.Name == "max.message.bytes":
			if n, err := strconv.Atoi(*cfg.Value); err == nil && n > 0 {
				out.MaxMessage = n
			}
		}
	}

	return out
}
