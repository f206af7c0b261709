package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Segment header, little endian, headerSize bytes:
//
//	  0  magic "GLAUDIT1"
//	  8  u32 segment number, from 1
//	 12  u32 reserved, 0
//	 16  [8] frame marker, random
//	 24  u64 first sequence number
//	 32  [32] chain value that the segment before ended with, zeros in the first
//	 64  [8] log id, random, the same in all segments
//	 72  [8] key id
//	 80  [16] epoch in force at its beginning
//	 96  i64 microseconds since 1970, of the Open that made the segment
//	104  u8 length of node, then node, zeros
//	252  u32 CRC32C of bytes 0-251
//
// The chain goes on from SHA-256("guardlock audit segment\n" ‖ header).
//
// Frame, at a multiple of 8:
//
//	 0  [8] marker of the segment
//	 8  u32 length of payload, at least 1
//	12  u32 flags: 1 = seal
//	16  [32] chain value: SHA-256(chain before ‖ bytes 8-15 ‖ bytes from 52)
//	48  u32 CRC32C of bytes 8-47 and of those from 52
//	52  payload, then zeros to a multiple of 8
//
// A sealed segment ends with a footer of footerSize bytes behind its seal:
// magic "GLSEALED", u64 position of the seal frame, u32 CRC32C of both, u32 0.
const (
	headerMagic     = "GLAUDIT1"
	footerMagic     = "GLSEALED"
	headerSize      = 256
	footerSize      = 24
	frameOverhead   = 52
	maxFramePayload = 1 << 30
	flagSeal        = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only

type (
	chainValue [32]byte
	epoch      [16]byte
)

type header struct {
	number   uint32
	marker   [8]byte
	firstSeq uint64
	prev     chainValue
	logID    [8]byte
	keyID    [8]byte
	epoch    epoch
	created  int64
	node     string
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, headerMagic)
	binary.LittleEndian.PutUint32(b[8:], h.number)
	copy(b[16:], h.marker[:])
	binary.LittleEndian.PutUint64(b[24:], h.firstSeq)
	copy(b[32:], h.prev[:])
	copy(b[64:], h.logID[:])
	copy(b[72:], h.keyID[:])
	copy(b[80:], h.epoch[:])
	binary.LittleEndian.PutUint64(b[96:], uint64(h.created))
	b[104] = byte(len(h.node))
	copy(b[105:105+maxNodeBytes], h.node)
	binary.LittleEndian.PutUint32(b[252:], crc32.Checksum(b[:252], castagnoli))
	return b
}

func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize || string(b[:8]) != headerMagic {
		return h, errors.New("not an audit segment of a known version")
	}
	if crc32.Checksum(b[:252], castagnoli) != binary.LittleEndian.Uint32(b[252:]) {
		return h, errors.New("header has a wrong checksum")
	}
	h.number = binary.LittleEndian.Uint32(b[8:])
	copy(h.marker[:], b[16:])
	h.firstSeq = binary.LittleEndian.Uint64(b[24:])
	copy(h.prev[:], b[32:])
	copy(h.logID[:], b[64:])
	copy(h.keyID[:], b[72:])
	copy(h.epoch[:], b[80:])
	h.created = int64(binary.LittleEndian.Uint64(b[96:]))
	n := int(b[104])
	if n > maxNodeBytes || h.firstSeq == 0 || h.marker == [8]byte{} {
		return h, errors.New("header has impossible values")
	}
	h.node = string(b[105 : 105+n])
	if !bytes.Equal(h.encode(), b[:headerSize]) {
		return h, errors.New("header is not in its one form")
	}
	return h, nil
}

// chain is the chain value that the segment's first frame continues.
func (h *header) chain() chainValue {
	return sha256.Sum256(append([]byte("guardlock audit segment\n"), h.encode()...))
}

func segmentName(number uint32) string { return fmt.Sprintf("audit-%08d.wal", number) }

func parseSegmentName(name string) (uint32, bool) {
	var n uint32
	if _, err := fmt.Sscanf(name, "audit-%d.wal", &n); err != nil || n == 0 {
		return 0, false
	}
	return n, segmentName(n) == name
}

func align8(n int64) int64 { return (n + 7) &^ 7 }

func frameSize(payload int) int64 { return align8(int64(frameOverhead + payload)) }

// appendFrame appends the frame whose payload is the concatenation of parts.
func appendFrame(dst []byte, marker [8]byte, prev chainValue, flags uint32, parts ...[]byte) ([]byte, chainValue) {
	start := len(dst)
	dst = append(dst, make([]byte, frameOverhead)...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	payload := len(dst) - start - frameOverhead
	for len(dst)-start < int(frameSize(payload)) {
		dst = append(dst, 0)
	}
	f := dst[start:]
	copy(f, marker[:])
	binary.LittleEndian.PutUint32(f[8:], uint32(payload))
	binary.LittleEndian.PutUint32(f[12:], flags)
	chain := nextChain(prev, f)
	copy(f[16:], chain[:])
	binary.LittleEndian.PutUint32(f[48:], frameCRC(f))
	return dst, chain
}

// nextChain computes the chain value of frame f.
func nextChain(prev chainValue, f []byte) (c chainValue) {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(f[8:16])
	h.Write(f[frameOverhead:])
	h.Sum(c[:0])
	return c
}

func frameCRC(f []byte) uint32 {
	return crc32.Update(crc32.Checksum(f[8:48], castagnoli), castagnoli, f[frameOverhead:])
}

// frame is a view of one complete frame.
type frame struct {
	off     int64
	raw     []byte
	flags   uint32
	chain   chainValue
	payload []byte
}

func (f *frame) end() int64   { return f.off + int64(len(f.raw)) }
func (f *frame) sealed() bool { return f.flags&flagSeal != 0 }

// errNoFrame means that the bytes at a position are not a complete frame.
var errNoFrame = errors.New("no complete frame")

// readFrame reads the frame at off. Its bytes are valid until the next call.
func readFrame(w *window, marker [8]byte, off int64) (frame, error) {
	head, err := w.at(off, frameOverhead)
	if err != nil {
		return frame{}, err
	}
	if len(head) < frameOverhead || !bytes.Equal(head[:8], marker[:]) {
		return frame{}, errNoFrame
	}
	n := binary.LittleEndian.Uint32(head[8:])
	if n == 0 || n > maxFramePayload || off+frameSize(int(n)) > w.size {
		return frame{}, errNoFrame
	}
	size := int(frameSize(int(n)))
	raw, err := w.at(off, size)
	if err != nil {
		return frame{}, err
	}
	if len(raw) < size || frameCRC(raw) != binary.LittleEndian.Uint32(raw[48:]) {
		return frame{}, errNoFrame
	}
	f := frame{off: off, raw: raw, flags: binary.LittleEndian.Uint32(raw[12:]), payload: raw[frameOverhead : frameOverhead+int(n)]}
	copy(f.chain[:], raw[16:48])
	return f, nil
}

func appendFooter(dst []byte, sealAt int64) []byte {
	start := len(dst)
	dst = append(dst, footerMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(sealAt))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return binary.LittleEndian.AppendUint32(dst, 0)
}

func parseFooter(b []byte) (sealAt int64, ok bool) {
	if len(b) != footerSize || string(b[:8]) != footerMagic {
		return 0, false
	}
	if crc32.Checksum(b[:16], castagnoli) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, false
	}
	at := binary.LittleEndian.Uint64(b[8:])
	return int64(at), at < 1<<62
}
