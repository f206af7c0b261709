package recordbatch

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/transforms/record"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plainProducer makes h one of a producer without id.
func plainProducer(h Header) Header {
	h.ProducerID = -1
	h.ProducerEpoch = -1
	h.BaseSequence = -1
	return h
}

func drop(b *record.Batch, indices ...int) {
	for _, i := range indices {
		b.Records[i].Verdict = record.Dropped
	}
	b.Changed = true
}

func TestUnchangedPlainBatchIsEncodedByteForByte(t *testing.T) {
	h := produced(50)
	h.BaseOffset = 991
	h.PartitionLeaderEpoch = 12
	h.Attributes = 0x10 // transactional
	raw := rawBatch(h, plainRecords(jsonRecords(50, 200)))
	got, b := decode(t, raw)
	if out := encode(t, got, b, EncodeOptions{KeepCompression: true}); !bytes.Equal(out, raw) {
		t.Fatal("batch differs")
	}
}

func TestEncodingIsStable(t *testing.T) {
	c := NewCodec(Limits{})
	for _, codec := range allCodecs {
		raw := kgoBatch(t, produced(300), codec, jsonRecords(300, 400))
		h, b := decode(t, raw)
		upper(b, 7)

		first := encode(t, h, b, EncodeOptions{KeepCompression: true})
		for range 3 {
			again, err := c.Encode(nil, h, b, EncodeOptions{KeepCompression: true})
			if err != nil || !bytes.Equal(first, again) {
				t.Fatalf("%s: a used codec encodes otherwise: %v", codec, err)
			}
		}

		// What we wrote, decoded and written again, is the same.
		h2, b2 := decode(t, first)
		if third := encode(t, h2, b2, EncodeOptions{KeepCompression: true}); !bytes.Equal(first, third) {
			t.Fatalf("%s: decoding and encoding again differs", codec)
		}
	}
}

func TestProducerFieldsSurviveAChange(t *testing.T) {
	want := Header{
		BaseOffset: 77, PartitionLeaderEpoch: 9, Magic: 2, Attributes: 0x10 | 0x40 | int16(LZ4), LastOffsetDelta: 9,
		BaseTimestamp: baseTime, MaxTimestamp: baseTime + 9, ProducerID: 1 << 40, ProducerEpoch: 32767, BaseSequence: 1<<31 - 5, NumRecords: 10,
	}

	h, b := decode(t, rawBatch(want, kgoCompress(t, LZ4, plainRecords(jsonRecords(10, 100)))))
	upper(b, 3)
	drop(b, 4)

	got, err := ParseHeader(encode(t, h, b, EncodeOptions{KeepCompression: true}))
	if err != nil {
		t.Fatal(err)
	}

	want.Length = got.Length
	want.CRC = got.CRC
	if got != want {
		t.Fatalf("header is\n%+v, want\n%+v", got, want)
	}
}

func TestChangedRecordsAreFramedFromTheirViews(t *testing.T) {
	h, b := decode(t, kgoBatch(t, produced(6), Zstd, jsonRecords(6, 80)))
	want := jsonRecords(6, 80)
	change := func(i int, f func(*record.Record, *kmsg.Record)) {
		f(&b.Records[i], &want[i])
		b.Records[i].Verdict = record.Modified
	}

	change(0, func(r *record.Record, w *kmsg.Record) {
		r.Key = record.Null
		w.Key = nil
	})

	change(1, func(r *record.Record, w *kmsg.Record) {
		r.Value = record.Null
		w.Value = nil
	})

	change(2, func(r *record.Record, w *kmsg.Record) {
		r.Value = b.Append(nil)
		w.Value = []byte{}
	})

	change(3, func(r *record.Record, w *kmsg.Record) {
		r.Headers = b.Append([]byte{4, 2, 'a', 1, 2, 'a', 0})
		w.Headers = []kmsg.Header{{Key: "a"}, {Key: "a", Value: []byte{}}}
	})

	change(4, func(r *record.Record, w *kmsg.Record) {
		r.Headers = record.Null
		w.Headers = nil
	})

	change(5, func(r *record.Record, w *kmsg.Record) {
		w.Value = bytes.Repeat([]byte("x"), 70_000)
		r.Value = b.Append(w.Value)
	})

	_, got := kgoRecords(t, encode(t, h, b, EncodeOptions{Compression: LZ4}))
	sameRecords(t, got, want)
}

