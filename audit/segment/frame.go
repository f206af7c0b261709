package segment

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
	HeaderSize      = 256
	FooterSize      = 24
	frameOverhead   = 52
	maxFramePayload = 1 << 30
	flagSeal        = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only

type (
	Chain [32]byte
	Epoch [16]byte
)

// Header is what a segment begins with.
type Header struct {
	Number   uint32
	Marker   [8]byte
	FirstSeq uint64
	prev     Chain
	LogID    [8]byte
	KeyID    [8]byte
	Epoch    Epoch
	Created  int64
	Node     string
}

func (h *Header) encode() []byte {
	b := make([]byte, HeaderSize)
	copy(b, headerMagic)
	binary.LittleEndian.PutUint32(b[8:], h.Number)
	copy(b[16:], h.Marker[:])
	binary.LittleEndian.PutUint64(b[24:], h.FirstSeq)
	copy(b[32:], h.prev[:])
	copy(b[64:], h.LogID[:])
	copy(b[72:], h.KeyID[:])
	copy(b[80:], h.Epoch[:])
	binary.LittleEndian.PutUint64(b[96:], uint64(h.Created))
	b[104] = byte(len(h.Node))
	copy(b[105:105+MaxNodeBytes], h.Node)
	binary.LittleEndian.PutUint32(b[252:], crc32.Checksum(b[:252], castagnoli))

	return b
}

// ParseHeader reads a header in its one form; an error says what is wrong.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) < HeaderSize || string(b[:8]) != headerMagic {
		return h, errors.New("not an audit segment of a known version")
	}
	if crc32.Checksum(b[:252], castagnoli) != binary.LittleEndian.Uint32(b[252:]) {
		return h, errors.New("header has a wrong checksum")
	}

	h.Number = binary.LittleEndian.Uint32(b[8:])
	copy(h.Marker[:], b[16:])
	h.FirstSeq = binary.LittleEndian.Uint64(b[24:])
	copy(h.prev[:], b[32:])
	copy(h.LogID[:], b[64:])
	copy(h.KeyID[:], b[72:])
	copy(h.Epoch[:], b[80:])
	h.Created = int64(binary.LittleEndian.Uint64(b[96:]))

	n := int(b[104])
	if n > MaxNodeBytes || h.FirstSeq == 0 || h.Marker == [8]byte{} {
		return h, errors.New("header has impossible values")
	}

	h.Node = string(b[105 : 105+n])
	if !bytes.Equal(h.encode(), b[:HeaderSize]) {
		return h, errors.New("header is not in its one form")
	}

	return h, nil
}

// Chain is the chain value that the segment's first frame continues.
func (h *Header) Chain() Chain {
	return sha256.Sum256(append([]byte("guardlock audit segment\n"), h.encode()...))
}

// Name is the file name of a segment.
func Name(number uint32) string { return fmt.Sprintf("audit-%08d.wal", number) }

// ParseSegmentName is the inverse of Name.
func ParseSegmentName(name string) (uint32, bool) {
	var n uint32
	if _, err := fmt.Sscanf(name, "audit-%d.wal", &n); err != nil || n == 0 {
		return 0, false
	}
	return n, Name(n) == name
}

func align8(n int64) int64 { return (n + 7) &^ 7 }

// FrameSize is the bytes that a frame takes in its segment.
func FrameSize(payload int) int64 { return align8(int64(frameOverhead + payload)) }

// AppendFrame appends the frame whose payload is the concatenation of parts.
func AppendFrame(dst []byte, marker [8]byte, prev Chain, flags uint32, parts ...[]byte) ([]byte, Chain) {
	start := len(dst)
	dst = append(dst, make([]byte, frameOverhead)...)
	for _, p := range parts {
		dst = append(dst, p...)
	}

	payload := len(dst) - start - frameOverhead
	for len(dst)-start < int(FrameSize(payload)) {
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
func nextChain(prev Chain, f []byte) (c Chain) {
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

// Frame is a view of one complete frame.
type Frame struct {
	Off     int64
	Raw     []byte
	Flags   uint32
	Chain   Chain
	Payload []byte
}

func (f *Frame) End() int64   { return f.Off + int64(len(f.Raw)) }
func (f *Frame) Sealed() bool { return f.Flags&flagSeal != 0 }

// ErrNoFrame means that the bytes at a position are not a complete frame.
var ErrNoFrame = errors.New("no complete frame")

// ReadFrame reads the frame at off. Its bytes are valid until the next call.
func ReadFrame(w *Window, marker [8]byte, off int64) (Frame, error) {
	head, err := w.at(off, frameOverhead)
	if err != nil {
		return Frame{}, err
	}
	if len(head) < frameOverhead || !bytes.Equal(head[:8], marker[:]) {
		return Frame{}, ErrNoFrame
	}

	n := binary.LittleEndian.Uint32(head[8:])
	if n == 0 || n > maxFramePayload || off+FrameSize(int(n)) > w.size {
		return Frame{}, ErrNoFrame
	}

	size := int(FrameSize(int(n)))
	raw, err := w.at(off, size)
	if err != nil {
		return Frame{}, err
	}
	if len(raw) < size || frameCRC(raw) != binary.LittleEndian.Uint32(raw[48:]) {
		return Frame{}, ErrNoFrame
	}

	f := Frame{
		Off:     off,
		Raw:     raw,
		Flags:   binary.LittleEndian.Uint32(raw[12:]),
		Payload: raw[frameOverhead : frameOverhead+int(n)],
	}

	copy(f.Chain[:], raw[16:48])
	return f, nil
}

// AppendFooter appends the footer of a segment whose seal begins at sealAt.
func AppendFooter(dst []byte, sealAt int64) []byte {
	start := len(dst)
	dst = append(dst, footerMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(sealAt))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return binary.LittleEndian.AppendUint32(dst, 0)
}

func parseFooter(b []byte) (sealAt int64, ok bool) {
	if len(b) != FooterSize || string(b[:8]) != footerMagic {
		return 0, false
	}
	if crc32.Checksum(b[:16], castagnoli) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, false
	}

	at := binary.LittleEndian.Uint64(b[8:])
	return int64(at), at < 1<<62
}
