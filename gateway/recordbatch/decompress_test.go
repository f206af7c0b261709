package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/guardlock/guardlock/transforms/record"
)

// compressed is a batch of n JSON records with the payload as given.
func compressed(codec Compression, n int, payload []byte) []byte {
	h := produced(n)
	h.Attributes = int16(codec)
	return rawBatch(h, payload)
}

// checkContent decodes raw and compares the records' bytes.
func checkContent(t *testing.T, raw, plain []byte) {
	t.Helper()
	if _, b := decode(t, raw); !bytes.Equal(b.Data, plain) {
		t.Fatal("content differs")
	}
}

func TestLZ4FrameOptionsAreRead(t *testing.T) {
	plain := plainRecords(jsonRecords(150, 1000))
	for _, size := range []lz4.BlockSize{lz4.Block64Kb, lz4.Block256Kb, lz4.Block1Mb, lz4.Block4Mb} {
		for flags := range 8 {
			t.Run(fmt.Sprintf("%d/%03b", size, flags), func(t *testing.T) {
				options := []lz4.Option{lz4.BlockSizeOption(size), lz4.BlockChecksumOption(flags&1 != 0), lz4.ChecksumOption(flags&2 != 0)}
				if flags&4 != 0 {
					options = append(options, lz4.SizeOption(uint64(len(plain))))
				}

				var buf bytes.Buffer
				w := lz4.NewWriter(&buf)
				if err := w.Apply(options...); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(plain); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}

				checkContent(t, compressed(LZ4, 150, buf.Bytes()), plain)
			})
		}
	}
}

// lz4Descriptor is magic, flags, block size and a right header checksum.
func lz4Descriptor(flags, block byte, more ...byte) []byte {
	d := append([]byte{flags, block}, more...)
	return append(append([]byte{0x04, 0x22, 0x4D, 0x18}, d...), byte(xxh32(d)>>8))
}

func TestLZ4LinkedBlocksAreRead(t *testing.T) {
	// One record of 60 'a' values' bytes: the second block is a match into the
	// first, then five literals.
	plain := rec(0, append(append([]byte{1, 120}, bytes.Repeat([]byte("abcdef"), 10)...), 0)...)
	first := plain[:30]
	second := plain[30:]
	frame := lz4Descriptor(lz4Version, 4<<4)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(first))|lz4Uncompressed)
	frame = append(frame, first...)
	match := len(second) - 5
	block := []byte{0x0F, 6, 0, byte(match - 4 - 15), 5 << 4}
	block = append(block, second[match:]...)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(block)))
	frame = append(append(frame, block...), 0, 0, 0, 0)
	checkContent(t, compressed(LZ4, 1, frame), plain)

	// The same block in a frame of independent blocks reaches before its start.
	frame[4] |= lz4BlockIndependent
	frame[6] = byte(xxh32(frame[4:6]) >> 8)
	if _, err := NewCodec(Limits{}).Decode(compressed(LZ4, 1, frame), new(record.Batch)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("error is %v", err)
	}
}

