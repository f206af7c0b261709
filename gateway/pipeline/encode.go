package pipeline

import (
	"context"
	"math"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// encode makes the changed batch the decision's Out. One that grew past what
// the topic takes is compressed, or compressed harder, before the producer hears
// of it.
func (w *worker) encode(ctx context.Context) (refusal, bool) {
	g := w.in.Grant
	before := len(w.in.Records)
	o := recordbatch.EncodeOptions{
		Compression:     g.Recompress,
		KeepCompression: g.KeepCodec,
		PlaceholderKeys: w.d.keyed,
		PlaceholderNote: []byte(g.Binding), // which binding dropped a record, never what record
	}

	if w.codec.Patch(w.in.Records, w.d.header, &w.batch, o) {
		return refusal{}, false
	}
	buf, err := w.in.Memory.Buffer(ctx, before+before/4)
	if err != nil {
		return refuseNoMemory, true
	}

	var size, limit int
	for o := range o.Attempts(w.d.header, w.in.Zstd) {
		out, err := w.codec.Encode(buf[:0], w.d.header, &w.batch, o)
		if err != nil {
			return batchRefusal(err), true
		}

		size = len(out)
		if size > before {
			limit = w.limit(ctx)
		}
		if size <= max(before, limit) {
			w.d.Out = out
			return refusal{}, false
		}
	}

	return tooLarge(before, size, limit, !g.KeepCodec && g.Recompress == recordbatch.None), true
}

// limit is how many bytes the batch may have when it is larger than it came.
func (w *worker) limit(ctx context.Context) int {
	if w.in.Direction == Consume {
		return math.MaxInt
	}
	return w.cfg.Topics.Settings(ctx, w.d.Partition.Topic).MaxMessage
}
