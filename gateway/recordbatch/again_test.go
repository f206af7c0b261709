package recordbatch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"

	"github.com/guardlock/guardlock/transforms/record"
)

// overwrites are ways in which a transform changes records where they lie.
func overwrites() map[string]func(b *record.Batch, i int) {
	rng := rand.New(rand.NewPCG(3, 4))
	return map[string]func(b *record.Batch, i int){
		"one byte of each": func(b *record.Batch, i int) { overwriteByte(b, i, 5) },
		"the last byte":    func(b *record.Batch, i int) { overwriteByte(b, i, int(b.Records[i].Value.Len)-1) },
		"one record of many": func(b *record.Batch, i int) {
			if i%97 == 3 {
				overwriteByte(b, i, 11)
			}
		},
		"upper case": func(b *record.Batch, i int) { replace(b, i, bytes.ToUpper(b.Bytes(b.Records[i].Value))) },
		"noise": func(b *record.Batch, i int) {
			p := bytes.Clone(b.Bytes(b.Records[i].Value))
			for n := range p {
				p[n] = byte(rng.Uint32())
			}
			replace(b, i, p)
		},
	}
}

// replace overwrites the value of record i.
func replace(b *record.Batch, i int, p []byte) {
	r := &b.Records[i]
	touched, ok := b.Overwrite(r.Value, p)
	if !ok || touched.Len == 0 {
		return
	}

	r.Touched = r.Touched.Join(touched)
	r.Verdict = record.Modified
	b.Changed = true
}

func TestOverwrittenRecordsAreStoredAsOverwritten(t *testing.T) {
	for _, codec := range allCodecs {
		for name, overwrite := range overwrites() {
			for frame, raw := range map[string][]byte{
				"franz-go": kgoBatch(t, produced(300), codec, jsonRecords(300, 1024)),
				"ours":     reencoded(t, codec, kgoBatch(t, produced(300), codec, jsonRecords(300, 1024))),
			} {
				t.Run(fmt.Sprintf("%s/%s/%s", codec, name, frame), func(t *testing.T) { checkOverwrite(t, raw, overwrite) })
			}
		}
	}
}

func reencoded(t *testing.T, codec Compression, raw []byte) []byte {
	h, b := decode(t, raw)
	return encode(t, h, b, EncodeOptions{Compression: codec})
}

func checkOverwrite(t *testing.T, raw []byte, overwrite func(b *record.Batch, i int)) {
	c := NewCodec(Limits{})
	b := new(record.Batch)
	o := EncodeOptions{KeepCompression: true}

	h, err := c.Decode(raw, b)
	if err != nil {
		t.Fatal(err)
	}

	for i := range b.Records {
		overwrite(b, i)
	}
	out, err := c.Encode(nil, h, b, o)
	if err != nil {
		t.Fatal(err)
	}

	_, got := kgoRecords(t, out)
	for i := range b.Records {
		if want := b.Bytes(b.Records[i].Value); !bytes.Equal(got[i].Value, want) {
			t.Fatalf("record %d differs from what the transform made", i)
		}
	}

	if patched := c.Patch(raw, h, b, o); patched != (h.Compression() == None) || patched && !bytes.Equal(raw, out) {
		t.Fatalf("patched is %t, and what is patched differs from what is encoded", patched)
	}
}

// TestFewOverwrittenBytesKeepTheProducersMatches: the frame keeps the producer's matches,
// so that it grows by little more than the matches that broke.
func TestFewOverwrittenBytesKeepTheProducersMatches(t *testing.T) {
	raw := kgoBatch(t, produced(300), LZ4, jsonRecords(300, 1024))
	c := NewCodec(Limits{})
	b := new(record.Batch)

	h, err := c.Decode(raw, b)
	if err != nil {
		t.Fatal(err)
	}

	for i := range b.Records {
		overwriteByte(b, i, 100)
	}
	out, err := c.Encode(nil, h, b, EncodeOptions{KeepCompression: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) > len(raw)+300*16 {
		t.Fatalf("%d bytes became %d", len(raw), len(out))
	}
}

func TestBatchWithRecordsFramedAnewIsNotPatched(t *testing.T) {
	raw := kgoBatch(t, produced(3), None, jsonRecords(3, 100))
	before := bytes.Clone(raw)
	c := NewCodec(Limits{})
	b := new(record.Batch)

	h, err := c.Decode(raw, b)
	if err != nil {
		t.Fatal(err)
	}

	upper(b, 1)
	if c.Patch(raw, h, b, EncodeOptions{}) || !bytes.Equal(raw, before) {
		t.Fatal("a record of another length was patched")
	}

	b.Records[1] = b.Records[0]
	if c.Patch(raw, h, b, EncodeOptions{Compression: LZ4}) {
		t.Fatal("a batch that is to be compressed was patched")
	}
}

// FuzzResequence: whatever block the producer sent, what is made after it reads
// back as the content that was overwritten.
func FuzzResequence(f *testing.F) {
	for _, block := range lz4Blocks() {
		dst := make([]byte, lz4Bound(len(block)))
		f.Add(dst[:new(lz4Block).compress(dst, block)], []byte{1, 2, 3, 250}, uint16(7))
	}
	f.Fuzz(func(t *testing.T, src, script []byte, stride uint16) {
		if len(src) > lz4BlockSize {
			return // The frame's reader refuses a block that is larger than its content may be.
		}

		plain := make([]byte, lz4BlockSize)
		n, err := lz4.UncompressBlock(src, plain)
		if err != nil || n == 0 {
			return
		}

		plain = plain[:n]
		var l lz4State
		for i, at := 0, 0; i < len(script); i++ {
			at += int(stride)/256 + int(script[i])
			end := min(at+1+int(stride)%256, n)
			if at >= end {
				break
			}

			for k := at; k < end; k++ {
				plain[k] += script[i]
			}
			l.touched = append(l.touched, lz4Range{at, end})
			at = end
		}

		out, ok := l.againBlock(nil, lz4Extent{src, false, n}, plain)
		back, rest, err := readBlock(out, n)
		if !ok || err != nil || len(rest) > 0 || !bytes.Equal(back, plain) {
			t.Fatalf("%d bytes came back as %d, then %d: %v", n, len(back), len(rest), err)
		}
	})
}

func readBlock(out []byte, n int) (plain, rest []byte, err error) {
	f := lz4Frame{flags: lz4BlockIndependent, blockMax: lz4BlockSize}
	length := uint32(out[0]) | uint32(out[1])<<8 | uint32(out[2])<<16 | uint32(out[3])<<24
	return f.block(nil, out[4:], length, n)
}