func TestMalformedStreamIsRefused(t *testing.T) {
	plain := rec(0, 1, 10, 'h', 'e', 'l', 'l', 'o', 0)
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(plain))|lz4Uncompressed)
	stored := append(size, plain...)
	end := []byte{0, 0, 0, 0}
	sum := binary.LittleEndian.AppendUint32(nil, xxh32(plain))
	wrong := []byte{1, 2, 3, 4}
	frame := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	const indep = lz4Version | lz4BlockIndependent
	contentSize := func(n int) []byte {
		return lz4Descriptor(indep|lz4ContentSize, 4<<4, binary.LittleEndian.AppendUint64(nil, uint64(n))...)
	}

	gz := kgoCompress(t, Gzip, plain)
	snappy := kgoCompress(t, Snappy, plain)
	zs := kgoCompress(t, Zstd, plain)

	tests := map[string]struct {
		codec   Compression
		payload []byte
		want    error
	}{
		"lz4 as control":               {LZ4, frame(lz4Descriptor(indep|lz4BlockChecksum|lz4ContentChecksum, 4<<4), stored, sum, end, sum), nil},
		"lz4 content size as control":  {LZ4, frame(contentSize(len(plain)), stored, end), nil},
		"lz4 empty":                    {LZ4, nil, ErrCorrupt},
		"lz4 other magic":              {LZ4, frame(flip(lz4Descriptor(indep, 4<<4), 0), stored, end), ErrCorrupt},
		"lz4 version 2":                {LZ4, frame(lz4Descriptor(0x80, 4<<4), stored, end), ErrCorrupt},
		"lz4 reserved flag":            {LZ4, frame(lz4Descriptor(indep|lz4Reserved, 4<<4), stored, end), ErrCorrupt},
		"lz4 reserved block size":      {LZ4, frame(lz4Descriptor(indep, 3<<4), stored, end), ErrCorrupt},
		"lz4 reserved bits":            {LZ4, frame(lz4Descriptor(indep, 4<<4|1), stored, end), ErrCorrupt},
		"lz4 dictionary":               {LZ4, frame(lz4Descriptor(indep|lz4DictionaryID, 4<<4, 1, 0, 0, 0), stored, end), ErrUnsupportedCompression},
		"lz4 wrong header checksum":    {LZ4, frame(flip(lz4Descriptor(indep, 4<<4), 6), stored, end), ErrCorrupt},
		"lz4 wrong block checksum":     {LZ4, frame(lz4Descriptor(indep|lz4BlockChecksum, 4<<4), stored, wrong, end), ErrCorrupt},
		"lz4 wrong content checksum":   {LZ4, frame(lz4Descriptor(indep|lz4ContentChecksum, 4<<4), stored, end, wrong), ErrCorrupt},
		"lz4 missing content checksum": {LZ4, frame(lz4Descriptor(indep|lz4ContentChecksum, 4<<4), stored, end), ErrCorrupt},
		"lz4 missing block checksum":   {LZ4, frame(lz4Descriptor(indep|lz4BlockChecksum, 4<<4), stored), ErrCorrupt},
		"lz4 wrong content size":       {LZ4, frame(contentSize(len(plain)+1), stored, end), ErrCorrupt},
		"lz4 cut content size":         {LZ4, contentSize(9)[:12], ErrCorrupt},
		"lz4 without end mark":         {LZ4, frame(lz4Descriptor(indep, 4<<4), stored), ErrCorrupt},
		"lz4 bytes behind the frame":   {LZ4, frame(lz4Descriptor(indep, 4<<4), stored, end, wrong), ErrCorrupt},
		"lz4 block beyond its maximum": {LZ4, frame(lz4Descriptor(indep, 4<<4), []byte{1, 0, 1, 0x80}, make([]byte, 65537), end), ErrCorrupt},
		"lz4 block beyond the input":   {LZ4, frame(lz4Descriptor(indep, 4<<4), []byte{200, 0, 0, 0}, end), ErrCorrupt},
		"lz4 broken block":             {LZ4, frame(lz4Descriptor(indep, 4<<4), []byte{3, 0, 0, 0, 0x10, 'a', 0}, end), ErrCorrupt},
		"gzip empty":                   {Gzip, nil, ErrCorrupt},
		"gzip wrong checksum":          {Gzip, flip(gz, len(gz)-6), ErrCorrupt},
		"gzip cut short":               {Gzip, gz[:len(gz)-1], ErrCorrupt},
		"gzip bytes behind":            {Gzip, append(bytes.Clone(gz), 0), ErrCorrupt},
		"snappy empty":                 {Snappy, nil, ErrCorrupt},
		"snappy cut short":             {Snappy, snappy[:len(snappy)-1], ErrCorrupt},
		"snappy bytes behind":          {Snappy, append(bytes.Clone(snappy), 0), ErrCorrupt},
		"xerial cut in a length":       {Snappy, append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0), ErrCorrupt},
		"xerial block beyond":          {Snappy, append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 9, 1), ErrCorrupt},
		"zstd empty":                   {Zstd, nil, ErrCorrupt},
		"zstd cut short":               {Zstd, zs[:len(zs)-1], ErrCorrupt},
		"zstd bytes behind":            {Zstd, append(bytes.Clone(zs), 0), ErrCorrupt},
		"zstd other magic":             {Zstd, flip(zs, 0), ErrCorrupt},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewCodec(Limits{}).Decode(compressed(test.codec, 1, test.payload), new(record.Batch))
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestBothSnappyFramingsAreRead(t *testing.T) {
	plain := plainRecords(jsonRecords(300, 500))
	checkContent(t, compressed(Snappy, 300, s2.EncodeSnappy(nil, plain)), plain)
	xerial := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for at := 0; at < len(plain); at += 32 << 10 {
		block := s2.EncodeSnappy(nil, plain[at:min(len(plain), at+32<<10)])
		xerial = binary.BigEndian.AppendUint32(xerial, uint32(len(block)))
		xerial = append(xerial, block...)
	}

	checkContent(t, compressed(Snappy, 300, xerial), plain)
}

