package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/transforms/record"
)

var fuzzLimits = Limits{MaxDecompressed: 1 << 20, MaxRecords: 1 << 14}

// FuzzDecode gives hostile payloads under a header whose sums are right. What
// is read must be within bounds and what franz-go reads, too; and what was
// read can be written.
func FuzzDecode(f *testing.F) {
	for _, codec := range allCodecs {
		f.Add(int16(codec), int32(3), kgoCompress(f, codec, plainRecords(jsonRecords(3, 40))))
	}
	f.Add(int16(0), int32(1), rec(0, 2, 'k', 1, 2, 2, 'h', 1))
	f.Add(int16(Snappy), int32(1), append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0))
	c := NewCodec(fuzzLimits)
	b := new(record.Batch)
	f.Fuzz(func(t *testing.T, attributes int16, n int32, payload []byte) {
		h := produced(int(n))
		h.Attributes = attributes
		raw := rawBatch(h, payload)
		_, _, stripErr := c.Strip(nil, raw)
		got, err := c.Decode(raw, b)

		if len(b.Data) > fuzzLimits.MaxDecompressed+gzipStep || cap(b.Records) > 2*fuzzLimits.MaxRecords {
			t.Fatalf("%d bytes and %d records are beyond the bounds", len(b.Data), cap(b.Records))
		}
		if err != nil {
			checkSentinel(t, err)
			return
		}

		if stripErr != nil {
			t.Fatalf("decoded, but not stripped: %v", stripErr)
		}
		checkAgainstKmsg(t, raw, b)
		checkWritable(t, c, got, b)
	})
}

func checkSentinel(t *testing.T, err error) {
	t.Helper()
	for _, known := range []error{ErrCorrupt, ErrTooLarge, ErrUnsupportedMagic, ErrUnsupportedCompression} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Fatalf("error %v is none of the package's", err)
}

// checkAgainstKmsg compares b with what franz-go makes of the same batch.
func checkAgainstKmsg(t *testing.T, raw []byte, b *record.Batch) {
	t.Helper()
	if len(b.Records) == 0 {
		return
	}

	_, records := kgoRecords(t, raw)
	for i := range b.Records {
		r := &b.Records[i]
		w := &records[i]
		if !bytes.Equal(b.Bytes(r.Key), w.Key) || !bytes.Equal(b.Bytes(r.Value), w.Value) || r.Key.IsNull() != (w.Key == nil) ||
			r.Value.IsNull() != (w.Value == nil) || r.OffsetDelta != w.OffsetDelta || r.Timestamp-baseTime != w.TimestampDelta64 {
			t.Fatalf("record %d is %+v, kmsg reads %+v", i, r, w)
		}
	}
}

// checkWritable encodes b as it is: its records come out byte for byte.
func checkWritable(t *testing.T, c *Codec, h Header, b *record.Batch) {
	t.Helper()
	out, err := c.Encode(nil, h, b, EncodeOptions{})
	if h.IsControl() {
		if !errors.Is(err, ErrControl) {
			t.Fatalf("control batch is encoded: %v", err)
		}
		return
	}

	if err != nil || !bytes.Equal(out[headerSize:], b.Data) {
		t.Fatalf("unchanged records differ: %v", err)
	}
}

// FuzzRaw gives bytes as they are.
func FuzzRaw(f *testing.F) {
	f.Add(rawBatch(produced(1), rec(0, 1, 1, 0)))
	c := NewCodec(fuzzLimits)
	b := new(record.Batch)
	f.Fuzz(func(t *testing.T, records []byte) {
		total := 0
		for raw, err := range SplitBatches(records) {
			total += len(raw)
			if err != nil {
				continue
			}
			if _, err := c.Decode(raw, b); err != nil {
				checkSentinel(t, err)
			}
		}

		if total != len(records) {
			t.Fatalf("batches are %d of %d bytes", total, len(records))
		}
	})
}

