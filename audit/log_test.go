package audit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

var testKey = [32]byte{1, 2, 3}

var (
	gdpr  = audit.ModuleRef{Name: "gdpr", Digest: audit.Digest{0xaa, 1}}
	fraud = audit.ModuleRef{Name: "fraud", Digest: audit.Digest{0xbb, 2}}
)

// batchOf builds an entry of n records for topic/partition with a mix of verdicts.
func batchOf(topic string, partition int32, n int) *audit.BatchEntry {
	e := &audit.BatchEntry{
		Caller:    audit.Caller{ConnID: 7, Principal: "User:alice", ClientID: "payments-1", Source: "10.0.0.9"},
		Target:    audit.Target{Cluster: "main", Topic: topic, TopicID: [16]byte{9, 8, 7}, Partition: partition},
		Authority: audit.Authority{Modules: []audit.ModuleRef{gdpr, fraud}, PolicyRevision: "sha256:00ff", GrantDigest: audit.Digest{5}},
		Producer:  audit.Producer{ProducerID: 4000, ProducerEpoch: 1, BaseSequence: 17},
		Payload:   audit.Payload{Records: n, Codec: 3, BytesIn: 100 * n, BytesOut: 90 * n},
		Outcome:   audit.OutcomeModified,
	}
	for i := range n {
		switch {
		case i%5 == 3:
			e.Add(audit.Ruling{Verdict: audit.Modified, Module: 0, Reason: "masked"}, 1)
		case i%50 == 44:
			e.Add(audit.Ruling{Verdict: audit.Dropped, Module: 1, Reason: "duplicate"}, 1)
		case i%50 == 45:
			e.Add(audit.Ruling{Verdict: audit.Routed, Module: 1, Reason: "suspicious", Route: "alerts"}, 1)
		default:
			e.Add(audit.Ruling{}, 1)
		}
	}

	return e
}

func mustOpen(t testing.TB, dir string, o audit.Options) *audit.Log {
	t.Helper()
	o.Key = testKey
	l, err := audit.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { l.Close() })
	return l
}

func mustClose(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
}

func mustAppend(t testing.TB, l *audit.Log, e *audit.BatchEntry, batch []byte) uint64 {
	t.Helper()
	ticket := l.Append(e, batch)
	if err := ticket.Wait(t.Context()); err != nil {
		t.Fatalf("appending: %v", err)
	}
	return ticket.Seq()
}

// flushed makes every binding so far durable.
func flushed(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Subject: "flush", Outcome: "applied"}); err != nil {
		t.Fatal(err)
	}
}

func collect(t testing.TB, r *query.Reader, f query.Filter) []query.Decision {
	t.Helper()
	var out []query.Decision
	for d, err := range r.Query(t.Context(), f) {
		if err != nil {
			t.Fatalf("querying: %v", err)
		}
		out = append(out, d)
	}

	return out
}

func ptr[T any](v T) *T { return &v }

func TestDecisionIsFoundByCoordinateAcrossReopen(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{Node: "gw-1"})
	seq := mustAppend(t, l, batchOf("cards", 2, 500), []byte("batch bytes"))
	l.Place(seq, audit.Placement{Route: "alerts", Partition: 1, BaseOffset: 70})
	l.Place(seq, audit.Placement{BaseOffset: 1000, AppendTime: time.UnixMilli(1234)})
	flushed(t, l)
	check := func(q *query.Reader) {
		t.Helper()
		for i, want := range map[int]string{3: "modified", 44: "dropped", 45: "routed", 6: "passed", 499: "passed"} {
			ds := collect(t, q, query.Filter{Topics: []string{"cards"}, Partition: ptr(int32(2)), Offset: ptr(int64(1000 + i))})
			if len(ds) != 1 || ds[0].Index != i || ds[0].Outcome != want || ds[0].Principal != "User:alice" {
				t.Fatalf("record %d: %+v, want outcome %s", i, ds, want)
			}

			d, err := q.Lookup(t.Context(), ds[0].ID.String())
			if err != nil || d.Index != i || d.Outcome != want {
				t.Fatalf("looking up %s: %+v, %v", ds[0].ID, d, err)
			}
		}

		ds := collect(t, q, query.Filter{Topics: []string{"alerts"}, Partition: ptr(int32(1)), Offset: ptr(int64(72))})
		if len(ds) != 1 || ds[0].Index != 145 || ds[0].Reason != "suspicious" {
			t.Fatalf("routed record: %+v", ds)
		}
	}

	check(query.New(l.Reader()))
	r, err := audit.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}

	check(query.New(r))
	mustClose(t, l)
	check(query.New(r))
	l = mustOpen(t, dir, audit.Options{Node: "gw-1"})
	check(query.New(l.Reader()))

	if u := l.Unplaced(); len(u) != 0 {
		t.Fatalf("unbound: %+v", u)
	}
	if rep, err := audit.VerifyChain(dir); err != nil || rep.Decisions != 500 {
		t.Fatalf("verifying: %+v, %v", rep, err)
	}
}

func TestSegmentsRollAndStayOneChain(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{SegmentBytes: 8 << 10})
	var last uint64
	for i := range 200 {
		e := batchOf(fmt.Sprintf("t%d", i%3), int32(i%4), 50)
		e.Principal = fmt.Sprintf("User:p%d", i/40)
		last = mustAppend(t, l, e, []byte{byte(i)})
		if i%7 != 0 {
			l.Place(last, audit.Placement{BaseOffset: int64(i) * 50})
		}
	}

	open := l.Unplaced()
	if len(open) != 29 {
		t.Fatalf("%d unbound, want 29", len(open))
	}

	mustClose(t, l)
	l = mustOpen(t, dir, audit.Options{SegmentBytes: 8 << 10})
	again := l.Unplaced()
	if len(again) != len(open) {
		t.Fatalf("%d unbound after reopening, want %d", len(again), len(open))
	}

	for i := range again {
		if again[i].Seq != open[i].Seq || again[i].KeyAndNonce(testKey) != open[i].KeyAndNonce(testKey) || again[i].BaseSequence != 17 {
			t.Fatalf("unbound %d: %+v, want %+v", i, again[i], open[i])
		}
		if want := byte((i * 7)); !l.Matches(again[i], []byte{want}) || l.Matches(again[i], []byte{want + 1}) {
			t.Fatalf("MAC of unbound %d does not tell its batch", i)
		}
		l.Place(again[i].Seq, audit.Placement{BaseOffset: int64(i) * 350, Recovered: true})
	}

	flushed(t, l)
	if ds := collect(t, query.New(l.Reader()), query.Filter{Client: query.Client{Principals: []string{"User:p2"}}}); len(ds) != 40*50 {
		t.Fatalf("%d decisions of p2, want 2000", len(ds))
	}

	ds := collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"t0"}, Partition: ptr(int32(0)), Offset: ptr(int64(12))})
	if len(ds) != 1 || !ds[0].Batch.Recovered {
		t.Fatalf("recovered binding: %+v", ds)
	}

	mustClose(t, l)
	rep, err := audit.VerifyChain(dir)
	if err != nil || rep.Batches != 200 || len(rep.Segments) < 3 || rep.Unbound != 0 {
		t.Fatalf("verifying: %+v, %v", rep, err)
	}
}

func TestSecondGatewayIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, audit.Options{})
	if _, err := audit.Open(dir, audit.Options{Key: testKey}); !errors.Is(err, audit.ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
}
