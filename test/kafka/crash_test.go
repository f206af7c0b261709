//go:build kafka

package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

// kill ends the gateway hard.
func (g *gateway) kill() {
	g.stopped.Do(func() {
		g.process.Kill()
		<-g.ended
	})
}

// TestACrashLeavesNoDecisionOpen: a gateway is killed under load and starts again. What it had forwarded is found in the
// topics, or known to be lost: in one that stands, one that is gone, and one that was made again meanwhile.
func TestACrashLeavesNoDecisionOpen(t *testing.T) {
	g := start(t, options{node: "crashing", upstream: cluster.Bootstrap()})
	w := through(g)
	stands := startLoad(t, w, topic(t, w, "plain", 3), 3)
	gone := startLoad(t, w, topic(t, w, "plain", 1), 1)
	again := startLoad(t, w, topic(t, w, "plain", 1), 1)
	g.kill()

	open := map[string]int{}
	for _, l := range []*load{stands, gone, again} {
		open[l.topic] = unresolved(g.decisions(t, query.Filter{Topics: []string{l.topic}, ByBatch: true}))
	}

	t.Logf("open when killed: %v", open)
	for _, l := range []*load{gone, again} {
		l.abandon()
		must(direct().admin(t).DeleteTopic(patient(t), l.topic))(t)
		eventually(t, l.topic+" is gone", func() bool { return metadataOf(t, direct().client(t), l.topic).ErrorCode != 0 })
	}

	makeTopic(t, again.topic, 1, nil)
	mustSend(t, direct().client(t, kgo.DisableIdempotentWrite()), records(again.topic, 0, numbered("new", 20)...)...)

	g = start(t, g.options)
	stands.advance(100)
	stands.finish(true)
	everyRecordIsDecided(t, stands.topic, g)

	for _, l := range []*load{gone, again} {
		eventually(t, "nothing of "+l.topic+" is open", func() bool {
			return unresolved(g.decisions(t, query.Filter{Topics: []string{l.topic}, ByBatch: true})) == 0
		})
	}
}
