package gateway

import (
	"context"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicLimits remembers max.message.bytes of topics for a while. Safe for
// concurrent use.
type topicLimits struct {
	mu    sync.Mutex
	known map[string]topicLimit
}

type topicLimit struct {
	bytes int
	until time.Time
}

// limitAge is how long a looked up limit is believed.
const limitAge = time.Minute

// MaxMessage implements pipeline.Topics. Where the limit cannot be learned there
// is none here: the broker has the last word.
func (c *Cluster) MaxMessage(ctx context.Context, topic string) int {
	l := &c.limits
	l.mu.Lock()
	got, ok := l.known[topic]
	l.mu.Unlock()

	if ok && time.Now().Before(got.until) {
		return got.bytes
	}
	got = topicLimit{bytes: c.askMaxMessage(ctx, topic), until: time.Now().Add(limitAge)}
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.known == nil || len(l.known) >= maxInterned {
		l.known = map[string]topicLimit{}
	}
	l.known[topic] = got
	return got.bytes
}

func (c *Cluster) askMaxMessage(ctx context.Context, topic string) int {
	ctx, cancel := context.WithTimeout(ctx, c.gw.cfg.DialTimeout)
	defer cancel()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType = kmsg.ConfigResourceTypeTopic
	r.ResourceName = topic
	r.ConfigNames = []string{"max.message.bytes"}
	req.Resources = append(req.Resources, r)

	resp, err := req.RequestWith(ctx, c.admin)
	if err != nil {
		return math.MaxInt
	}

	for _, r := range resp.Resources {
		for _, cfg := range r.Configs {
			if cfg.Name != "max.message.bytes" || cfg.Value == nil {
				continue
			}
			if n, err := strconv.Atoi(*cfg.Value); err == nil && n > 0 {
				return n
			}
		}
	}

	return math.MaxInt
}
