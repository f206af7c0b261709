package gateway

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// topicSettings remembers for a while what topics take, since every batch needs
// it. It is safe for concurrent use.
type topicSettings struct {
	mu    sync.Mutex
	known map[string]knownSettings
}

type knownSettings struct {
	pipeline.TopicSettings
	until time.Time
}

// settingsAge is how long settings that were looked up are believed. A change
// of a topic's settings takes effect within it.
const settingsAge = time.Minute

// unknownSettings are for a topic that cannot be asked about: its broker has the
// last word on sizes, and takes a placeholder with a key in any case.
var unknownSettings = pipeline.TopicSettings{MaxMessage: math.MaxInt, Compacts: true}

// Settings implements pipeline.Topics. It never fails: what cannot be looked up
// is unknownSettings, for as long as other settings hold.
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

// askSettings asks the cluster for the settings of a topic. What it cannot
// learn stays as in unknownSettings.
func (c *Cluster) askSettings(ctx context.Context, topic string) pipeline.TopicSettings {
	ctx, cancel := context.WithTimeout(ctx, c.gw.cfg.DialTimeout)
	defer cancel()

	found, err := kadm.NewClient(c.admin).DescribeTopicConfigs(ctx, topic)
	if err != nil || len(found) != 1 || found[0].Err != nil {
		return unknownSettings
	}

	out := unknownSettings
	for _, setting := range found[0].Configs {
		switch {
		case setting.Value == nil:
		case setting.Key == "cleanup.policy":
			out.Compacts = strings.Contains(*setting.Value, "compact")
		case setting.Key == "max.message.bytes":
			if n, err := strconv.Atoi(*setting.Value); err == nil && n > 0 {
				out.MaxMessage = n
			}
		}
	}

	return out
}
