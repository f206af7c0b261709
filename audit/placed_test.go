package audit_test

import (
	"testing"
	"testing/synctest"

	"github.com/guardlock/guardlock/audit"
)

// Bindings wait for others to share a flush with; whoever asks who is at an
// offset must see them all the same.
func TestBoundAtSeesBindingsThatNobodyFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openMem(t, newMemFiles(), audit.Options{})
		defer l.Close()
		at := batchOf("cards", 1, 4).Target
		add := func(cluster, topic string, base int64) uint64 {
			e := batchOf(topic, 1, 4)
			e.Cluster = cluster
			e.Outcome = audit.OutcomePassed
			e.Rulings = nil
			e.Runs = nil
			e.Add(audit.Ruling{}, 4)
			seq := mustAppend(t, l, e, nil)
			l.Place(seq, audit.Placement{BaseOffset: base})

			return seq
		}

		add("elsewhere", at.Topic, 100)
		add(at.Cluster, "other", 100)
		add(at.Cluster, at.Topic, -1)

		want := add(at.Cluster, at.Topic, 100)
		for offset, found := range map[int64]bool{99: false, 100: true, 103: true, 104: false} {
			refs, err := l.PlacedAt(t.Context(), at, offset)
			if err != nil || (len(refs) == 1 && refs[0].Seq == want) != found || len(refs) > 1 {
				t.Errorf("at %d: %+v, %v", offset, refs, err)
			}
		}
	})
}
