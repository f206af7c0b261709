package audit

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
	markName  = "committed"
	markMagic = "GLMARK01"
	markSize  = 68
)

type mark struct {
	segment uint32
	end     int64
	nextSeq uint64
	chain   chainValue
}

func (m *mark) encode(b *[markSize]byte) {
	copy(b[:], markMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(m.segment))
	binary.LittleEndian.PutUint64(b[16:], uint64(m.end))
	binary.LittleEndian.PutUint64(b[24:], m.nextSeq)
	copy(b[32:], m.chain[:])
	binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(b[:64], castagnoli))
}

func parseMark(b []byte) (mark, bool) {
	if len(b) != markSize || string(b[:8]) != markMagic || crc32.Checksum(b[:64], castagnoli) != binary.LittleEndian.Uint32(b[64:]) {
		return mark{}, false
	}
	m := mark{segment: uint32(binary.LittleEndian.Uint64(b[8:])), end: int64(binary.LittleEndian.Uint64(b[16:])),
		nextSeq: binary.LittleEndian.Uint64(b[24:])}
	copy(m.chain[:], b[32:])
	return m, m.segment > 0 && m.end >= headerSize
}

// readMark returns the mark; ok is false where there is none or it is torn.
func readMark(d files) (m mark, ok bool, err error) {
	f, err := d.open(markName, false)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, false, nil
	}
	if err != nil {
		return mark{}, false, err
	}
	defer f.Close()
	b := make([]byte, markSize)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return mark{}, false, err
	}
	m, ok = parseMark(b)
	return m, ok, nil
}
