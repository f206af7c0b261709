package pipeline

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms/record"
)

// traces is a Tracer that keeps what it is given.
type traces struct {
	asked    []TraceParent
	none     bool
	finished []*Trace
}

func (t *traces) Sampled(p TraceParent) bool {
	t.asked = append(t.asked, p)
	return !t.none
}

func (t *traces) Finished(b *Trace) { t.finished = append(t.finished, b) }

// only is the one trace that was finished.
func (t *traces) only(tb testing.TB) *Trace {
	tb.Helper()
	if len(t.finished) != 1 {
		tb.Fatalf("%d traces", len(t.finished))
	}
	return t.finished[0]
}

func tracedWorld(t *testing.T) (*world, *traces) {
	w := newWorld(t, openLog(t, 0))
	seen := &traces{}
	w.pipeline.cfg.Tracer = seen
	return w, seen
}

// carrying is a batch of records with one header each.
func carrying(name string, values ...string) []byte {
	records := make([][]string, len(values))
	for i, v := range values {
		records[i] = []string{name, v}
	}
	return ofHeaders(records...)
}

// withHeaders is a batch of one record, with headers by name and value.
func withHeaders(headers ...string) []byte { return ofHeaders(headers) }

// ofHeaders is a batch of records with these headers, names and values in turns.
func ofHeaders(all ...[]string) []byte {
	var records []byte
	for i, headers := range all {
		body := []byte{0}
		body = binary.AppendVarint(body, 0)
		body = binary.AppendVarint(body, int64(i))
		body = binary.AppendVarint(body, -1)
		body = binary.AppendVarint(body, 6)
		body = append(body, "secret"...)
		body = binary.AppendVarint(body, int64(len(headers)/2))
		for _, text := range headers {
			body = binary.AppendVarint(body, int64(len(text)))
			body = append(body, text...)
		}
		records = binary.AppendVarint(records, int64(len(body)))
		records = append(records, body...)
	}
	return recordbatch.Append(nil, recordbatch.Header{
		PartitionLeaderEpoch: -1,
		LastOffsetDelta:      int32(len(all) - 1),
		ProducerID:           -1,
		ProducerEpoch:        -1,
		BaseSequence:         -1,
		NumRecords:           int32(len(all)),
	}, records)
}

func parentHeader(n int) string { return fmt.Sprintf("00-%032x-%016x-01", n, n) }

func stagesOf(t *Trace) string {
	var names []string
	for _, s := range t.Spans {
		if s.To.Before(s.From) {
			names = append(names, "backwards")
		}
		names = append(names, s.Stage)
	}
	return strings.Join(names, " ")
}

func TestATraceIsTheWayOfABatch(t *testing.T) {
	w, seen := tracedWorld(t)
	g := passing()
	g.Chain = rules(record.Passed)
	g.Modules = []audit.ModuleRef{{Name: "m"}}
	w.settled(t, carrying("traceparent", parentHeader(7), parentHeader(8), parentHeader(7)), g, kerr.NotLeaderForPartition.Code)

	got := seen.only(t)
	if stages := stagesOf(got); stages != "queue decode wasm encode commit upstream answer" {
		t.Errorf("stages %s", stages)
	}
	if !strings.HasPrefix(got.Decision, "gl-") || got.Records != 3 || got.ErrorCode != kerr.NotLeaderForPartition.Code || got.Binding != "b" || got.Partition.Topic != "in" {
		t.Errorf("got %+v", got)
	}
	if got.Parent.TraceID[15] != 7 || !got.Parent.Sampled || len(got.Links) != 1 || got.Links[0].SpanID[7] != 8 {
		t.Errorf("parent %v, links %v", got.Parent, got.Links)
	}
}

// What is sent and who sent it has no place in a trace.
func TestATraceHoldsNoContentAndNobody(t *testing.T) {
	w, seen := tracedWorld(t)
	w.settled(t, carrying("name", "ada"), passing(), 0)
	text := fmt.Sprintf("%+v", *seen.only(t))
	for _, secret := range []string{"secret", "ada", "User:"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in %s", secret, text)
		}
	}
}

func TestWhatIsRefusedHasATraceWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		records []byte
		grant   *Grant
		stages  string
	}{
		"broken":     {[]byte("no batch"), passing(), "queue commit answer"},
		"unbound":    {plain("a"), Unbound, "queue commit answer"},
		"by chain":   {plain("a"), &Grant{Binding: "b", RejectCode: kerr.InvalidRecord.Code, Chain: failing{fmt.Errorf("no")}, Modules: []audit.ModuleRef{{Name: "m"}}}, "queue decode wasm commit answer"},
		"by verdict": {plain("a"), &Grant{Binding: "b", RejectCode: kerr.InvalidRecord.Code, Chain: rejectAll, Modules: []audit.ModuleRef{{Name: "m"}}, Reasons: [][]string{{"m.reason"}}}, "queue decode wasm encode commit answer"},
	} {
		w, seen := tracedWorld(t)
		w.settled(t, c.records, c.grant, 0)
		if got := seen.only(t); stagesOf(got) != c.stages || got.Reason == "" || got.Decision == "" {
			t.Errorf("%s: %s, %+v", name, stagesOf(got), got)
		}
	}
}

