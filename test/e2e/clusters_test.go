package e2e

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// twoClusters is a world whose gateway serves a second cluster, eu, with the
// same topic and the same bindings.
type twoClusters struct {
	*world
	eu *gateway.Cluster
	// silent makes the log lose the broker's answers, as a crash does.
	silent atomic.Bool
}

func newTwoClusters(t *testing.T) *twoClusters {
	t.Helper()
	second := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"), kfake.SeedTopics(1, "quarantine")))(t)
	t.Cleanup(second.Close)
	w := &twoClusters{}
	w.world = newWorld(t, judgeSetup(1, func(c *gateway.Config) {
		c.Decisions = &forgetful{c.Decisions, &w.silent}
		c.Clusters = append(c.Clusters, gateway.ClusterConfig{Name: "eu", Upstream: upstream(t, second), Host: "127.0.0.1", MaxNode: 63})
	}))

	w.eu = w.gateway.Cluster("eu")
	w.eu.SetBindings(gateway.NewBindings(w.set.Bindings, pipeline.Unbound))
	return w
}

type forgetful struct {
	gateway.DecisionLog
	silent *atomic.Bool
}

func (f *forgetful) Place(seq uint64, b audit.Placement) {
	if !f.silent.Load() {
		f.DecisionLog.Place(seq, b)
	}
}

// outcomes waits until the log knows a coordinate in n clusters, and returns
// what it says, by cluster.
func (w *twoClusters) outcomes(topic string, offset int64, n int) map[string]string {
	w.t.Helper()
	partition := int32(0)
	var found []query.Decision
	eventually(w.t, "the log names the stored records", func() bool {
		found = decisions(w.t, w.logDir, query.Filter{Topics: []string{topic}, Partition: &partition, Offset: &offset})
		return len(found) >= n
	})

	out := map[string]string{}
	for _, d := range found {
		out[d.Cluster] = d.Outcome
		alone := decisions(w.t, w.logDir, query.Filter{Cluster: d.Cluster, Topics: []string{topic}, Partition: &partition, Offset: &offset})
		if len(found) != n || len(alone) != 1 || alone[0].ID != d.ID {
			w.t.Errorf("%s/0@%d has %d decisions, %d of them in %s", topic, offset, len(found), len(alone), d.Cluster)
		}
	}

	return out
}

func TestTheSameCoordinateInTwoClustersHasTwoDecisions(t *testing.T) {
	w := newTwoClusters(t)
	here := dial(t, w.addr())
	there := dial(t, w.eu.Addr())
	w.taken(w.produce(here, "in", "a"), 0)
	w.taken(w.produce(there, "in", "modify"), 0)
	w.taken(w.produce(here, "in", "quarantine"), 1)
	w.taken(w.produce(there, "in", "quarantine"), 1)

	if got := w.outcomes("in", 0, 2); got["main"] != "passed" || got["eu"] != "modified" {
		t.Errorf("in/0@0: %v", got)
	}
	if got := w.outcomes("quarantine", 0, 2); got["main"] != "routed" || got["eu"] != "routed" {
		t.Errorf("quarantine/0@0: %v", got)
	}
}

// TestLostAnswersAreLookedForInTheirOwnCluster: both clusters hold the very
// same bytes, at different offsets.
func TestLostAnswersAreLookedForInTheirOwnCluster(t *testing.T) {
	w := newTwoClusters(t)
	here := dial(t, w.addr())
	there := dial(t, w.eu.Addr())
	w.taken(w.produce(there, "in", "a"), 0)
	w.outcomes("in", 0, 1)
	w.silent.Store(true)

	same := batchOf(nobody, "b")
	for i, c := range []*wire{there, here} {
		req := produceOf(-1, part{"in", 0, same})
		w.taken(results(c.request(req))[0], int64(1-i))
	}

	lost := w.journal.Unplaced()
	if len(lost) != 2 || lost[0].Cluster != "eu" || lost[1].Cluster != "main" {
		t.Fatalf("without an answer: %+v", lost)
	}

	w.silent.Store(false)

	w.cluster.Resolve(lost)
	w.outcomes("in", 0, 2)
	if left := w.journal.Unplaced(); len(left) != 1 || left[0].Cluster != "eu" {
		t.Errorf("main settled what is not its own: %+v", left)
	}

	w.eu.Resolve(lost)
	if got := w.outcomes("in", 1, 1); got["eu"] != "passed" {
		t.Errorf("in/0@1: %v", got)
	}
}
