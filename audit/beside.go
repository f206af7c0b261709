package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// Only the gateway writes the log. What people have it say while it runs, they write to a
// file beside the segments, which the gateway looks at: the legal holds, and what was
// acknowledged. Such a file has a tag under the audit key for just this log, and is
// replaced as a whole.

// maxBeside bounds the bytes of a file beside the segments.
const maxBeside = 4 << 20

// tagOf is the HMAC of a file beside the segments, for one log: one that was taken from
// another log has another tag.
func tagOf(key [32]byte, label string, log [8]byte, file []byte) Digest {
	mac := hmac.New(sha256.New, deriveKey(key, label, log[:]))
	mac.Write(file)
	return Digest(mac.Sum(nil))
}

// readBeside reads a file beside the segments; nil where there is none.
func readBeside(d segment.Files, name string) ([]byte, error) {
	f, err := d.Open(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxBeside {
		return nil, fmt.Errorf("the file has %d bytes, and %d at most are read", size, maxBeside)
	}

	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// replaceBeside writes what next returns, while nobody else changes the file. next is given
// the audit key that the log is written under, which must be among the keys, and the log's
// id.
func replaceBeside(d segment.Files, keys [][32]byte, name string, next func(key [32]byte, log [8]byte) ([]byte, error)) (err error) {
	h, err := newestHeader(d)
	if err != nil {
		return err
	}
	now := slices.IndexFunc(keys, func(key [32]byte) bool { return keyID(key) == h.KeyID })
	if now < 0 {
		return fmt.Errorf("%w: it is under the audit key %x, which was not given", ErrForeign, h.KeyID)
	}

	draft, err := segment.OpenDraft(d, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, draft.Close()) }()

	b, err := next(keys[now], h.LogID)
	if err != nil {
		return err
	}
	return draft.Put(b)
}

// newestHeader is that of the last segment which has one: a crash may leave one without.
func newestHeader(d segment.Files) (h segment.Header, err error) {
	all, _, err := segment.Numbers(d)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("the directory holds no segment of a log: %w", fs.ErrNotExist)
	}
	if err != nil {
		return h, err
	}

	for _, n := range slices.Backward(all) {
		if h, err = readHeader(d, n); err == nil {
			return h, nil
		}
	}
	return h, err
}

func readHeader(d segment.Files, n uint32) (h segment.Header, err error) {
	f, err := d.Open(segment.Name(n), false)
	if err != nil {
		return h, fmt.Errorf("opening segment %d: %w", n, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return h, fmt.Errorf("sizing segment %d: %w", n, err)
	}
	return segment.ReadHeader(segment.NewWindow(f, size), n)
}
