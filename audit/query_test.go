package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

var update = flag.Bool("update", false, "rewrite golden files")

var carol = audit.Fingerprint{0xca, 0x01}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// mixed is a log with one of everything, over several segments.
func mixed(t testing.TB) *audit.Log {
	l, _ := mixedFiles(t)
	return l
}

func mixedFiles(t testing.TB) (*audit.Log, *memFiles) {
	t.Helper()
	d := newMemFiles()
	now := noon
	l := openMem(t, d, audit.Options{Node: "gw-1", SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return now }})
	add := func(e *audit.BatchEntry, base int64) uint64 {
		now = now.Add(time.Minute)
		e.Time = now
		seq := mustAppend(t, l, e, nil)
		if base >= 0 {
			l.Place(seq, audit.Placement{BaseOffset: base, AppendTime: now})
		}
		return seq
	}

	add(batchOf("cards", 1, 100), 500) // passed, modified, dropped, routed
	plain := batchOf("cards", 1, 10)
	plain.Outcome = audit.OutcomePassed
	plain.Rulings = nil
	plain.Runs = nil
	plain.Modules = []audit.ModuleRef{gdpr}
	plain.Add(audit.Ruling{}, 10)
	plain.Source = "::ffff:192.0.2.7"
	plain.TLS = audit.TLS{"TLS 1.3", "TLS_AES_128_GCM_SHA256", carol}
	add(plain, 600)
	refused := batchOf("cards", 1, 3)
	refused.Outcome = audit.OutcomeRejected
	refused.Reason = "score_high"
	refused.Runs = nil
	refused.Rulings = nil
	refused.Add(audit.Ruling{}, 1)
	refused.Add(audit.Ruling{Verdict: audit.Rejected, Module: 1, Reason: "score_high"}, 1)
	refused.Add(audit.Ruling{Verdict: audit.Modified, Module: 0, Reason: "masked"}, 1)
	add(refused, -1)
	trap := batchOf("cards", 1, 7)
	trap.Outcome = audit.OutcomeTrap
	trap.Reason = "trap"
	trap.Runs = nil
	trap.Rulings = nil
	add(trap, -1)
	loose := batchOf("logs", 0, 60) // no producer id: dropped and routed are taken out
	loose.ProducerID = -1
	loose.Principal = "User:bob"
	loose.Modules = []audit.ModuleRef{gdpr, {Name: "other", Digest: audit.Digest{1}}}
	add(loose, 40)
	lost := batchOf("cards", 1, 5)
	seq := add(lost, -1)
	l.Place(seq, audit.Placement{BaseOffset: 9, ErrorCode: 87})

	err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindAdmission, Subject: "module gdpr", Module: gdpr, Principal: "ann@example.com",
		Outcome: "denied", Reason: "expired", Revision: "sha256:00ff", Time: now,
		Steps: []audit.Step{{"signature", "passed", ""}, {"approvals", "failed", "expired on 2026-02-01"}}})
	if err != nil {
		t.Fatal(err)
	}

	for i := range 40 { // push the rest into later segments
		e := batchOf("filler", int32(i), 200)
		e.ClientID = fmt.Sprintf("client-%0100d", i)
		add(e, int64(i))
	}

	flushed(t, l)
	if n := len(segmentsOf(d)); n < 3 {
		t.Fatalf("%d segments", n)
	}

	return l, d
}

