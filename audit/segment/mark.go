package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

// The committed mark says how far the log is durable. It is written after the
// flush and not flushed itself, so that on disk it may be old but never ahead:
// frames that end before it were taken away by something other than a crash. It
// has two places, each in a sector of its own, which are written in turn: one of
// them is whole whatever a crash does to the other. An opening flushes it before
// the first frame, so that no crash leaves a log without it.
//
//	 0  magic "GLMARK02"
//	 8  u64 segment number
//	16  u64 end of the last durable frame in it
//	24  u64 next sequence number
//	32  [32] chain value there
//	64  [16] tag of bytes 0-63, under the key of the segment
//	80  u32 CRC32C of bytes 0-79
//
// A mark "GLMARK01" has one place, and no tag: its CRC is that of bytes 0-63, at
// 64.
const (
	MarkName     = "committed"
	markMagic    = "GLMARK02"
	oldMarkMagic = "GLMARK01"
	markTagged   = 64 // bytes that the tag is of
	markSize     = markTagged + len(Tag{}) + 4
	oldMarkSize  = markTagged + 4
	markPlaces   = 2
	markStep     = 512 // from place to place
)

// Mark is how far a log is durable.
type Mark struct {
	Version Version
	Segment uint32
	End     int64
	NextSeq uint64
	Chain   Chain
	Tag     Tag
}

func (m *Mark) encode(b *[markSize]byte, key *Key) {
	copy(b[:], markMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(m.Segment))
	binary.LittleEndian.PutUint64(b[16:], uint64(m.End))
	binary.LittleEndian.PutUint64(b[24:], m.NextSeq)
	copy(b[32:], m.Chain[:])
	m.Version = Current
	m.Tag = key.tag(b[:markTagged])
	copy(b[markTagged:], m.Tag[:])
	binary.LittleEndian.PutUint32(b[markSize-4:], crc32.Checksum(b[:markSize-4], castagnoli))
}

// Under reports whether the mark was made under a key.
func (m *Mark) Under(key *Key) bool {
	if m.Version != Current {
		return false
	}
	var b [markSize]byte
	again := *m
	again.encode(&b, key)
	return again.Tag == m.Tag
}

func parseMark(b []byte) (m Mark, ok bool) {
	switch {
	case len(b) >= markSize && string(b[:8]) == markMagic:
		m.Version = Current
		b = b[:markSize]
		copy(m.Tag[:], b[markTagged:])
	case len(b) >= oldMarkSize && string(b[:8]) == oldMarkMagic:
		m.Version = Untagged
		b = b[:oldMarkSize]
	default:
		return Mark{}, false
	}

	sum := len(b) - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.LittleEndian.Uint32(b[sum:]) {
		return Mark{}, false
	}

	m.Segment = uint32(binary.LittleEndian.Uint64(b[8:]))
	m.End = int64(binary.LittleEndian.Uint64(b[16:]))
	m.NextSeq = binary.LittleEndian.Uint64(b[24:])
	copy(m.Chain[:], b[32:])

	return m, m.Segment > 0 && m.End >= HeaderSize
}

// parseMarks returns the mark that is further on of those in the places.
func parseMarks(b []byte) (m Mark, ok bool) {
	for at := 0; at < len(b); at += markStep {
		other, whole := parseMark(b[at:])
		if whole && (!ok || other.behind(&m)) {
			m = other
			ok = true
		}
	}
	return m, ok
}

// behind reports whether m lies behind other in the log.
func (m *Mark) behind(other *Mark) bool {
	if m.Segment != other.Segment {
		return m.Segment > other.Segment
	}
	return m.End > other.End
}

// ReadMark returns the mark; ok is false where there is none or it is torn.
func ReadMark(d Files) (m Mark, ok bool, err error) {
	f, err := d.Open(MarkName, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Mark{}, false, nil
	}
	if err != nil {
		return Mark{}, false, err
	}

	defer f.Close()
	b := make([]byte, (markPlaces-1)*markStep+markSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Mark{}, false, err
	}

	m, ok = parseMarks(b[:n])
	return m, ok, nil
}

// OpenMark opens the mark file, making it if need be.
func OpenMark(d Files) (File, error) {
	f, err := d.Open(MarkName, true)
	if errors.Is(err, fs.ErrNotExist) {
		return d.Create(MarkName)
	}
	return f, err
}

// Publish says how far the log is durable, in the place that was written longer
// ago.
func (c *Committer) Publish(m *Mark) error {
	m.encode(&c.markBuf, c.Key)
	c.markAt = markStep - c.markAt
	if _, err := c.Mark.WriteAt(c.markBuf[:], c.markAt); err != nil {
		return fmt.Errorf("writing committed mark: %w", err)
	}
	return nil
}

// Establish makes the mark durable in both its places, before the first frame
// that it is about.
func (c *Committer) Establish(m *Mark) error {
	for range markPlaces {
		if err := c.Publish(m); err != nil {
			return err
		}
	}

	if c.NoSync {
		return nil
	}
	if err := errors.Join(c.Flush(c.Mark), c.Files.SyncDir()); err != nil {
		return fmt.Errorf("flushing committed mark: %w", err)
	}

	return nil
}

// markIsOurs reports whether the mark is what this committer wrote last.
func (c *Committer) markIsOurs() (bool, error) {
	if _, err := c.Mark.ReadAt(c.markRead[:], c.markAt); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return bytes.Equal(c.markRead[:], c.markBuf[:]), nil
}
