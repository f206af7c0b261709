package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
)

// The committed mark says how far the log is durable. It is written after the
// flush and not flushed itself, so that on disk it may be old but never ahead:
// frames that end before it were taken away by something other than a crash.
//
//	 0  magic "GLMARK01"
//	 8  u64 segment number
//	16  u64 end of the last durable frame in it
//	24  u64 next sequence number
//	32  [32] chain value there
//	64  u32 CRC32C of bytes 0-63
const (
	MarkName  = "committed"
	markMagic = "GLMARK01"
	markSize  = 68
)

// Mark is how far a log is durable.
type Mark struct {
	Segment uint32
	End     int64
	NextSeq uint64
	Chain   Chain
}

func (m *Mark) encode(b *[markSize]byte) {
	copy(b[:], markMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(m.Segment))
	binary.LittleEndian.PutUint64(b[16:], uint64(m.End))
	binary.LittleEndian.PutUint64(b[24:], m.NextSeq)
	copy(b[32:], m.Chain[:])
	binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(b[:64], castagnoli))
}

func parseMark(b []byte) (Mark, bool) {
	if len(b) != markSize || string(b[:8]) != markMagic || crc32.Checksum(b[:64], castagnoli) != binary.LittleEndian.Uint32(b[64:]) {
		return Mark{}, false
	}
	m := Mark{Segment: uint32(binary.LittleEndian.Uint64(b[8:])), End: int64(binary.LittleEndian.Uint64(b[16:])),
		NextSeq: binary.LittleEndian.Uint64(b[24:])}
	copy(m.Chain[:], b[32:])
	return m, m.Segment > 0 && m.End >= HeaderSize
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
	b := make([]byte, markSize)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return Mark{}, false, err
	}

	m, ok = parseMark(b)
	return m, ok, nil
}