func TestStreamsInSeveralPiecesAreRead(t *testing.T) {
	plain := plainRecords(jsonRecords(100, 500))
	half := len(plain) / 2
	for _, codec := range []Compression{Gzip, Zstd} {
		two := append(kgoCompress(t, codec, plain[:half]), kgoCompress(t, codec, plain[half:])...)
		checkContent(t, compressed(codec, 100, two), plain)
	}
}

// TestDecompressionBombCostsNoMoreThanTheLimit counts what is allocated.
func TestDecompressionBombCostsNoMoreThanTheLimit(t *testing.T) {
	const limit = 1 << 20
	zeros := make([]byte, 16<<20)
	var gz bytes.Buffer

	w := gzip.NewWriter(&gz)
	if _, err := w.Write(zeros); err != nil || w.Close() != nil {
		t.Fatal(err)
	}

	streamed := new(bytes.Buffer) // zstd without a content size
	z, err := zstd.NewWriter(streamed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(z, bytes.NewReader(zeros)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}

	sized := z.EncodeAll(zeros, nil)
	lying := bytes.Clone(kgoCompress(t, Zstd, make([]byte, 300)))
	copy(lying[4:], []byte{0xA0, 0xff, 0xff, 0xff, 0x7f}) // single segment, content size 2 GiB - 1

	bombs := map[string]struct {
		codec   Compression
		payload []byte
	}{
		"none": {None, zeros[:2<<20]}, "gzip": {Gzip, gz.Bytes()}, "lz4": {LZ4, kgoCompress(t, LZ4, zeros)},
		"snappy": {Snappy, s2.EncodeSnappy(nil, zeros)}, "snappy lying": {Snappy, []byte{0xff, 0xff, 0xff, 0x7f, 0}},
		"xerial": {Snappy, xerialBomb(s2.EncodeSnappy(nil, zeros[:60<<10]))},
		"zstd":   {Zstd, streamed.Bytes()}, "zstd sized": {Zstd, sized}, "zstd lying": {Zstd, lying},
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			raw := compressed(bomb.codec, 1, bomb.payload)
			c := NewCodec(Limits{MaxDecompressed: limit})
			b := new(record.Batch)
			if _, err := c.Decode(compressed(bomb.codec, 1, kgoCompress(t, bomb.codec, rec(0, 1, 1, 0))), b); err != nil {
				t.Fatal(err) // the decoder's own state is made on first use
			}

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Decode(raw, b)
			runtime.ReadMemStats(&after)

			if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error is %v", err)
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 4*limit {
				t.Fatalf("%d bytes were allocated under a limit of %d", spent, limit)
			}
		})
	}
}

func xerialBomb(block []byte) []byte {
	bomb := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for range 1000 {
		bomb = binary.BigEndian.AppendUint32(bomb, uint32(len(block)))
		bomb = append(bomb, block...)
	}
	return bomb
}

// TestRecordCountAllocatesNothingByItself: the header's count is the client's.
func TestRecordCountAllocatesNothingByItself(t *testing.T) {
	h := produced(1 << 30)
	raw := rawBatch(h, make([]byte, 100))
	c := NewCodec(Limits{MaxRecords: 1<<31 - 1})
	b := new(record.Batch)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := c.Decode(raw, b)
	runtime.ReadMemStats(&after)

	if spent := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrCorrupt) || spent > 64<<10 {
		t.Fatalf("%d bytes were allocated: %v", spent, err)
	}
}

func TestXXH32AgreesWithPublishedSums(t *testing.T) {
	tests := map[string]uint32{
		"": 0x02CC5D05, "a": 0x550D7456, "abc": 0x32D153FF,
		"Nobody inspects the spammish repetition": 0xE2293B2F,
	}
	for text, want := range tests {
		if got := xxh32([]byte(text)); got != want {
			t.Errorf("sum of %q is %08x, want %08x", text, got, want)
		}
	}
}
