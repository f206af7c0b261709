package transforms

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressors are an instance's encoders. Each is made when it is first used,
// and kept.
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
	if c.gzip == nil {
		c.gzip = gzip.NewWriter(&c.out)
	}
	return c.stream(c.gzip, "gzip", data)
}

func lz4Bytes(i *instance, data []byte) ([]byte, error) {
	c := &i.compressors
	if c.lz4 == nil {
		c.lz4 = lz4.NewWriter(&c.out)
	}
	return c.stream(c.lz4, "lz4", data)
}

// streamWriter is a compressor that can be used again for another output, as
// those of gzip and lz4 are.
type streamWriter interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// stream compresses data into out as one whole stream. The bytes that it returns
// hold until the next call of any compressor that writes to out.
func (c *compressors) stream(w streamWriter, format string, data []byte) ([]byte, error) {
	c.out.Reset()
	w.Reset(&c.out)
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("compressing with %s: %w", format, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing with %s: %w", format, err)
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
