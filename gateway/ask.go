package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
)

// How a cluster is asked for its brokers. A cluster that takes connections and answers
// nothing is known for that within askEvery and askWithin together: operators are
// promised ten seconds.
const (
	askEvery   = 3 * time.Second
	askWithin  = 5 * time.Second
	askAnother = time.Second // without an answer, before the next broker is asked beside
	askAtMost  = 3           // brokers at once
)

// errSilent means that no broker answered in time, and nothing is known but that.
var errSilent = errors.New("no broker answered")

// discover learns the brokers at start and again and again, so that their
// listeners are open before any client asks: a client that reconnects to a
// broker after our restart must find its port. What comes of it is the cluster's Reach.
func (c *Cluster) discover(ctx context.Context) {
	const soon = 100 * time.Millisecond
	wait := soon
	for {
		err := c.learnBrokers(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.log.Warn("learning the cluster's brokers failed", zap.Error(err))
		default:
			wait = askEvery
		}

		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, askEvery)
	}
}

// answer is what came of asking one broker.
type answer struct {
	brokers []kmsg.MetadataResponseBroker
	err     error
}

// askBrokers asks one broker after the other for all of them, without waiting for those
// that are silent, and takes the first answer. Requests of others do not wait for
// these, and are not given up with them.
func (c *Cluster) askBrokers(ctx context.Context) ([]kmsg.MetadataResponseBroker, error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()

	answers := make(chan answer, askAtMost)
	ask := func() { asking.Go(func() { answers <- c.askBroker(ctx) }) }
	another := time.NewTicker(askAnother)
	defer another.Stop()

	ask()
	asked := 1
	failed := 0
	for {
		select {
		case <-another.C:
			if asked < askAtMost {
				ask()
				asked++
			}

		case a := <-answers:
			if a.err == nil {
				return a.brokers, nil
			}
			if failed++; failed < asked {
				continue
			}
			if errors.Is(a.err, context.DeadlineExceeded) {
				return nil, fmt.Errorf("%w for %s: %w", errSilent, time.Since(began).Round(100*time.Millisecond), a.err)
			}
			return nil, a.err
		}
	}
}

// askBroker asks the next broker in the client's order.
func (c *Cluster) askBroker(ctx context.Context) answer {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := c.metadata(ctx, req)
	if err != nil {
		return answer{err: err}
	}
	return answer{brokers: resp.Brokers}
}
