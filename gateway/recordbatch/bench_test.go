//go:build unix

package recordbatch

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/transforms/record"
)

// benchEach runs one function per codec and shape, over a batch as franz-go
// sends it, and reports CPU time per record and per MB of records before
// compression.
func benchEach(b *testing.B, setup func(b *testing.B, c Compression, raw []byte) func()) {
	for _, shape := range benchShapes {
		for _, codec := range allCodecs {
			b.Run(fmt.Sprintf("%dx%d/%s", shape.size, shape.n, codec), func(b *testing.B) {
				records := jsonRecords(shape.n, shape.size)
				run := setup(b, codec, kgoBatch(b, produced(shape.n), codec, records))
				run()
				size := len(plainRecords(records))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				before := cpuTime(b)

				for b.Loop() {
					run()
				}
				spent := cpuTime(b) - before
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*shape.n), "cpu-ns/record")
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*size), "cpu-ms/MB")
			})
		}
	}
}

// cpuTime is what this process has used: on a shared machine the one figure
// that others do not change.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkDecode(b *testing.B) {
	benchEach(b, func(b *testing.B, _ Compression, raw []byte) func() {
		c := NewCodec(Limits{})
		batch := new(record.Batch)
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
		c := NewCodec(Limits{})
		batch := new(record.Batch)
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
	benchChange(b, func(batch *record.Batch, i int) { touch(batch, &batch.Records[i]) })
}

// BenchmarkOverwritten does the same to one byte of every record, where it lies.
func BenchmarkOverwritten(b *testing.B) {
	benchChange(b, func(batch *record.Batch, i int) { overwriteByte(batch, i, 0) })
}

func benchChange(b *testing.B, change func(batch *record.Batch, i int)) {
	benchEach(b, func(b *testing.B, _ Compression, raw []byte) func() {
		c := NewCodec(Limits{})
		batch := new(record.Batch)
		o := EncodeOptions{KeepCompression: true}
		var out []byte

		return func() {
			h, err := c.Decode(raw, batch)
			if err != nil {
				b.Fatal(err)
			}

			for i := range batch.Records {
				change(batch, i)
			}
			if c.Patch(raw, h, batch, o) {
				return
			}
			if out, err = c.Encode(out[:0], h, batch, o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkChangedKmsg does what BenchmarkChanged does, with kmsg and franz-go's codecs.
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
