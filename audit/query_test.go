package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
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
	loose := batchOf("logs", 0, 60) // of a producer without an id
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
		f.Topics, f.Partition, f.Offset = []string{"cards"}, ptr(int32(1)), &offset
		return f
	}
	for name, c := range map[string]struct {
		f    query.Filter
		want int
	}{
		"topic and outcome":      {query.Filter{Topics: []string{"cards"}, Outcomes: []string{"dropped"}}, 2},
		"routed":                 {query.Filter{Topics: []string{"cards"}, Outcomes: []string{"routed"}, Reasons: []string{"suspicious"}}, 2},
		"rejected batch":         {query.Filter{Outcomes: []string{"rejected"}}, 3},
		"rejected record":        {query.Filter{Outcomes: []string{"rejected"}, Reasons: []string{"score_high"}}, 1},
		"its neighbours":         {query.Filter{Reasons: []string{audit.ReasonOtherRecord}}, 2},
		"refused whole":          {query.Filter{Outcomes: []string{"trap"}}, 1},
		"principal":              {query.Filter{Client: query.Client{Principals: []string{"User:bob"}}}, 60},
		"module name":            {query.Filter{Modules: []string{"other"}}, 60 - 12},
		"module digest":          {query.Filter{Topics: []string{"cards"}, Modules: []string{fraud.Digest.String()}, Outcomes: []string{"dropped"}}, 2},
		"module digest, bare":    {query.Filter{Topics: []string{"cards"}, Modules: []string{strings.TrimPrefix(fraud.Digest.String(), "sha256:")}, Outcomes: []string{"dropped"}}, 2},
		"no such module":         {query.Filter{Modules: []string{"nobody"}}, 0},
		"time":                   {query.Filter{From: noon.Add(2 * time.Minute), To: noon.Add(3 * time.Minute), Kinds: []audit.Kind{audit.KindBatch}}, 10},
		"kind":                   {query.Filter{Kinds: []audit.Kind{audit.KindAdmission}}, 1},
		"control outcome":        {query.Filter{Outcomes: []string{"denied"}}, 1},
		"control principal":      {query.Filter{Client: query.Client{Principals: []string{"ann@example.com"}}}, 1},
		"offset":                 {at(query.Filter{}, 544), 1},
		"offset in no batch":     {at(query.Filter{}, 5000), 0},
		"offset, other outcome":  {at(query.Filter{Outcomes: []string{"modified"}}, 544), 0},
		"limit":                  {query.Filter{Topics: []string{"cards"}, Limit: 4}, 4},
		"by batch":               {query.Filter{Topics: []string{"cards"}, ByBatch: true}, 5},
		"by batch, one reason":   {query.Filter{Reasons: []string{"masked"}, ByBatch: true, Topics: []string{"cards"}}, 2},
		"refused by the broker":  {at(query.Filter{}, 9), 0},
		"partition":              {query.Filter{Topics: []string{"filler"}, Partition: ptr(int32(39))}, 200},
		"partition of no record": {query.Filter{Topics: []string{"filler"}, Partition: ptr(int32(40))}, 0},
		"client":                 {query.Filter{Client: query.Client{IDs: []string{fmt.Sprintf("client-%0100d", 3)}}}, 200},
		"address":                {query.Filter{Client: query.Client{Source: netip.MustParsePrefix("192.0.2.7/32")}}, 10},
		"network":                {query.Filter{Client: query.Client{Source: netip.MustParsePrefix("192.0.0.0/16"), Principals: []string{"User:alice"}}}, 10},
		"network of nobody":      {query.Filter{Client: query.Client{Source: netip.MustParsePrefix("::/0")}}, 0},
		"certificate":            {query.Filter{Client: query.Client{Fingerprint: carol}}, 10},
		"certificate of nobody":  {query.Filter{Client: query.Client{Fingerprint: audit.Fingerprint{7}}}, 0},
	} {
		choose(t, l, name, c.f, c.want)
	}
}

// choose checks that a filter finds so many rows: forwards, backwards, and counted.
func choose(t *testing.T, l *audit.Log, name string, f query.Filter, want int) {
	t.Helper()
	got := collect(t, query.New(l.Reader()), f)
	if len(got) != want {
		t.Errorf("%s: %d rows, want %d", name, len(got), want)
	}

	f.Reverse = true
	back := collect(t, query.New(l.Reader()), f)
	for i := range back {
		if f.Limit == 0 && back[i].ID != got[len(got)-1-i].ID {
			t.Fatalf("%s: row %d backwards is %s, want %s", name, i, back[i].ID, got[len(got)-1-i].ID)
		}
	}

	if len(back) != want {
		t.Errorf("%s, backwards: %d rows, want %d", name, len(back), want)
	}
	if f.Limit == 0 && !f.ByBatch {
		sums, err := query.New(l.Reader()).Summarize(t.Context(), f)
		if n := sums.Decisions + sums.Controls; err != nil || n != int64(want) {
			t.Errorf("%s: summarized to %d, %v, want %d", name, n, err, want)
		}
	}
}

