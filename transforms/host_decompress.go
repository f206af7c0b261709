package transforms

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxUnpacked bounds what one call decompresses to, whatever room the guest has:
// a few milliseconds of work, and memory that an instance keeps.
const maxUnpacked = 4 << 20

// maxWindow is the window that every zstd decoder should have (RFC 8878, 3.1.1.1.2).
const maxWindow = 8 << 20

// decompressors are an instance's decoders. Each is made when it is first used, and
// kept.
type decompressors struct {
	gzip *gzip.Reader
	zstd *zstd.Decoder
	lz4  *lz4.Reader
	in   bytes.Reader
}

// hostDecompress is gunzip, unzstd, unsnappy or unlz4(ptr, len, out, out_cap): what
// is in all of the packed bytes at out; the result is its length. What would not fit
// is not decompressed further than that shows.
func hostDecompress(decode func(i *instance, packed []byte, most int) ([]byte, error)) func(*instance, []uint64) int32 {
	return func(i *instance, a []uint64) int32 {
		packed, ok := i.input(a[0], a[1])
		if !ok {
			return hostBadArguments
		}

		most := int(min(uint32(a[3]), maxUnpacked))
		plain, err := decode(i, packed, most)
		i.charged += len(plain)
		switch {
		case errors.Is(err, errTooSmall):
			i.charged += most // it was decompressed all the same
			return hostTooSmall
		case err != nil:
			return hostFailed
		case !i.mem.Write(uint32(a[2]), plain):
			return hostBadArguments
		}

		return int32(len(plain))
	}
}

func gunzipBytes(i *instance, packed []byte, most int) ([]byte, error) {
	d := &i.decompressors
	d.in.Reset(packed)
	var err error
	if d.gzip == nil {
		d.gzip, err = gzip.NewReader(&d.in)
	} else {
		err = d.gzip.Reset(&d.in)
	}
	if err != nil {
		return nil, err
	}

	return i.readAll(d.gzip, most)
}

func unlz4Bytes(i *instance, packed []byte, most int) ([]byte, error) {
	d := &i.decompressors
	d.in.Reset(packed)
	if d.lz4 == nil {
		d.lz4 = lz4.NewReader(&d.in)
	} else {
		d.lz4.Reset(&d.in)
	}
	if len(packed) == 0 {
		return nil, io.ErrUnexpectedEOF // the reader takes nothing for an empty stream
	}

	return i.readAll(d.lz4, most)
}

func unsnappyBytes(i *instance, packed []byte, most int) ([]byte, error) {
	length, err := snappy.DecodedLen(packed)
	switch {
	case err != nil:
		return nil, err
	case length > most:
		return nil, errTooSmall
	}

	i.scratch = slices.Grow(i.scratch[:0], length)
	return snappy.Decode(i.scratch[:length], packed)
}

func unzstdBytes(i *instance, packed []byte, most int) ([]byte, error) {
	d := &i.decompressors
	if d.zstd == nil {
		made, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, err
		}
		d.zstd = made
	}
	if len(packed) == 0 {
		return nil, io.ErrUnexpectedEOF
	}

	d.in.Reset(packed)
	if err := d.zstd.Reset(&d.in); err != nil {
		return nil, err
	}

	return i.readAll(d.zstd, most)
}

// readAll reads a decoder to its end. It stops with errTooSmall when there is more
// than most.
func (i *instance) readAll(r io.Reader, most int) ([]byte, error) {
	out := i.scratch[:0]
	for {
		if len(out) == cap(out) {
			out = slices.Grow(out, min(max(len(out), 4<<10), most+1-len(out)))
		}

		n, err := r.Read(out[len(out):min(cap(out), most+1)])
		out = out[:len(out)+n]
		i.scratch = out
		switch {
		case len(out) > most:
			return nil, errTooSmall
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
	}
}
