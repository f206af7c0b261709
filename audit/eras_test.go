package audit_test

import (
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// begin records an era, as a gateway does before its first batch for a partition.
func begin(t testing.TB, l *audit.Log, partition int32, topic byte, offset int64) audit.Target {
	t.Helper()
	at := audit.Target{Cluster: "main", Topic: "cards", TopicID: [16]byte{topic}, Partition: partition}
	if hasEra(t, l, at) {
		t.Fatalf("the era of partition %d has begun already", partition)
	}
	if err := l.Record(t.Context(), audit.NewEra(audit.Era{Target: at, Offset: offset, LeaderEpoch: 4, Began: noon})); err != nil {
		t.Fatal(err)
	}
	return at
}

func hasEra(t testing.TB, l *audit.Log, at audit.Target) bool {
	t.Helper()
	has, err := l.HasEra(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return has
}

func eras(t *testing.T, r *query.Reader, f query.Filter) (found []audit.Era) {
	t.Helper()
	f.Kinds = []audit.Kind{audit.KindEra}
	for _, row := range collect(t, r, f) {
		found = append(found, *row.Control.Era)
	}
	return found
}

// TestEraOutlivesSegmentsRestartsAndPruning: it is told once, where it began, whatever
// became of the entry that it began with.
func TestEraOutlivesSegmentsRestartsAndPruning(t *testing.T) {
	d := newMemFiles()
	opts := audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }}
	l := openMem(t, d, opts)
	first, second := begin(t, l, 0, 1, 400), begin(t, l, 1, 1, 0)
	decide(t, l, 0, 150)

	for range 2 { // each opening ends all admissions, and no era
		mustClose(t, l)
		l = openMem(t, d, opts)
		if !hasEra(t, l, first) || !hasEra(t, l, second) {
			t.Fatal("an era is forgotten with a restart")
		}
	}
	if anew := first; hasEra(t, l, audit.Target{Cluster: anew.Cluster, Topic: anew.Topic, TopicID: [16]byte{2}}) {
		t.Error("a topic that was made anew has the era of the one before")
	}

	r := query.New(readerOf(d))
	want := []audit.Era{{Target: first, Offset: 400, LeaderEpoch: 4, Began: noon}, {Target: second, LeaderEpoch: 4, Began: noon}}
	same := func(when string) {
		t.Helper()
		got := eras(t, r, query.Filter{})
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%s: %+v", when, got)
		}
	}
	same("whole")

	decide(t, l, 150, 150)
	mustClose(t, l)
	if _, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(4 * time.Hour)})); err != nil {
		t.Fatal(err)
	}
	r = query.New(readerOf(d))
	same("pruned")
	for _, row := range collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindEra}}) {
		if _, again := row.Control.Repeats(); !again {
			t.Error("the entry that an era began with was not pruned")
		}
	}

	partition := int32(0)
	if got := eras(t, r, query.Filter{Topics: []string{"c*"}, Partition: &partition}); len(got) != 1 {
		t.Errorf("of one partition: %+v", got)
	}
	if got := eras(t, r, query.Filter{Topics: []string{"other"}}); len(got) != 0 {
		t.Errorf("of another topic: %+v", got)
	}
	if _, err := audit.VerifyFiles(d, audit.Known{}); err != nil {
		t.Error(err)
	}
}
