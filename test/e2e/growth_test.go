package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// payment is a record of 130 bytes, of which a hash of the account makes 172.
func payment(i int) string {
	s := fmt.Sprintf(`{"customer":{"name":"n%d","email":"e%d@example.com"},"iban":"DE%020d","note":"`, i, i*7919, i*104729)
	return s + strings.Repeat("x", 130-len(s)-2) + `"}`
}

func payments(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = payment(i)
	}
	return out
}

// growing is a world whose modules lengthen every record, for one topic.
func growing(t *testing.T, change func(*admission.Rule)) *world {
	t.Helper()
	m := bundled("gdpr", "payments")
	m.config = []byte(`{"rules": [{"path": "$.customer.email", "action": "mask", "keep_last": 4}, {"path": "$..iban", "action": "hash", "key": 0}]}`)
	m.keys = []string{"pseudonyms"}

	rule := bind("payments", "gdpr")
	if change != nil {
		change(&rule)
	}
	return newWorld(t, setup{topics: map[string]int32{"payments": 1}, modules: []module{m}, bindings: []admission.Rule{rule}})
}

// TestFullBatchesThatGrowAreStored: a producer fills its batches to what the
// topic takes. Records that a module lengthens must not be lost for that, with
// any codec; a plain batch is compressed where it no longer fits.
func TestFullBatchesThatGrowAreStored(t *testing.T) {
	const count = 20_000
	values := payments(count)
	for codec, compression := range codecs {
		for _, kind := range []string{"idempotent", "plain"} {
			t.Run(codec+"/"+kind, func(t *testing.T) {
				t.Parallel()
				w := growing(t, nil)
				opts := append(slices.Clone(kinds[kind]), kgo.ProducerBatchCompression(compression), kgo.MaxBufferedRecords(2*count))
				c := client(t, w.addr(), opts...)
				mustSend(t, c, "payments", 0, values...)

				if stored := w.stored("payments", 0); len(stored) != count || strings.Contains(stored[0].value, "DE0") || len(stored[0].value) != 172 {
					t.Errorf("%d records are stored, the first of them %q", len(stored), stored[0].value)
				}
				w.compressedWhereItGrew(codec)
			})
		}
	}
}

// compressedWhereItGrew looks at the codecs of what is stored: a producer's own
// stays, and of plain batches only those that would not fit are compressed.
func (w *world) compressedWhereItGrew(codec string) {
	w.t.Helper()
	var got []string
	for _, raw := range w.rawBatches("payments", 0) {
		if h := must(recordbatch.ParseHeader(raw))(w.t); !slices.Contains(got, h.Compression().String()) {
			got = append(got, h.Compression().String())
		}
	}

	slices.Sort(got)
	want := []string{codec}
	if codec == "none" {
		want = []string{"gzip", "none"}
	}

	equal(w.t, "codecs", got, want)
}

// TestRecompressNoneIsKept: a binding that forbids compression gets none, and
// the producer is told what would help.
func TestRecompressNoneIsKept(t *testing.T) {
	w := growing(t, func(r *admission.Rule) {
		r.KeepCodec = false
		r.Recompress = recordbatch.None
	})

	full := payments(7_000)
	errs := send(t, client(t, w.addr(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DisableIdempotentWrite()), "payments", 0, full...)
	if !errors.Is(errors.Join(errs...), kerr.MessageTooLarge) {
		t.Errorf("a batch that grew past its topic is answered with %v", errs[0])
	}

	got := w.produce(dial(t, w.addr()), "payments", full...)
	w.refused(got, refusal{code: kerr.MessageTooLarge.Code, outcome: "error", reason: "too_large"})
	for _, cure := range []string{"recompress: none", "max.message.bytes"} {
		if got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, cure) {
			t.Errorf("the answer %v does not name %s", got.ErrorMessage, cure)
		}
	}
}
