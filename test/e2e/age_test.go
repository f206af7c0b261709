package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/gateway"
)

// youngConnections is a world in which no connection lives for longer than moments.
func youngConnections(t *testing.T) *world {
	t.Helper()
	topics := []string{"idempotent", "plain", "transactional"}
	s := setup{
		topics:    map[string]int32{},
		modules:   []module{judgeModule(topics...)},
		configure: func(c *gateway.Config) { c.MaxConnectionAge = 40 * time.Millisecond },
	}
	for _, topic := range topics {
		s.topics[topic] = loadPartitions
		s.bindings = append(s.bindings, bind(topic, "judge"))
	}

	return newWorld(t, s)
}

// agedOut is how many connections have ended by their age.
func (w *world) agedOut() (n uint64) {
	w.cluster.EachEnd(func(cause string, connections uint64) {
		if cause == "age" {
			n = connections
		}
	})
	return n
}

// Connections end again and again by their age, under producers that have always
// something under way. Nothing that a producer was told is lost; nothing is stored
// twice, even without a producer id, since no request that was taken goes unanswered.
func TestConnectionsThatEndByAgeLoseAndDuplicateNothing(t *testing.T) {
	w := youngConnections(t)
	idempotent, plain := startLoads(t, w.addr())
	eventually(t, "hundreds of connections end", func() bool { return w.agedOut() >= 200 })
	idempotent.more(t, 100)
	plain.more(t, 100)

	for _, l := range []*load{idempotent, plain} {
		l.finish(t)
		stored := map[int32][]entry{}
		for p := range int32(loadPartitions) {
			stored[p] = w.stored(l.topic, p)
		}
		l.compare(t, stored, true)
	}
}

// Transactions go over several connections, and each is whole.
func TestTransactionsGoOnOverConnectionsThatEndByAge(t *testing.T) {
	w := youngConnections(t)
	c := client(t, w.addr(), kgo.TransactionalID("aged"), kgo.ProducerLinger(0))
	const each = 5
	rounds := 0
	for ; w.agedOut() < 100; rounds++ {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range each {
			mustSend(t, c, "transactional", 0, fmt.Sprintf("a%d-%d", rounds, i))
		}
		commit := kgo.TransactionEndTry(rounds%3 > 0)
		if err := c.EndTransaction(testContext(t), commit); err != nil {
			t.Fatalf("ending transaction %d: %v", rounds, err)
		}
	}

	committed := rounds - (rounds+2)/3
	reader := client(t, w.addr(), kgo.ConsumeTopics("transactional"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	seen := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for len(seen) < committed*each && ctx.Err() == nil {
		reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}

	if len(seen) != committed*each {
		t.Errorf("%d of %d committed records are seen", len(seen), committed*each)
	}
	for value, n := range seen {
		if n > 1 {
			t.Errorf("%s is seen %d times", value, n)
		}
	}
}
