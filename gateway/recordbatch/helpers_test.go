package recordbatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/transforms/record"
)

var allCodecs = []Compression{None, Gzip, Snappy, LZ4, Zstd}

// benchShapes are batches of records of size bytes.
var benchShapes = []struct{ size, n int }{{100, 160}, {1024, 16}, {1024, 256}}

const baseTime = 1_700_000_000_000

// jsonRecords makes n records whose values are JSON of about size bytes, with
// a key and one header, alike enough to compress about 2 to 1.
func jsonRecords(n, size int) []kmsg.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]kmsg.Record, n)
	for i := range records {
		value := fmt.Appendf(nil, `{"id":%d,"email":"user%d@example.com","amount":%d.%02d,"note":"`, i, rng.IntN(1e6), rng.IntN(1e4), rng.IntN(100))
		for len(value) < size-2 {
			value = fmt.Appendf(value, `"field%d":"%06x",`, rng.IntN(20), rng.IntN(1<<24))
		}

		value = append(value[:max(size-2, 0)], `"}`...)
		records[i] = kmsg.Record{
			TimestampDelta64: int64(i), OffsetDelta: int32(i),
			Key: fmt.Appendf(nil, "key-%06d", rng.IntN(1e6)), Value: value,
			Headers: []kmsg.Header{{Key: "trace", Value: []byte("abcdef0123456789")}},
		}
	}

	return records
}

// plainRecords is the wire form of records, by kmsg.
func plainRecords(records []kmsg.Record) []byte {
	var plain []byte
	for _, r := range records {
		r.Length = 0
		body := r.AppendTo(nil)[1:]
		plain = append(binary.AppendVarint(plain, int64(len(body))), body...)
	}
	return plain
}

// produced is a header as clients send it.
func produced(n int) Header {
	return Header{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(n - 1), BaseTimestamp: baseTime,
		MaxTimestamp: baseTime + int64(n-1), ProducerID: 4711, ProducerEpoch: 3, BaseSequence: 17, NumRecords: int32(n),
	}
}

// rawBatch is header and payload as one batch, by kmsg, with a right CRC.
func rawBatch(h Header, payload []byte) []byte {
	b := kmsg.RecordBatch{
		FirstOffset: h.BaseOffset, PartitionLeaderEpoch: h.PartitionLeaderEpoch, Magic: h.Magic, Attributes: h.Attributes,
		LastOffsetDelta: h.LastOffsetDelta, FirstTimestamp: h.BaseTimestamp, MaxTimestamp: h.MaxTimestamp,
		ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, FirstSequence: h.BaseSequence, NumRecords: h.NumRecords,
		Records: payload,
	}

	b.Length = int32(49 + len(payload))
	raw := b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

func kgoCodec(c Compression) kgo.CompressionCodec {
	return []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}[c]
}

// kgoCompress compresses as franz-go does.
func kgoCompress(tb testing.TB, c Compression, plain []byte) []byte {
	tb.Helper()
	if c == None {
		return plain
	}

	compressor, err := kgo.DefaultCompressor(kgoCodec(c))
	if err != nil {
		tb.Fatal(err)
	}

	out, used := compressor.Compress(new(bytes.Buffer), plain)
	if used != kgo.CompressionCodecType(c) {
		tb.Fatalf("kgo compressed with %d", used)
	}

	return bytes.Clone(out)
}

// kgoBatch is a whole batch as franz-go would send it.
func kgoBatch(tb testing.TB, h Header, c Compression, records []kmsg.Record) []byte {
	tb.Helper()
	h.Attributes |= int16(c)
	return rawBatch(h, kgoCompress(tb, c, plainRecords(records)))
}

// kgoRecords reads a batch as franz-go would, and fails where it cannot.
func kgoRecords(tb testing.TB, raw []byte) (kmsg.RecordBatch, []kmsg.Record) {
	tb.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		tb.Fatalf("kmsg reads batch: %v", err)
	}
	if got := int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))); got != b.CRC {
		tb.Fatalf("batch CRC is %08x, want %08x", uint32(b.CRC), uint32(got))
	}
	if int(b.Length) != len(raw)-12 {
		tb.Fatalf("batch length is %d, want %d", b.Length, len(raw)-12)
	}

	plain := b.Records
	if codec := Compression(b.Attributes & 7); codec != None && b.NumRecords > 0 {
		var err error
		plain, err = kgo.DefaultDecompressor().Decompress(b.Records, kgo.CompressionCodecType(codec))
		if err != nil {
			tb.Fatalf("kgo decompresses %s: %v", codec, err)
		}
	}

	records := make([]kmsg.Record, b.NumRecords)
	for i := range records {
		length, n := binary.Varint(plain)
		end := n + int(length)
		if n <= 0 || end > len(plain) {
			tb.Fatalf("record %d has length %d of %d bytes", i, length, len(plain))
		}
		if err := records[i].ReadFrom(plain[:end]); err != nil {
			tb.Fatalf("kmsg reads record %d: %v", i, err)
		}

		plain = plain[end:]
	}

	if len(plain) > 0 {
		tb.Fatalf("%d bytes behind the last record", len(plain))
	}
	return b, records
}

// decode decodes with a new codec.
func decode(tb testing.TB, raw []byte) (Header, *record.Batch) {
	tb.Helper()
	b := new(record.Batch)
	h, err := NewCodec(Limits{}).Decode(raw, b)
	if err != nil {
		tb.Fatalf("decoding: %v", err)
	}
	return h, b
}

// encode encodes with a new codec.
func encode(tb testing.TB, h Header, b *record.Batch, o EncodeOptions) []byte {
	tb.Helper()
	out, err := NewCodec(Limits{}).Encode(nil, h, b, o)
	if err != nil {
		tb.Fatalf("encoding: %v", err)
	}
	return out
}

// upper marks record i as modified: its value in upper case, behind the input.
func upper(b *record.Batch, i int) {
	r := &b.Records[i]
	r.Value = b.Append(bytes.ToUpper(b.Bytes(r.Value)))
	r.Verdict = record.Modified
	b.Changed = true
}

// touch changes a record as a cheap transform would: a new value, same size.
func touch(b *record.Batch, r *record.Record) {
	r.Value = b.Append(b.Bytes(r.Value))
	r.Verdict = record.Modified
}

// overwriteByte overwrites one byte of record i's value where it lies.
func overwriteByte(b *record.Batch, i, at int) {
	r := &b.Records[i]
	if r.Value.Len <= 0 {
		return
	}

	s := record.Span{Off: r.Value.Off + uint32(at%int(r.Value.Len)), Len: 1}
	b.Data[s.Off] ^= 0x20
	r.Touched = r.Touched.Join(s)
	r.Verdict = record.Modified
	b.Changed = true
}
