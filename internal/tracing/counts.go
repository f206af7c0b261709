package tracing

import (
	"context"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Counts are what became of traces since the start.
type Counts struct {
	Sent    int64 // spans that the collector took
	NoRoom  int64 // spans that were dropped, since too many waited for the collector
	Failed  int64 // spans that were dropped, since the collector did not take them
	Limited int64 // batches that were not traced, since PerSecond others were
}

type counts struct{ sent, noRoom, failed, limited atomic.Int64 }

// Counts reads the counts.
func (t *Tracer) Counts() Counts {
	return Counts{
		Sent:    t.counts.sent.Load(),
		NoRoom:  t.counts.noRoom.Load(),
		Failed:  t.counts.failed.Load(),
		Limited: t.counts.limited.Load(),
	}
}

// countedExporter counts what becomes of the spans that leave the queue.
type countedExporter struct {
	sdk.SpanExporter
	tracer *Tracer
}

// ExportSpans implements sdk.SpanExporter.
func (e countedExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	n := int64(len(spans))
	e.tracer.waiting.Add(-n)
	if err != nil {
		e.tracer.counts.failed.Add(n)
		return err
	}

	e.tracer.counts.sent.Add(n)
	return nil
}
