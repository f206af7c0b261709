package recordbatch

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/pierrec/lz4/v4"
)

// lz4Blocks are inputs that reach every branch of the compressor.
func lz4Blocks() map[string][]byte {
	rng := rand.New(rand.NewPCG(7, 8))
	random := make([]byte, lz4BlockSize)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}

	few := make([]byte, lz4BlockSize)
	for i := range few {
		few[i] = byte(rng.IntN(3))
	}

	far := append(bytes.Clone(random[:300]), random[1000:lz4BlockSize-300]...)
	json := plainRecords(jsonRecords(64, 1024))
	return map[string][]byte{
		"empty": nil, "one byte": {1}, "random": random, "few symbols": few, "zeros": make([]byte, lz4BlockSize),
		"far match": append(far, random[:300]...), "json": json[:lz4BlockSize], "long literals then match": append(bytes.Clone(random[:700]), random[:700]...),
	}
}

func TestLZ4BlocksAreReadByAnIndependentDecoder(t *testing.T) {
	z := new(lz4Block)
	for name, block := range lz4Blocks() {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{len(block), len(block) / 2, min(len(block), 40), min(len(block), 21), min(len(block), 20), min(len(block), 13)} {
				checkLZ4Block(t, z, block[:n])
			}
		})
	}
}

func checkLZ4Block(t *testing.T, z *lz4Block, src []byte) {
	t.Helper()
	dst := make([]byte, lz4Bound(len(src)))
	n := z.compress(dst, src)
	if n > lz4Bound(len(src))-lz4Slack {
		t.Fatalf("%d bytes became %d, beyond the bound", len(src), n)
	}
	if again := new(lz4Block).compress(make([]byte, lz4Bound(len(src))), src); again != n {
		t.Fatalf("a used compressor gives %d bytes, a new one %d", n, again)
	}

	back := make([]byte, len(src))
	m, err := lz4.UncompressBlock(dst[:n], back)
	if err != nil || !bytes.Equal(back[:m], src) {
		t.Fatalf("%d bytes came back as %d: %v", len(src), m, err)
	}
}

func FuzzLZ4BlockRoundTrip(f *testing.F) {
	f.Add([]byte("abcabcabcabcabcabcabcabcabcabcabcabc"), uint8(3))
	f.Add([]byte{0}, uint8(255))
	z := new(lz4Block)
	f.Fuzz(func(t *testing.T, src []byte, repeat uint8) {
		whole := bytes.Repeat(src, 1+int(repeat))
		checkLZ4Block(t, z, whole[:min(len(whole), lz4BlockSize)])
	})
}

// BenchmarkLZ4Block sets our compressor beside the library's and, as what
// assembly can do at a like ratio, snappy.
func BenchmarkLZ4Block(b *testing.B) {
	src := plainRecords(jsonRecords(80, 1024))[:lz4BlockSize]
	dst := make([]byte, lz4Bound(len(src)))
	ours := new(lz4Block)
	library := new(lz4.Compressor)
	run := func(name string, compress func() int) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = compress()
			}
			b.ReportMetric(float64(len(src))/float64(n), "ratio")
		})
	}

	run("ours", func() int { return ours.compress(dst, src) })
	run("pierrec", func() int { n, _ := library.CompressBlock(src, dst); return n })
	run("snappy", func() int { return len(s2.EncodeSnappy(dst[:0:cap(dst)], src)) })
}