func TestABatchWithoutAnAnswerHasATrace(t *testing.T) {
	w, seen := tracedWorld(t)
	d := w.decide(t, plain("a"), passing())
	if _, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop()); refused || err != nil {
		t.Fatal(refused, err)
	}
	w.pipeline.Abandoned(&d)
	w.pipeline.Abandoned(&d)
	if got := seen.only(t); !got.Lost || stagesOf(got) != "queue decode encode commit upstream" && stagesOf(got) != "queue decode commit upstream" {
		t.Errorf("got %+v", got)
	}
}

// Its answer was made, and its producer has gone.
func TestARefusalThatReachesNobodyHasATrace(t *testing.T) {
	w, seen := tracedWorld(t)
	d := w.decide(t, plain("a"), Unbound)
	if _, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop()); !refused || err != nil {
		t.Fatal(refused, err)
	}
	w.pipeline.Abandoned(&d)
	if got := seen.only(t); got.Lost || got.Reason == "" || stagesOf(got) != "queue commit" {
		t.Errorf("got %+v", got)
	}
}

func TestTracestateIsCarriedOnBesideItsParent(t *testing.T) {
	long := strings.Repeat("a", maxState+1)
	for name, c := range map[string]struct {
		headers []string
		want    string
	}{
		"both":      {[]string{"traceparent", parentHeader(7), "tracestate", "a=1,b=2"}, "a=1,b=2"},
		"other way": {[]string{"tracestate", "a=1", "traceparent", parentHeader(7)}, "a=1"},
		"no parent": {[]string{"tracestate", "a=1"}, ""},
		"too long":  {[]string{"traceparent", parentHeader(7), "tracestate", long}, ""},
	} {
		w, seen := tracedWorld(t)
		w.settled(t, withHeaders(c.headers...), passing(), 0)
		if got := seen.only(t).State; got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A batch has as many records as it likes, each with a context of its own.
func TestLinksAreBounded(t *testing.T) {
	w, seen := tracedWorld(t)
	var values []string
	for i := range 5000 {
		values = append(values, parentHeader(i+1))
	}
	w.settled(t, carrying("traceparent", values...), passing(), 0)
	if got := seen.only(t); len(got.Links) != maxLinks {
		t.Errorf("%d links", len(got.Links))
	}
}

// Whether traces are off or a batch is not chosen, it costs no allocation, and a batch
// is asked about once.
func TestABatchThatIsNotTracedAllocatesNothingForIt(t *testing.T) {
	records := carrying("traceparent", parentHeader(1))
	allocated := func(tracer Tracer) float64 {
		w := newWorld(t, openLog(t, 0))
		w.pipeline.cfg.Tracer = tracer
		in := w.input(records, passing())
		return testing.AllocsPerRun(200, func() {
			d, err := w.pipeline.Decide(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if _, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, in.Log); refused || err != nil {
				t.Fatal(refused, err)
			}
			w.pipeline.Answered(&d, &wire.ProduceAnswer{}, 0)
		})
	}

	seen := &traces{none: true, asked: make([]TraceParent, 0, 1000)}
	off := allocated(nil)
	on := allocated(seen)
	for again := 0; on > off && again < 5; again++ { // a collection has pools forget
		off = min(off, allocated(nil))
		on = min(on, allocated(&traces{none: true}))
	}
	if on > off {
		t.Errorf("%v allocations, %v without", on, off)
	}
	if len(seen.asked) != 201 || len(seen.finished) != 0 {
		t.Errorf("asked %d times, %d traces", len(seen.asked), len(seen.finished))
	}
}

func TestTraceParentsAreReadAsW3CHasThem(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for value, want := range map[string]bool{
		good:                      true,
		good + "-more":            false, // of this version nothing follows
		"cc" + good[2:]:           true,
		"cc" + good[2:] + "-more": true,
		"cc" + good[2:] + "more":  false,
		"ff" + good[2:]:           false,
		strings.ToUpper(good):     false,
		good[:54]:                 false,
		"":                        false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
		"0 -0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false,
	} {
		if _, got := ParseTraceParent([]byte(value)); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}

	p, _ := ParseTraceParent([]byte(good[:54] + "2"))
	if p.Sampled || hex.EncodeToString(p.SpanID[:]) != "b7ad6b7169203331" {
		t.Errorf("got %+v", p)
	}
}

func FuzzTraceParent(f *testing.F) {
	f.Add([]byte(parentHeader(1)))
	f.Add([]byte("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"))
	f.Fuzz(func(t *testing.T, value []byte) {
		p, ok := ParseTraceParent(value)
		if !ok && p != (TraceParent{}) {
			t.Fatalf("%q is refused, and gives %+v", value, p)
		}
		if ok && !strings.Contains(string(value), fmt.Sprintf("-%x-%x-", p.TraceID, p.SpanID)) {
			t.Fatalf("%q gives %+v", value, p)
		}
	})
}

// Header blocks were checked when the batch was decoded; this reads them on its own.
func FuzzHeadersOfATrace(f *testing.F) {
	f.Add([]byte("\x02\x16traceparent\x6e" + parentHeader(1)))
	f.Fuzz(func(t *testing.T, block []byte) {
		b := &record.Batch{Data: block}
		r := &record.Record{Headers: record.Span{Len: int32(len(block))}}
		if p := parentOf(b, r); p != (TraceParent{}) && !strings.Contains(string(block), hex.EncodeToString(p.TraceID[:])) {
			t.Fatalf("%q gives %+v", block, p)
		}
	})
}
