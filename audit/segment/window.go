package segment

import (
	"bytes"
	"errors"
	"io"
)

const windowBytes = 256 << 10

// Window reads a file through one sliding buffer.
type Window struct {
	f    io.ReaderAt
	size int64 // nothing at or behind it is read
	off  int64 // of buf
	buf  []byte
}

// NewWindow reads the first size bytes of f.
func NewWindow(f io.ReaderAt, size int64) *Window { return &Window{f: f, size: size} }

// Size is how much is read at most.
func (w *Window) Size() int64 { return w.size }

// at returns up to n bytes at off, fewer only at the end. They are valid until
// the next call.
func (w *Window) at(off int64, n int) ([]byte, error) {
	if off >= w.size {
		return nil, nil
	}
	n = int(min(int64(n), w.size-off))
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		if err := w.load(off, n); err != nil {
			return nil, err
		}
	}

	i := int(off - w.off)
	if i >= len(w.buf) {
		return nil, nil
	}

	return w.buf[i:min(i+n, len(w.buf))], nil
}

func (w *Window) load(off int64, n int) error {
	want := int(min(int64(max(n, windowBytes)), w.size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}

	w.off = off
	w.buf = w.buf[:want]
	got, err := w.f.ReadAt(w.buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return err
	}

	w.buf = w.buf[:got]
	return nil
}

// lastNonZero returns the position behind the last byte that is not zero, at
// least from.
func (w *Window) lastNonZero(from int64) (int64, error) {
	end := from
	for off := from; off < w.size; off += windowBytes {
		b, err := w.at(off, windowBytes)
		if err != nil {
			return 0, err
		}
		if trimmed := bytes.TrimRight(b, "\x00"); len(trimmed) > 0 {
			end = off + int64(len(trimmed))
		}
	}

	return end, nil
}

// AnyFrame reports whether a complete frame starts anywhere from off on, and
// where.
func (w *Window) AnyFrame(h *Header, off int64) (int64, bool, error) {
	marker := h.Marker
	for off < w.size {
		b, err := w.at(off, windowBytes)
		if err != nil || len(b) < len(marker) {
			return 0, false, err
		}

		i := bytes.Index(b, marker[:])
		if i < 0 {
			off += int64(len(b) - len(marker) + 1)
			continue
		}

		at := off + int64(i)
		if _, err := ReadFrame(w, h, at); err == nil {
			return at, true, nil
		} else if !errors.Is(err, ErrNoFrame) {
			return 0, false, err
		}

		off = at + 1
	}

	return 0, false, nil
}