func TestFiltersChoose(t *testing.T) {
	l := mixed(t)
	at := func(f query.Filter, offset int64) query.Filter {
		f.Topic, f.Partition, f.Offset = "cards", ptr(int32(1)), &offset
		return f
	}
	for name, c := range map[string]struct {
		f    query.Filter
		want int
	}{
		"topic and outcome":      {query.Filter{Topic: "cards", Outcome: "dropped"}, 2},
		"routed":                 {query.Filter{Topic: "cards", Outcome: "routed", Reason: "suspicious"}, 2},
		"rejected batch":         {query.Filter{Outcome: "rejected"}, 3},
		"rejected record":        {query.Filter{Outcome: "rejected", Reason: "score_high"}, 1},
		"its neighbours":         {query.Filter{Reason: audit.ReasonOtherRecord}, 2},
		"refused whole":          {query.Filter{Outcome: "trap"}, 1},
		"principal":              {query.Filter{Principal: "User:bob"}, 60},
		"module name":            {query.Filter{Module: "other"}, 60 - 12},
		"module digest":          {query.Filter{Topic: "cards", Module: fraud.Digest.String(), Outcome: "dropped"}, 2},
		"module digest, bare":    {query.Filter{Topic: "cards", Module: strings.TrimPrefix(fraud.Digest.String(), "sha256:"), Outcome: "dropped"}, 2},
		"no such module":         {query.Filter{Module: "nobody"}, 0},
		"time":                   {query.Filter{From: noon.Add(2 * time.Minute), To: noon.Add(3 * time.Minute), Kinds: []audit.Kind{audit.KindBatch}}, 10},
		"kind":                   {query.Filter{Kinds: []audit.Kind{audit.KindAdmission}}, 1},
		"control outcome":        {query.Filter{Outcome: "denied"}, 1},
		"control principal":      {query.Filter{Principal: "ann@example.com"}, 1},
		"offset":                 {at(query.Filter{}, 544), 1},
		"offset in no batch":     {at(query.Filter{}, 5000), 0},
		"offset, other outcome":  {at(query.Filter{Outcome: "modified"}, 544), 0},
		"limit":                  {query.Filter{Topic: "cards", Limit: 4}, 4},
		"by batch":               {query.Filter{Topic: "cards", ByBatch: true}, 5},
		"by batch, one reason":   {query.Filter{Reason: "masked", ByBatch: true, Topic: "cards"}, 2},
		"refused by the broker":  {at(query.Filter{}, 9), 0},
		"partition":              {query.Filter{Topic: "filler", Partition: ptr(int32(39))}, 200},
		"partition of no record": {query.Filter{Topic: "filler", Partition: ptr(int32(40))}, 0},
		"client":                 {query.Filter{ClientID: fmt.Sprintf("client-%0100d", 3)}, 200},
		"address":                {query.Filter{Source: netip.MustParsePrefix("192.0.2.7/32")}, 10},
		"network":                {query.Filter{Source: netip.MustParsePrefix("192.0.0.0/16"), Principal: "User:alice"}, 10},
		"network of nobody":      {query.Filter{Source: netip.MustParsePrefix("::/0")}, 0},
		"certificate":            {query.Filter{Fingerprint: carol}, 10},
		"certificate of nobody":  {query.Filter{Fingerprint: audit.Fingerprint{7}}, 0},
	} {
		got := collect(t, query.New(l.Reader()), c.f)
		if len(got) != c.want {
			t.Errorf("%s: %d rows, want %d", name, len(got), c.want)
		}

		c.f.Reverse = true
		back := collect(t, query.New(l.Reader()), c.f)
		for i := range back {
			if c.f.Limit == 0 && back[i].ID != got[len(got)-1-i].ID {
				t.Fatalf("%s: row %d backwards is %s, want %s", name, i, back[i].ID, got[len(got)-1-i].ID)
			}
		}

		if len(back) != c.want {
			t.Errorf("%s, backwards: %d rows, want %d", name, len(back), c.want)
		}
		if c.f.Limit == 0 && !c.f.ByBatch {
			sums, err := query.New(l.Reader()).Summarize(t.Context(), c.f)
			if n := sums.Decisions + sums.Controls; err != nil || n != int64(c.want) {
				t.Errorf("%s: summarized to %d, %v, want %d", name, n, err, c.want)
			}
		}
	}
}

// TestOffsetsSkipRecordsThatWereTakenOut: without a producer id the batch is
// renumbered, so offsets and indexes part.
func TestOffsetsSkipRecordsThatWereTakenOut(t *testing.T) {
	l := mixed(t)
	for offset, index := range map[int64]int{40: 0, 83: 43, 84: 46, 97: 59} {
		ds := collect(t, query.New(l.Reader()), query.Filter{Topic: "logs", Partition: ptr(int32(0)), Offset: &offset})
		if len(ds) != 1 || ds[0].Index != index {
			t.Errorf("offset %d: %+v, want index %d", offset, ds, index)
		}
	}

	if ds := collect(t, query.New(l.Reader()), query.Filter{Topic: "logs", Partition: ptr(int32(0)), Offset: ptr(int64(98))}); len(ds) != 0 {
		t.Errorf("behind the batch: %+v", ds)
	}
	for _, d := range collect(t, query.New(l.Reader()), query.Filter{Topic: "logs", Outcome: "dropped"}) {
		if d.Offset != -1 {
			t.Errorf("dropped record has offset %d", d.Offset)
		}
	}
}

