package transforms

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressors are an instance's encoders, made when first used and kept.
type compressors struct {
	gzip *gzip.Writer
	zstd *zstd.Encoder
	lz4  *lz4.Writer
	out  bytes.Buffer
}

// hostCompress is gzip, zstd, snappy or lz4(ptr, len, out, out_cap): a gzip
// member, a zstd frame, a raw snappy block or an lz4 frame at out; the result
// is its length.
func hostCompress(encode func(*instance, []byte) ([]byte, error)) func(*instance, []uint64) int32 {
	return func(i *instance, a []uint64) int32 {
		data, ok := i.input(a[0], a[1])
		if !ok {
			return hostBadArguments
		}

		packed, err := encode(i, data)
		switch {
		case err != nil:
			return hostFailed
		case uint64(len(packed)) > uint64(uint32(a[3])):
			return hostTooSmall
		case !i.mem.Write(uint32(a[2]), packed):
			return hostBadArguments
		}

		return int32(len(packed))
	}
}

func gzipBytes(i *instance, data []byte) ([]byte, error) {
	c := &i.compressors
	c.out.Reset()
	if c.gzip == nil {
		c.gzip = gzip.NewWriter(&c.out)
	}

	c.gzip.Reset(&c.out)
	if _, err := c.gzip.Write(data); err != nil {
		return nil, fmt.Errorf("compressing with gzip: %w", err)
	}
	if err := c.gzip.Close(); err != nil {
		return nil, fmt.Errorf("compressing with gzip: %w", err)
	}

	return c.out.Bytes(), nil
}

func lz4Bytes(i *instance, data []byte) ([]byte, error) {
	c := &i.compressors
	c.out.Reset()
	if c.lz4 == nil {
		c.lz4 = lz4.NewWriter(&c.out)
	}

	c.lz4.Reset(&c.out)
	if _, err := c.lz4.Write(data); err != nil {
		return nil, fmt.Errorf("compressing with lz4: %w", err)
	}
	if err := c.lz4.Close(); err != nil {
		return nil, fmt.Errorf("compressing with lz4: %w", err)
	}

	return c.out.Bytes(), nil
}

func snappyBytes(i *instance, data []byte) ([]byte, error) {
	i.scratch = snappy.Encode(i.scratch[:cap(i.scratch)], data)
	return i.scratch, nil
}

func zstdBytes(i *instance, data []byte) ([]byte, error) {
	c := &i.compressors
	if c.zstd == nil {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(maxHostBytes))
		if err != nil {
			return nil, fmt.Errorf("making zstd encoder: %w", err)
		}
		c.zstd = e
	}

	i.scratch = c.zstd.EncodeAll(data, i.scratch[:0])
	return i.scratch, nil
}
