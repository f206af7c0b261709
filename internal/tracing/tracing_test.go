package tracing

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// receiver is a collector that keeps the spans that it is sent.
type receiver struct {
	t *testing.T

	mu       sync.Mutex
	spans    []*otlp.Span
	resource map[string]string
}

func (r *receiver) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	z, err := gzip.NewReader(req.Body)
	if err != nil {
		r.t.Error(err)
		return
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		r.t.Error(err)
	}
	var sent collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &sent); err != nil {
		r.t.Error(err)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range sent.GetResourceSpans() {
		r.resource = map[string]string{}
		for _, a := range of.GetResource().GetAttributes() {
			r.resource[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range of.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
}

func valueOf(s *otlp.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			if text := a.GetValue().GetStringValue(); text != "" {
				return text
			}
			return fmt.Sprint(a.GetValue().GetIntValue())
		}
	}
	return ""
}

// collected is a tracer whose collector keeps what it is sent.
func collected(t *testing.T) (*receiver, *Tracer) {
	t.Helper()
	r := &receiver{t: t}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, open(t, server.URL, nil)
}

func open(t *testing.T, url string, edit func(*Config)) *Tracer {
	t.Helper()
	cfg := Config{Endpoint: url + "/v1/traces", Ratio: 1, PerSecond: 1000, Node: "gw-1", Version: "v1", Log: zap.NewNop()}
	if edit != nil {
		edit(&cfg)
	}
	tracer, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

func parent(n byte) pipeline.TraceParent {
	return pipeline.TraceParent{TraceID: [16]byte{15: n}, SpanID: [8]byte{7: n}, Sampled: true}
}

// through is a batch that took 10 ms, a tenth of it in the queue.
func through() *pipeline.Trace {
	began := time.Unix(1_800_000_000, 0)
	return &pipeline.Trace{
		Cluster:   "main",
		Partition: pipeline.Partition{Topic: "payments", Number: 3},
		Binding:   "b",
		Decision:  "gl-7",
		Outcome:   audit.OutcomePassed,
		Records:   5,
		Spans: []pipeline.Span{
			{Stage: "queue", From: began, To: began.Add(time.Millisecond)},
			{Stage: "commit", From: began.Add(time.Millisecond), To: began.Add(10 * time.Millisecond)},
		},
	}
}

func TestABatchIsOneSpanWithOneForEachStage(t *testing.T) {
	r, tracer := collected(t)
	b := through()
	b.Parent = parent(7)
	b.State = "vendor=1,other=2"
	b.Links = []pipeline.TraceParent{parent(9)}
	tracer.Finished(b)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	if len(r.spans) != 3 || r.resource["service.name"] != "guardlock" || r.resource["service.instance.id"] != "gw-1" {
		t.Fatalf("%d spans of %v", len(r.spans), r.resource)
	}
	i := slices.IndexFunc(r.spans, func(s *otlp.Span) bool { return s.GetName() == "process payments" })
	if i < 0 {
		t.Fatalf("spans %v", r.spans)
	}
	whole := r.spans[i]
	if hex.EncodeToString(whole.GetParentSpanId()) != "0000000000000007" || whole.GetTraceId()[15] != 7 || len(whole.GetLinks()) != 1 || whole.GetLinks()[0].GetTraceId()[15] != 9 {
		t.Errorf("it belongs to %v", whole)
	}
	if whole.GetTraceState() != b.State {
		t.Errorf("its state is %q", whole.GetTraceState())
	}
	if d := whole.GetEndTimeUnixNano() - whole.GetStartTimeUnixNano(); d != 10_000_000 {
		t.Errorf("it took %d ns", d)
	}
	for key, want := range map[string]string{
		"messaging.system":                   "kafka",
		"messaging.destination.name":         "payments",
		"messaging.destination.partition.id": "3",
		"messaging.batch.message_count":      "5",
		"guardlock.decision.id":              "gl-7",
		"guardlock.outcome":                  "passed",
	} {
		if got := valueOf(whole, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}

	for _, s := range slices.Delete(slices.Clone(r.spans), i, i+1) {
		if string(s.GetParentSpanId()) != string(whole.GetSpanId()) || s.GetName() != "queue" && s.GetName() != "commit" {
			t.Errorf("stage %v", s)
		}
	}
}

func TestWhatWasNotStoredIsAnError(t *testing.T) {
	r, tracer := collected(t)
	for want, edit := range map[string]func(*pipeline.Trace){
		"":                         func(*pipeline.Trace) {},
		"no_answer":                func(b *pipeline.Trace) { b.Lost = true },
		"NOT_LEADER_FOR_PARTITION": func(b *pipeline.Trace) { b.ErrorCode = 6 },
		"fraud.country":            func(b *pipeline.Trace) { b.Reason = "fraud.country" },
		"UNKNOWN_SERVER_ERROR":     func(b *pipeline.Trace) { b.ErrorCode = 32000 },
	} {
		b := through()
		b.Binding = want
		edit(b)
		tracer.Finished(b)
	}
	tracer.Finished(&pipeline.Trace{}) // of nothing
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	seen := 0
	for _, s := range r.spans {
		if s.GetName() != "process payments" {
			continue
		}
		seen++
		if want := valueOf(s, "guardlock.binding"); valueOf(s, "error.type") != want && want != "0" {
			t.Errorf("%q, want %q", valueOf(s, "error.type"), want)
		}
		if failed := s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR; failed != (valueOf(s, "error.type") != "") {
			t.Errorf("status %v", s)
		}
	}
	if seen != 5 {
		t.Errorf("%d batches", seen)
	}
}

// The collector takes a connection and never answers. Whoever hands over a trace
// returns all the same, however many there are.
func TestACollectorThatHangsHoldsUpNobody(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)

	tracer := open(t, server.URL, nil)
	for range 3 * queued {
		tracer.Finished(through())
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
	// Of each batch there are three spans, and no batch is there in part.
	if n := tracer.Counts(); n.NoRoom != 3*(3*queued-queued/3) || n.Sent != 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestWhatBecomesOfSpansIsCounted(t *testing.T) {
	r := &receiver{t: t}
	good := httptest.NewServer(r)
	defer good.Close()
	bad := httptest.NewServer(http.NotFoundHandler())
	defer bad.Close()

	for url, want := range map[string]Counts{
		good.URL: {Sent: 3},
		bad.URL:  {Failed: 3},
	} {
		tracer := open(t, url, nil)
		tracer.Finished(through())
		if err := tracer.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := tracer.Counts(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// A producer may write anything into its headers.
func TestATracestateThatIsNoneCostsNoTrace(t *testing.T) {
	r, tracer := collected(t)
	b := through()
	b.Parent = parent(7)
	b.State = "\x00 = secret,,"
	tracer.Finished(b)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, s := range r.spans {
		if s.GetTraceState() != "" || s.GetTraceId()[15] != 7 {
			t.Errorf("got %v", s)
		}
	}
	if len(r.spans) != 3 {
		t.Errorf("%d spans", len(r.spans))
	}
}

func TestACollectorThatIsNotThereKeepsNobodyFromStarting(t *testing.T) {
	tracer := open(t, "http://127.0.0.1:1", nil)
	tracer.Finished(through())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tracer.Close(ended); err != nil {
		t.Error(err)
	}
}

// A producer can ask for a trace of every batch.
func TestNoMoreAreTracedThanAreAllowed(t *testing.T) {
	now := time.Unix(1, 0)
	tracer := open(t, "http://127.0.0.1:1", func(c *Config) {
		c.PerSecond = 3
		c.Ratio = 0
		c.Now = func() time.Time { return now }
	})
	defer tracer.Close(t.Context())

	count := func(p pipeline.TraceParent) (sampled int) {
		for range 10 {
			if tracer.Sampled(p) {
				sampled++
			}
		}
		return sampled
	}
	unwanted := parent(1)
	unwanted.Sampled = false
	if n := count(unwanted) + count(pipeline.TraceParent{}); n != 0 {
		t.Errorf("%d were traced that nobody asked for", n)
	}
	if n := count(parent(1)); n != 3 {
		t.Errorf("%d in one second", n)
	}
	now = now.Add(time.Second)
	if n := count(parent(1)); n != 3 {
		t.Errorf("%d in the next", n)
	}
	if n := tracer.Counts().Limited; n != 14 {
		t.Errorf("%d are counted as left out", n)
	}

	tracer.cfg.Ratio = 1
	now = now.Add(time.Second)
	if n := count(pipeline.TraceParent{}); n != 3 {
		t.Errorf("%d of those that ask for nothing", n)
	}
}