func TestSummarizeCounts(t *testing.T) {
	got, err := query.New(mixed(t).Reader()).Summarize(t.Context(), query.Filter{To: noon.Add(6*time.Minute + time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "totals.json", got)
}

func TestJSONIsStable(t *testing.T) {
	l := mixed(t)
	var rows []query.Decision
	for _, f := range []query.Filter{
		{Topic: "cards", Outcome: "modified", Limit: 1}, {Topic: "cards", Outcome: "dropped", Limit: 1},
		{Topic: "cards", Outcome: "routed", Limit: 1}, {Outcome: "rejected"}, {Outcome: "trap"},
		{Topic: "logs", Outcome: "dropped", Limit: 1}, {Topic: "cards", ByBatch: true}, {Kinds: []audit.Kind{audit.KindAdmission}},
	} {
		rows = append(rows, collect(t, query.New(l.Reader()), f)...)
	}

	for i := range rows {
		rows[i].ID.Node = 0x00c0ffee // random in life
	}
	golden(t, "decisions.json", rows)
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}

	got = append(got, '\n')
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: got\n%s", path, got)
	}
}

func TestLookupFindsEveryKindOfDecision(t *testing.T) {
	l := mixed(t)
	for _, f := range []query.Filter{{Outcome: "rejected"}, {Outcome: "trap"}, {Kinds: []audit.Kind{audit.KindAdmission}}, {ByBatch: true, Topic: "logs"}} {
		for _, want := range collect(t, query.New(l.Reader()), f) {
			got, err := query.New(l.Reader()).Lookup(t.Context(), want.ID.String())
			if err != nil || got.ID != want.ID || got.Outcome != want.Outcome || got.Reason != want.Reason {
				t.Errorf("%s: got %+v, %v; want %+v", want.ID, got, err, want)
			}
		}
	}

	trap := collect(t, query.New(l.Reader()), query.Filter{Outcome: "trap"})[0].ID
	trap.Index = 6
	if d, err := query.New(l.Reader()).Lookup(t.Context(), trap.String()); err != nil || d.Index != 6 || d.Outcome != "trap" {
		t.Errorf("record of a batch refused whole: %+v, %v", d, err)
	}

	trap.Index = 7
	other := audit.DecisionID{Node: trap.Node + 1, Seq: 2}
	for _, id := range []string{trap.String(), other.String(), audit.DecisionID{Node: trap.Node, Seq: 1 << 50}.String()} {
		if d, err := query.New(l.Reader()).Lookup(t.Context(), id); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%s: %+v, %v; want ErrNotFound", id, d, err)
		}
	}

	if _, err := query.New(l.Reader()).Lookup(t.Context(), "gl-oops"); err == nil || errors.Is(err, audit.ErrNotFound) {
		t.Errorf("malformed id: %v", err)
	}
}

func TestOffsetWithoutPartitionIsRefused(t *testing.T) {
	l := mixed(t)
	for _, err := range query.New(l.Reader()).Query(t.Context(), query.Filter{Topic: "cards", Offset: ptr(int64(1))}) {
		if err == nil {
			t.Fatal("took it")
		}
	}
}

// TestFinishedSegmentsAreSkipped: their seals alone say that nothing matches.
func TestFinishedSegmentsAreSkipped(t *testing.T) {
	l, d := mixedFiles(t)
	collect(t, query.New(l.Reader()), query.Filter{Kinds: []audit.Kind{audit.KindStop}}) // learn the seals
	for name, f := range map[string]query.Filter{
		"time":                      {To: noon.Add(-time.Hour)},
		"principal":                 {Principal: "User:nobody"},
		"module":                    {Module: "nobody"},
		"reason":                    {Reason: "nothing"},
		"outcome":                   {Outcome: "timeout"},
		"kind":                      {Kinds: []audit.Kind{audit.KindStop}},
		"cluster":                   {Cluster: "elsewhere"},
		"topic":                     {Topic: "elsewhere"},
		"offset":                    {Topic: "cards", Partition: ptr(int32(1)), Offset: ptr(int64(1 << 40))},
		"offset of another cluster": {Cluster: "eu", Topic: "cards", Partition: ptr(int32(1)), Offset: ptr(int64(544))},
	} {
		before := d.ops
		collect(t, query.New(l.Reader()), f)
		if opened := d.ops - before; opened > 1 { // the last segment has no seal
			t.Errorf("%s: opened %d segments", name, opened)
		}
	}
}
