// Package tracing sends the ways of batches through the gateway to an OpenTelemetry
// collector, by OTLP over HTTP. Of each trace the gateway hands over what it measured
// when the batch is through, so that a batch waits for nothing here.
//
// Trust: the collector is hostile as far as it can be: it may be down, slow or answer
// anything, and traces are then dropped. The contexts that records carry come from
// producers: they say what is asked for, within PerSecond.
package tracing

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

const (
	queued        = 4096             // spans that wait for the collector; batches for which there is no room are dropped
	exportTimeout = 10 * time.Second // of one request to it
	closeTimeout  = 2 * time.Second  // for what still waits at the end
	complainEvery = time.Minute
)

// Config is what a Tracer is made of.
type Config struct {
	Endpoint  string      // URL
	TLS       *tls.Config // of an https endpoint; nil: the system's authorities
	Ratio     float64     // of batches whose records ask for nothing
	PerSecond int         // batches that are traced at most
	Node      string
	Version   string
	Log       *zap.Logger
	Now       func() time.Time // nil: time.Now
}

// Tracer sends traces. It is safe for concurrent use.
type Tracer struct {
	cfg      Config
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	waiting  atomic.Int64 // spans that were queued and not exported yet
	counts   counts

	mu         sync.Mutex
	second     int64 // that is counted
	taken      int
	complained time.Time
}

var _ pipeline.Tracer = (*Tracer)(nil)

// New makes a Tracer. It connects to nothing yet, so that a collector that is down
// keeps no gateway from starting.
func New(ctx context.Context, cfg Config) (*Tracer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	opts := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(cfg.Endpoint),
		otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
	}
	if cfg.TLS != nil && strings.HasPrefix(cfg.Endpoint, "https:") {
		opts = append(opts, otlptracehttp.WithTLSClientConfig(cfg.TLS))
	}
	exporter, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("preparing traces: %w", err)
	}

	t := &Tracer{cfg: cfg}
	counted := countedExporter{exporter, t}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.complain))
	t.provider = sdk.NewTracerProvider(
		// Whether a batch is traced was decided before: see Sampled.
		sdk.WithSampler(sdk.AlwaysSample()),
		sdk.WithBatcher(counted, sdk.WithMaxQueueSize(queued), sdk.WithExportTimeout(exportTimeout)),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "guardlock"),
			attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Node),
		)),
	)
	t.tracer = t.provider.Tracer("github.com/guardlock/guardlock")

	return t, nil
}

// Sampled follows the parent, where there is one, and else chance; both within
// PerSecond, since any producer can ask for a trace of each batch.
func (t *Tracer) Sampled(parent pipeline.TraceParent) bool {
	wanted := parent.Sampled
	if parent == (pipeline.TraceParent{}) {
		wanted = rand.Float64() < t.cfg.Ratio
	}
	if !wanted {
		return false
	}

	taken := t.take()
	if !taken {
		t.counts.limited.Add(1)
	}
	return taken
}

func (t *Tracer) take() bool {
	now := t.cfg.Now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	if now != t.second {
		t.second = now
		t.taken = 0
	}
	t.taken++
	return t.taken <= t.cfg.PerSecond
}

// complain logs that traces were lost, now and then.
func (t *Tracer) complain(err error) {
	now := t.cfg.Now()
	t.mu.Lock()
	again := now.Sub(t.complained) < complainEvery
	if !again {
		t.complained = now
	}
	t.mu.Unlock()

	if !again {
		t.cfg.Log.Warn("traces cannot be sent; they are dropped, and nothing else is affected", zap.Error(err))
	}
}

// Close sends what still waits, for a short time, and ends the tracer.
func (t *Tracer) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.complain(err)
	}
	return nil
}

// Finished queues the spans of one batch: one for its way, and one for each stage.
// Where the queue has no room for all of them, none is sent.
func (t *Tracer) Finished(b *pipeline.Trace) {
	if len(b.Spans) == 0 {
		return
	}
	spans := int64(len(b.Spans) + 1)
	if t.waiting.Add(spans) > queued {
		t.waiting.Add(-spans)
		t.counts.noRoom.Add(spans)
		return
	}

	ctx := context.Background()
	if b.Parent != (pipeline.TraceParent{}) {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parentContext(b))
	}

	links := make([]trace.Link, 0, len(b.Links))
	for _, l := range b.Links {
		links = append(links, trace.Link{SpanContext: spanContext(l)})
	}

	ctx, whole := t.tracer.Start(ctx, "process "+b.Partition.Topic,
		trace.WithTimestamp(b.Spans[0].From),
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attributes(b)...),
		trace.WithLinks(links...))
	for _, s := range b.Spans {
		_, span := t.tracer.Start(ctx, s.Stage, trace.WithTimestamp(s.From))
		span.End(trace.WithTimestamp(s.To))
	}

	if text := failure(b); text != "" {
		whole.SetStatus(codes.Error, text)
		whole.SetAttributes(attribute.String("error.type", text))
	}
	whole.End(trace.WithTimestamp(b.Spans[len(b.Spans)-1].To))
}

// attributes are what is told of a batch, by the names that OpenTelemetry has for
// messaging where it has one.
func attributes(b *pipeline.Trace) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", b.Partition.Topic),
		attribute.Int("messaging.destination.partition.id", int(b.Partition.Number)),
		attribute.Int("messaging.batch.message_count", b.Records),
		attribute.Int("guardlock.batch.size", b.Bytes),
		attribute.String("guardlock.cluster", b.Cluster),
		attribute.String("guardlock.binding", b.Binding),
		attribute.String("guardlock.decision.id", b.Decision),
		attribute.String("guardlock.outcome", b.Outcome.String()),
	}
	if b.Reason != "" {
		all = append(all, attribute.String("guardlock.reason", b.Reason))
	}
	return all
}

// failure is why a batch was not stored, in a word; empty if it was, as far as is known.
func failure(b *pipeline.Trace) string {
	switch {
	case b.Lost:
		return "no_answer"
	case b.ErrorCode != 0:
		return kerr.TypedErrorForCode(b.ErrorCode).Message // one of its own for unknown codes
	case b.Reason != "":
		return b.Reason
	}
	return ""
}

// parentContext is the trace that a batch belongs to. A tracestate that is not as W3C
// has it is left out, as W3C asks for.
func parentContext(b *pipeline.Trace) trace.SpanContext {
	parent := spanContext(b.Parent)
	state, err := trace.ParseTraceState(b.State)
	if err != nil {
		return parent
	}
	return parent.WithTraceState(state)
}

func spanContext(p pipeline.TraceParent) trace.SpanContext {
	var flags trace.TraceFlags
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    p.TraceID,
		SpanID:     p.SpanID,
		TraceFlags: flags.WithSampled(p.Sampled),
		Remote:     true,
	})
}
