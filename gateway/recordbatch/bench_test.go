package recordbatch

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/transforms/record"
)

var benchShapes = []struct{ size, n int }{{100, 160}, {1024, 16}, {1024, 256}}

// benchEach runs one function per codec and shape, over a batch as franz-go
// sends it, and reports the time per record and the throughput in bytes of
// records before compression.
func benchEach(b *testing.B, setup func(b *testing.B, c Compression, raw []byte) func()) {
	for _, shape := range benchShapes {
		for _, codec := range allCodecs {
			b.Run(fmt.Sprintf("%dx%d/%s", shape.size, shape.n, codec), func(b *testing.B) {
				records := jsonRecords(shape.n, shape.size)
				run := setup(b, codec, kgoBatch(b, produced(shape.n), codec, records))
				run()
				b.SetBytes(int64(len(plainRecords(records))))
				b.ReportAllocs()
				for b.Loop() {
					run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*shape.n), "ns/record")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	benchEach(b, func(b *testing.B, _ Compression, raw []byte) func() {
		c, batch := NewCodec(Limits{}), new(record.Batch)
		return func() {
			if _, err := c.Decode(raw, batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeKmsg(b *testing.B) {
	benchEach(b, func(b *testing.B, _ Compression, raw []byte) func() {
		d := kgo.DefaultDecompressor()
		return func() { kmsgDecode(b, d, raw) }
	})
}

// BenchmarkEncode builds a batch from records that are all unchanged.
func BenchmarkEncode(b *testing.B) {
	benchEach(b, func(b *testing.B, _ Compression, raw []byte) func() {
		c, batch := NewCodec(Limits{}), new(record.Batch)
		h, err := c.Decode(raw, batch)
		if err != nil {
			b.Fatal(err)
		}
		var out []byte
		return func() {
			if out, err = c.Encode(out[:0], h, batch, EncodeOptions{KeepCompression: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkChanged decodes, changes every record and encodes.
func BenchmarkChanged(b *testing.B) {
	benchEach(b, func(b *testing.B, _ Compression, raw []byte) func() {
		c, batch := NewCodec(Limits{}), new(record.Batch)
		var out []byte
		return func() {
			h, err := c.Decode(raw, batch)
			if err != nil {
				b.Fatal(err)
			}
			for i := range batch.Records {
				touch(batch, &batch.Records[i])
			}
			if out, err = c.Encode(out[:0], h, batch, EncodeOptions{KeepCompression: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkChangedKmsg does the same with kmsg and franz-go's codecs.
func BenchmarkChangedKmsg(b *testing.B) {
	benchEach(b, func(b *testing.B, codec Compression, raw []byte) func() {
		d := kgo.DefaultDecompressor()
		var compressor kgo.Compressor
		if codec != None {
			compressor, _ = kgo.DefaultCompressor(kgoCodec(codec))
		}
		var out, plain []byte
		buf := new(bytes.Buffer)
		return func() {
			head, records := kmsgDecode(b, d, raw)
			plain = plain[:0]
			for i := range records {
				records[i].Value = bytes.Clone(records[i].Value)
				plain = records[i].AppendTo(plain)
			}
			head.Records = plain
			if compressor != nil {
				buf.Reset()
				head.Records, _ = compressor.Compress(buf, plain)
			}
			head.Length = int32(49 + len(head.Records))
			out = head.AppendTo(out[:0])
			head.CRC = int32(crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
			out = head.AppendTo(out[:0])
		}
	})
}

// touch changes a record as a cheap transform would: a new value, same size.
func touch(b *record.Batch, r *record.Record) {
	r.Value = b.Append(b.Bytes(r.Value))
	r.Verdict = record.Modified
}

func kmsgDecode(b *testing.B, d kgo.Decompressor, raw []byte) (kmsg.RecordBatch, []kmsg.Record) {
	var head kmsg.RecordBatch
	if err := head.ReadFrom(raw); err != nil {
		b.Fatal(err)
	}
	if int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))) != head.CRC {
		b.Fatal("CRC differs")
	}
	plain, err := d.Decompress(head.Records, kgo.CompressionCodecType(head.Attributes&7))
	if err != nil {
		b.Fatal(err)
	}
	records := make([]kmsg.Record, head.NumRecords)
	for i := range records {
		length, n := varint(plain, 0)
		end := n + int(length)
		if err := records[i].ReadFrom(plain[:end]); err != nil {
			b.Fatal(err)
		}
		plain = plain[end:]
	}
	return head, records
}
