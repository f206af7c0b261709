package audit_test

import (
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

var bothClusters = []string{"main", "eu"}

// twin is a batch of the same topic and partition in either cluster; only the
// client differs.
func twin(cluster string, n int) *audit.BatchEntry {
	e := batchOf("cards", 1, n)
	e.Cluster = cluster
	e.ClientID = "client of " + cluster
	return e
}

// twins is a log in which each coordinate exists in both clusters, over several
// segments.
func twins(t testing.TB, dir string) *audit.Log {
	t.Helper()
	l := mustOpen(t, dir, audit.Options{SegmentBytes: audit.MinSegmentBytes})
	for i := range 60 {
		for _, cluster := range bothClusters {
			seq := mustAppend(t, l, twin(cluster, 100), nil)
			l.Place(seq, audit.Placement{Route: "alerts", BaseOffset: int64(2 * i)})
			l.Place(seq, audit.Placement{BaseOffset: int64(100 * i)})
		}
	}

	flushed(t, l)
	return l
}

func TestTopicsOfTheSameNameInTwoClustersAreKeptApart(t *testing.T) {
	dir := t.TempDir()
	l := twins(t, dir)
	check := func(t *testing.T, q *query.Reader) {
		for _, place := range []struct {
			topic     string
			partition int32
			offset    int64
			index     int
		}{{"cards", 1, 244, 44}, {"cards", 1, 5999, 99}, {"alerts", 0, 5, 95}} {
			f := query.Filter{Topics: []string{place.topic}, Partition: &place.partition, Offset: &place.offset}
			for _, f.Cluster = range bothClusters {
				ds := collect(t, q, f)
				if len(ds) != 1 || ds[0].Cluster != f.Cluster || ds[0].ClientID != "client of "+f.Cluster || ds[0].Index != place.index {
					t.Errorf("%s in %s: %+v", place.topic, f.Cluster, ds)
				}
			}

			f.Cluster = "asia"
			if ds := collect(t, q, f); len(ds) != 0 {
				t.Errorf("%s in a cluster of no decision: %+v", place.topic, ds)
			}

			f.Cluster = ""
			if ds := collect(t, q, f); len(ds) != 2 || ds[0].Cluster != "main" || ds[1].Cluster != "eu" {
				t.Errorf("%s in any cluster: %+v", place.topic, ds)
			}
		}
	}

	check(t, query.New(l.Reader()))
	mustClose(t, l)
	r, err := audit.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}

	check(t, query.New(r))
	if rep, err := audit.VerifyChain(dir); err != nil || len(rep.Segments) < 3 {
		t.Fatalf("verifying: %+v, %v", rep, err)
	}
}

func TestClusterNarrowsScansAndSums(t *testing.T) {
	l := twins(t, t.TempDir())
	f := query.Filter{Cluster: "eu", Topics: []string{"cards"}, Outcomes: []string{"routed"}}
	ds := collect(t, query.New(l.Reader()), f)
	if len(ds) != 120 {
		t.Fatalf("%d routed records, want 120", len(ds))
	}

	for _, d := range ds {
		if d.Cluster != "eu" || d.Routed.Cluster != "eu" {
			t.Fatalf("a row of %s, routed to %s", d.Cluster, d.Routed.Cluster)
		}
	}

	if ds := collect(t, query.New(l.Reader()), query.Filter{Cluster: "eu", Kinds: []audit.Kind{audit.KindOpen, audit.KindConfig}}); len(ds) != 0 {
		t.Errorf("control entries have no cluster: %+v", ds)
	}
	for cluster, want := range map[string]map[string]int64{"eu": {"eu": 6000}, "": {"eu": 6000, "main": 6000}} {
		sums, err := query.New(l.Reader()).Summarize(t.Context(), query.Filter{Cluster: cluster})
		if err != nil || len(sums.Topics) != len(want) {
			t.Fatalf("summary of %q: %+v, %v", cluster, sums, err)
		}
		for name, n := range want {
			if sums.Topics[name]["cards"] != n {
				t.Errorf("summary of %q: %d in %s, want %d", cluster, sums.Topics[name]["cards"], name, n)
			}
		}
	}
}

// TestUnboundBatchesKnowTheirCluster: recovery must look in the right one, also
// for batches whose segment was sealed before the crash.
func TestUnboundBatchesKnowTheirCluster(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{SegmentBytes: audit.MinSegmentBytes})
	for _, cluster := range bothClusters {
		mustAppend(t, l, twin(cluster, 10), nil)
	}

	for i := range 60 { // push them into a finished segment
		e := twin("main", 200)
		e.Principal = "User:" + string(rune('A'+i))
		l.Place(mustAppend(t, l, e, nil), audit.Placement{BaseOffset: int64(1000 + 200*i)})
	}

	flushed(t, l)
	mustClose(t, l)
	l = mustOpen(t, dir, audit.Options{SegmentBytes: audit.MinSegmentBytes})
	if segs, err := l.Reader().Refresh(); err != nil || len(segs) < 3 {
		t.Fatalf("%d segments, %v", len(segs), err)
	}

	refs := l.Unplaced()
	if len(refs) != 2 || refs[0].Cluster != "main" || refs[1].Cluster != "eu" {
		t.Fatalf("unbound: %+v", refs)
	}

	l.Place(refs[1].Seq, audit.Placement{BaseOffset: 0, Recovered: true})
	flushed(t, l)
	at := query.Filter{Topics: []string{"cards"}, Partition: ptr(int32(1)), Offset: ptr(int64(6))}
	if ds := collect(t, query.New(l.Reader()), at); len(ds) != 1 || ds[0].Cluster != "eu" || !ds[0].Batch.Recovered {
		t.Fatalf("after reconciling eu: %+v", ds)
	}
	if left := l.Unplaced(); len(left) != 1 || left[0].Cluster != "main" {
		t.Fatalf("still unbound: %+v", left)
	}
}
