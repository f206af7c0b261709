package recordbatch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// zstdState keeps a decoder and an encoder per level; neither starts a
// goroutine when used on whole buffers with a concurrency of one.
type zstdState struct {
	decoder  *zstd.Decoder
	encoders [maxLevel + 1]*zstd.Encoder
}

var zstdLevels = [maxLevel + 1]zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedBetterCompression, zstd.SpeedBestCompression}

// zstdWindows bound the encoders' memory: at the fast level a wider one is
// slower and no denser, at the others it finds large records that repeat.
var zstdWindows = [maxLevel + 1]int{256 << 10, 1 << 20, 4 << 20}

// encode appends src, compressed, to dst, with the encoder of the level, which
// is kept for the next batch.
func (z *zstdState) encode(dst, src []byte, level int) ([]byte, error) {
	w := z.encoders[level]
	if w == nil {
		var err error
		w, err = zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(zstdWindows[level]), zstd.WithEncoderLevel(zstdLevels[level]))
		if err != nil {
			return dst, fmt.Errorf("making zstd encoder: %w", err)
		}

		z.encoders[level] = w
	}

	return w.EncodeAll(src, slices.Grow(dst, w.MaxEncodedSize(len(src)))), nil
}

const (
	zstdFirstRatio = 8       // first guess at the output per input byte
	zstdMaxWindow  = 1 << 27 // what zstd's own tools accept by default
)

// decode appends the content of src. A frame may state any content size, so
// output is bounded by dst's capacity, which grows by steps while the decoder
// asks for more: what is spent stays in proportion to what comes out.
func (z *zstdState) decode(dst, src []byte, limit int) ([]byte, error) {
	if err := z.open(limit); err != nil {
		return dst, err
	}
	want := max(cap(dst)-len(dst), len(src)*zstdFirstRatio)
	for {
		var n int
		dst, n = room(dst, want, limit)
		out, err := z.decoder.DecodeAll(src, dst[:len(dst):len(dst)+n])

		switch {
		case err == nil:
			return out, nil
		case !tooLarge(err):
			return dst, fmt.Errorf("reading frame: %w", ErrCorrupt)
		case n < want || errors.Is(err, zstd.ErrWindowSizeExceeded):
			return dst, ErrTooLarge
		}

		want *= 4
	}
}

func tooLarge(err error) bool {
	return errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded)
}

func (z *zstdState) open(limit int) (err error) {
	if z.decoder != nil {
		return nil
	}
	z.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecoderMaxWindow(zstdMaxWindow))
	if err != nil {
		return fmt.Errorf("making zstd decoder: %w", err)
	}

	return nil
}
