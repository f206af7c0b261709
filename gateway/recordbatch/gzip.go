package recordbatch

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gzipState keeps one reader and a writer per level, which are large and used
// again.
type gzipState struct {
	source  bytes.Reader
	reader  gzip.Reader
	sink    appender
	writers [maxLevel + 1]*gzip.Writer
}

// gzipLevels stop at 8: 9 takes three times as long for one percent.
var gzipLevels = [maxLevel + 1]int{3, 7, 8}

// appender is a writer onto a slice, for compressors that want an io.Writer.
type appender struct{ buf []byte }

// Write appends p to the slice. It never fails.
func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

// encode appends src, compressed, to dst, with the writer of the level, which
// is kept for the next batch.
func (g *gzipState) encode(dst, src []byte, level int) ([]byte, error) {
	w := g.writers[level]
	if w == nil {
		var err error
		if w, err = gzip.NewWriterLevel(&g.sink, gzipLevels[level]); err != nil {
			return dst, fmt.Errorf("making gzip writer: %w", err)
		}
		g.writers[level] = w
	}

	g.sink.buf = dst
	w.Reset(&g.sink)
	_, err := w.Write(src)
	if err == nil {
		err = w.Close()
	}

	dst = g.sink.buf
	g.sink.buf = nil
	return dst, err
}

// gzipStep is the first guess at the output in bytes, which is doubled from
// there.
const gzipStep = 16 << 10

// decode inflates src piece by piece, so that output grows only as it comes.
func (g *gzipState) decode(dst, src []byte, limit int) ([]byte, error) {
	g.source.Reset(src)
	defer g.source.Reset(nil)
	if err := g.reader.Reset(&g.source); err != nil {
		return dst, fmt.Errorf("reading stream: %w", ErrCorrupt)
	}

	for {
		if len(dst) == cap(dst) {
			dst, _ = room(dst, max(gzipStep, len(dst)), limit+1)
		}
		// One byte past the limit tells a full batch from a bomb.
		n, err := g.reader.Read(dst[len(dst):min(cap(dst), limit+1)])
		dst = dst[:len(dst)+n]

		switch {
		case len(dst) > limit:
			return dst, ErrTooLarge
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, fmt.Errorf("reading stream: %w", ErrCorrupt)
		}
	}
}