func TestOfAListOneValueIsEnough(t *testing.T) {
	l := mixed(t)
	for name, c := range map[string]struct {
		f    query.Filter
		want int
	}{
		"several topics":      {query.Filter{Topics: []string{"cards", "lo*"}, Outcomes: []string{"dropped"}}, 3},
		"pattern of no topic": {query.Filter{Topics: []string{"*x*"}}, 0},
		"several outcomes":    {query.Filter{Outcomes: []string{"rejected", "trap"}}, 4},
		"several modules":     {query.Filter{Modules: []string{"nobody", "other"}}, 60 - 12},
		"several principals":  {query.Filter{Topics: []string{"cards", "logs"}, Client: query.Client{Principals: []string{"User:bob", "User:alice"}}}, 179},
		"not stored":          {query.Filter{Outcomes: []string{query.NotStored}}, 5},
		"stored or rejected":  {query.Filter{Topics: []string{"cards"}, Outcomes: []string{"passed", query.NotStored}}, 91},
	} {
		choose(t, l, name, c.f, c.want)
	}
}

// TestNamesThatTheLogHasNotSeen: in finished segments they are found by the seal.
func TestNamesThatTheLogHasNotSeen(t *testing.T) {
	r := query.New(mixed(t).Reader())
	for _, f := range []query.Filter{
		{}, {Topics: []string{"filler", "fil*", "alerts", "*"}}, {Reasons: []string{"expired", "masked", audit.ReasonOtherRecord}},
		{Modules: []string{"gdpr", fraud.Digest.String(), "other"}}, {Cluster: "main"},
		{Client: query.Client{Principals: []string{"ann@example.com", "User:bob"}, IDs: []string{fmt.Sprintf("client-%0100d", 39)}}},
	} {
		if got, err := r.Unseen(t.Context(), f); err != nil || len(got) > 0 {
			t.Errorf("%+v: %+v, %v", f, got, err)
		}
	}

	got, err := r.Unseen(t.Context(), query.Filter{Cluster: "eu", Topics: []string{"x*", "cards"}, Modules: []string{"fraud", "nobody"}})
	want := []query.Unseen{
		{What: "cluster", Name: "eu", Known: []string{"main"}},
		{What: "topic", Name: "x*", Known: []string{"alerts", "cards", "filler", "logs"}},
		{What: "module", Name: "nobody", Known: []string{"fraud", "gdpr", "other"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestARecordIsFoundByTheOffsetThatItsProducerWasTold: base and index, dropped
// ones included.
func TestARecordIsFoundByTheOffsetThatItsProducerWasTold(t *testing.T) {
	l := mixed(t)
	for index := range 60 {
		offset := int64(40 + index)
		ds := collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"logs"}, Partition: ptr(int32(0)), Offset: &offset})
		if len(ds) != 1 || ds[0].Index != index || ds[0].Offset != offset {
			t.Errorf("offset %d: %+v, want index %d", offset, ds, index)
		}
	}

	if ds := collect(t, query.New(l.Reader()), query.Filter{Topics: []string{"logs"}, Partition: ptr(int32(0)), Offset: ptr(int64(100))}); len(ds) != 0 {
		t.Errorf("behind the batch: %+v", ds)
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
		{Topics: []string{"cards"}, Outcomes: []string{"modified"}, Limit: 1}, {Topics: []string{"cards"}, Outcomes: []string{"dropped"}, Limit: 1},
		{Topics: []string{"cards"}, Outcomes: []string{"routed"}, Limit: 1}, {Outcomes: []string{"rejected"}}, {Outcomes: []string{"trap"}},
		{Topics: []string{"logs"}, Outcomes: []string{"dropped"}, Limit: 1}, {Topics: []string{"cards"}, ByBatch: true}, {Kinds: []audit.Kind{audit.KindAdmission}},
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
	for _, f := range []query.Filter{{Outcomes: []string{"rejected"}}, {Outcomes: []string{"trap"}}, {Kinds: []audit.Kind{audit.KindAdmission}}, {ByBatch: true, Topics: []string{"logs"}}} {
		for _, want := range collect(t, query.New(l.Reader()), f) {
			got, err := query.New(l.Reader()).Lookup(t.Context(), want.ID.String())
			if err != nil || got.ID != want.ID || got.Outcome != want.Outcome || got.Reason != want.Reason {
				t.Errorf("%s: got %+v, %v; want %+v", want.ID, got, err, want)
			}
		}
	}

	trap := collect(t, query.New(l.Reader()), query.Filter{Outcomes: []string{"trap"}})[0].ID
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
	for _, err := range query.New(l.Reader()).Query(t.Context(), query.Filter{Topics: []string{"cards"}, Offset: ptr(int64(1))}) {
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
		"principal":                 {Client: query.Client{Principals: []string{"User:nobody"}}},
		"module":                    {Modules: []string{"nobody"}},
		"reason":                    {Reasons: []string{"nothing"}},
		"outcome":                   {Outcomes: []string{"timeout"}},
		"kind":                      {Kinds: []audit.Kind{audit.KindStop}},
		"cluster":                   {Cluster: "elsewhere"},
		"topic":                     {Topics: []string{"elsewhere"}},
		"offset":                    {Topics: []string{"cards"}, Partition: ptr(int32(1)), Offset: ptr(int64(1 << 40))},
		"offset of another cluster": {Cluster: "eu", Topics: []string{"cards"}, Partition: ptr(int32(1)), Offset: ptr(int64(544))},
	} {
		before := d.ops
		collect(t, query.New(l.Reader()), f)
		if opened := d.ops - before; opened > 1 { // the last segment has no seal
			t.Errorf("%s: opened %d segments", name, opened)
		}
	}
}