func TestPassedRecordsKeepPaddedVarintsAndModifiedOnesLoseThem(t *testing.T) {
	padded := func(delta byte) []byte {
		return []byte{9 * 2, 0x08, 0x80, 0x00, delta, 0x81, 0x00, 2, 'v', 0}
	}
	payload := append(padded(0), padded(2)...)
	h, b := decode(t, rawBatch(produced(2), payload))
	b.Records[1].Verdict = record.Modified
	out := encode(t, h, b, EncodeOptions{})[headerSize:]
	canonical := []byte{7 * 2, 0x08, 0, 2, 1, 2, 'v', 0} // attributes (0x08) are the record's own
	if want := append(padded(0), canonical...); !bytes.Equal(out, want) {
		t.Fatalf("records are % x, want % x", out, want)
	}
}

func TestDroppedRecordBecomesAPlaceholder(t *testing.T) {
	tests := map[string]struct {
		options EncodeOptions
		mark    func(*record.Batch)
	}{
		"first of three":  {EncodeOptions{PlaceholderNote: []byte("gdpr/7")}, func(b *record.Batch) { drop(b, 0) }},
		"all of three":    {EncodeOptions{PlaceholderNote: []byte("gdpr/7")}, func(b *record.Batch) { drop(b, 0, 1, 2) }},
		"last, no note":   {EncodeOptions{}, func(b *record.Batch) { drop(b, 2) }},
		"compacted topic": {EncodeOptions{PlaceholderNote: []byte("gdpr/7"), PlaceholderKeys: true}, func(b *record.Batch) { drop(b, 0) }},
		"routed, no text": {EncodeOptions{PlaceholderNote: []byte{}}, func(b *record.Batch) { b.Records[1].Verdict = record.Routed }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			records := []kmsg.Record{{Key: []byte("a"), Value: []byte("1")}, {OffsetDelta: 1, TimestampDelta64: 300, Value: []byte("2")}, {OffsetDelta: 2, Key: []byte("c")}}
			h, b := decode(t, kgoBatch(t, produced(3), None, records))
			test.mark(b)
			raw := encode(t, h, b, test.options)
			golden(t, "placeholder "+name, raw)

			head, got := kgoRecords(t, raw)
			if head.NumRecords != 3 || head.LastOffsetDelta != 2 || head.MaxTimestamp != h.MaxTimestamp {
				t.Fatalf("header is %+v", head)
			}

			for i, r := range got {
				if r.OffsetDelta != int32(i) || r.TimestampDelta64 != records[i].TimestampDelta64 {
					t.Fatalf("record %d is %+v", i, r)
				}
			}
		})
	}
}

// golden compares raw with testdata, as one line of hex per 16 bytes.
func golden(t *testing.T, name string, raw []byte) {
	t.Helper()
	var text strings.Builder
	for i := 0; i < len(raw); i += 16 {
		fmt.Fprintf(&text, "% x\n", raw[i:min(i+16, len(raw))])
	}

	path := filepath.Join("testdata", strings.NewReplacer(" ", "_", ",", "").Replace(name)+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Fatalf("%s: got\n%swant\n%s", path, text.String(), want)
	}
}

// A producer without an id takes the offset of each record from its place in the
// batch, as any other does.
func TestDroppedRecordsOfAPlainProducerKeepTheirPlaces(t *testing.T) {
	for _, codec := range allCodecs {
		records := jsonRecords(200, 90)
		h, b := decode(t, kgoBatch(t, plainProducer(produced(200)), codec, records))
		drop(b, 0, 3, 4, 150, 199)
		b.Records[198].Verdict = record.Routed
		upper(b, 100)

		want := jsonRecords(200, 90)
		want[100].Value = bytes.ToUpper(want[100].Value)
		for _, i := range []int{0, 3, 4, 150, 198, 199} {
			want[i] = kmsg.Record{OffsetDelta: want[i].OffsetDelta, TimestampDelta64: want[i].TimestampDelta64, Headers: []kmsg.Header{{Key: placeholderHeader}}}
		}

		head, got := kgoRecords(t, encode(t, h, b, EncodeOptions{KeepCompression: true}))
		sameRecords(t, got, want)
		if head.NumRecords != 200 || head.LastOffsetDelta != 199 || head.MaxTimestamp != h.MaxTimestamp || head.FirstTimestamp != baseTime || head.ProducerID != -1 {
			t.Fatalf("%s: header is %+v", codec, head)
		}
	}
}