// FuzzEncode makes records and verdicts of script, a byte each step, and
// compares what franz-go reads of the result with a model of the rules.
func FuzzEncode(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, []byte("some text to cut records from"), uint8(3), true)
	f.Add([]byte{3, 3, 3, 0}, []byte("x"), uint8(0), false)
	c := NewCodec(Limits{})
	b := new(record.Batch)
	f.Fuzz(func(t *testing.T, script, text []byte, codec uint8, idempotent bool) {
		if len(script) == 0 || len(script) > 300 || len(text) > 2000 {
			return
		}
		records := fuzzRecords(script, text)
		h := produced(len(records))

		if !idempotent {
			h = plainProducer(h)
		}
		h, err := c.Decode(kgoBatch(t, h, allCodecs[codec%5], records), b)
		if err != nil {
			t.Fatal(err)
		}

		want := applyVerdicts(script, b, records)
		raw, err := c.Encode(nil, h, b, EncodeOptions{Compression: allCodecs[codec/5%5], Level: int(codec/25) % 3, PlaceholderNote: []byte("n")})
		if err != nil {
			t.Fatal(err)
		}
		_, got := kgoRecords(t, raw)
		sameRecords(t, got, want)

		if _, err := c.Decode(raw, b); err != nil {
			t.Fatalf("decoding what was encoded: %v", err)
		}
	})
}

// fuzzRecords cuts a record out of text for each byte of script.
func fuzzRecords(script, text []byte) []kmsg.Record {
	records := make([]kmsg.Record, len(script))
	for i, s := range script {
		r := &records[i]
		r.OffsetDelta = int32(i)
		r.TimestampDelta64 = int64(s) << (s % 40)
		at := len(text) * int(s) / 256

		if s&4 != 0 {
			r.Key = text[at:]
		}
		if s&8 != 0 {
			r.Value = bytes.Repeat(text[:at], 1+int(s>>4))
		}
		if s&16 != 0 {
			r.Headers = []kmsg.Header{{Key: string(text[at:])}, {Key: "k", Value: text[:at]}}
		}
	}

	return records
}

// applyVerdicts gives record i the verdict in the lowest bits of script[i] and
// returns the records that are to be stored.
func applyVerdicts(script []byte, b *record.Batch, records []kmsg.Record) []kmsg.Record {
	for i, s := range script {
		r := &b.Records[i]
		w := &records[i]
		switch s & 3 {
		case 1:
			w.Value = append(bytes.Clone(w.Value), byte(s))
			r.Value = b.Append(w.Value)
			r.Verdict = record.Modified
		case 2, 3:
			r.Verdict = []record.Verdict{record.Dropped, record.Routed}[s&1]
			*w = kmsg.Record{TimestampDelta64: w.TimestampDelta64, OffsetDelta: w.OffsetDelta, Headers: []kmsg.Header{{Key: placeholderHeader, Value: []byte("n")}}}
		}
	}
	return records
}

// FuzzDecompress: where both we and franz-go can decompress, the bytes agree.
func FuzzDecompress(f *testing.F) {
	for _, codec := range allCodecs[1:] {
		f.Add(uint8(codec), kgoCompress(f, codec, []byte("some bytes, some bytes, some bytes, some bytes")))
	}
	theirs := kgo.DefaultDecompressor()
	c := NewCodec(fuzzLimits)
	b := new(record.Batch)
	f.Fuzz(func(t *testing.T, codec uint8, src []byte) {
		kind := allCodecs[1:][codec%4]
		h := Header{Attributes: int16(kind), NumRecords: 1}
		if err := c.decompress(h, src, b); err != nil {
			checkSentinel(t, err)
			return
		}

		want, err := theirs.Decompress(src, kgo.CompressionCodecType(kind))
		if err == nil && !bytes.Equal(b.Data, want) {
			t.Fatalf("%s: %d bytes, franz-go reads %d", kind, len(b.Data), len(want))
		}
	})
}

// FuzzVarints: canonical forms agree with encoding/binary both ways.
func FuzzVarints(f *testing.F) {
	for _, v := range []int64{0, -1, 63, 64, -65, 1<<31 - 1, -1 << 31, 1<<63 - 1, -1 << 63} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v int64) {
		b := binary.AppendVarint(nil, v)
		if want := binary.AppendVarint(nil, v); !bytes.Equal(b, want) || sizeVarint(v) != len(want) {
			t.Fatalf("%d is % x of size %d, want % x", v, b, sizeVarint(v), want)
		}
		if got, n := varlong(b, 0); got != v || n != len(b) {
			t.Fatalf("% x is %d up to %d, want %d", b, got, n, v)
		}

		got, n := varint(b, 0)
		if fits := int64(int32(v)) == v; fits != (n == len(b)) || fits && int64(got) != v {
			t.Fatalf("% x is %d up to %d in 32 bits, want %d", b, got, n, v)
		}
	})
}