func TestBatchWithARejectedRecordIsNeverEncoded(t *testing.T) {
	h, b := decode(t, kgoBatch(t, produced(2), None, jsonRecords(2, 50)))
	for _, verdict := range []record.Verdict{record.Rejected, 99} {
		b.Records[1].Verdict = verdict
		if out, err := NewCodec(Limits{}).Encode(nil, h, b, EncodeOptions{}); !errors.Is(err, ErrRejected) || out != nil {
			t.Fatalf("verdict %d: got %d bytes and %v", verdict, len(out), err)
		}
	}
}

func TestControlBatchIsNeverAltered(t *testing.T) {
	h := produced(1)
	h.Attributes = controlBit | 0x10
	raw := rawBatch(h, rec(0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 0))
	got, b := decode(t, raw)
	if _, err := NewCodec(Limits{}).Encode(nil, got, b, EncodeOptions{}); !errors.Is(err, ErrControl) {
		t.Fatalf("error is %v", err)
	}
}

func TestMalformedHeadersOfATransformAreRefused(t *testing.T) {
	for _, block := range [][]byte{{2}, {0, 0}, {2, 1, 0}, {1}, {2, 2, 'a', 9}} {
		h, b := decode(t, kgoBatch(t, produced(1), None, jsonRecords(1, 50)))
		b.Records[0].Headers = b.Append(block)
		b.Records[0].Verdict = record.Modified
		if out, err := NewCodec(Limits{}).Encode(nil, h, b, EncodeOptions{}); !errors.Is(err, ErrCorrupt) || out != nil {
			t.Errorf("headers % x: got %d bytes and %v", block, len(out), err)
		}
	}
}

func TestHugeBatchIsNotRetained(t *testing.T) {
	c := NewCodec(Limits{})
	records := jsonRecords(3, 50)
	for i := range records {
		records[i].Value = bytes.Repeat([]byte("large "), maxRetained/12)
	}

	h, b := decode(t, kgoBatch(t, produced(3), LZ4, records))
	upper(b, 0)
	drop(b, 1)

	raw, err := c.Encode(nil, h, b, EncodeOptions{KeepCompression: true})
	if err != nil {
		t.Fatal(err)
	}

	out, n, err := c.Strip(nil, raw)
	if err != nil || n != 1 {
		t.Fatalf("stripped %d: %v", n, err)
	}
	if head, _ := kgoRecords(t, out); head.NumRecords != 2 {
		t.Fatalf("header is %+v", head)
	}
	if cap(c.plain) > maxRetained || cap(c.strip.Memory) > maxRetained {
		t.Fatalf("%d and %d bytes are kept", cap(c.plain), cap(c.strip.Memory))
	}
}

func TestUnknownCodecIsNotEncoded(t *testing.T) {
	h, b := decode(t, kgoBatch(t, produced(1), None, jsonRecords(1, 50)))
	for _, codec := range []Compression{-1, 5, 7} {
		if _, err := NewCodec(Limits{}).Encode(nil, h, b, EncodeOptions{Compression: codec}); !errors.Is(err, ErrUnsupportedCompression) {
			t.Fatalf("codec %d: error is %v", codec, err)
		}
	}
}

func TestEncodeAppends(t *testing.T) {
	for _, codec := range allCodecs {
		h, b := decode(t, kgoBatch(t, produced(20), codec, jsonRecords(20, 100)))
		upper(b, 1)
		alone := encode(t, h, b, EncodeOptions{KeepCompression: true})
		out, err := NewCodec(Limits{}).Encode([]byte("before"), h, b, EncodeOptions{KeepCompression: true})
		if err != nil || string(out[:6]) != "before" || !bytes.Equal(out[6:], alone) {
			t.Fatalf("%s: %v", codec, err)
		}
	}
}

func TestDensestLevelIsDenserThanTheFastOne(t *testing.T) {
	h, b := decode(t, kgoBatch(t, produced(80), None, jsonRecords(80, 1000)))
	for _, codec := range allCodecs[1:] {
		fast := encode(t, h, b, EncodeOptions{Compression: codec})
		dense := encode(t, h, b, EncodeOptions{Compression: codec, Level: maxLevel})
		beyond := encode(t, h, b, EncodeOptions{Compression: codec, Level: 99})
		if len(dense) >= len(fast) || !bytes.Equal(dense, beyond) {
			t.Errorf("%s: %d bytes fast, %d densest, %d beyond", codec, len(fast), len(dense), len(beyond))
		}
	}
}
