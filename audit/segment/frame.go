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
//	  0  magic "GLAUDIT2"; "GLAUDIT1" in segments from before frames had tags, and
//	     "GLAUDIT3" in finished ones that were rewritten for an erasure
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
//	172  [32] digest of the request that the last erasure was made for; version 3 alone
//	204  [32] chain value that it ended with as it was written; version 3 alone
//	252  u32 CRC32C of bytes 0-251
//
// The chain goes on from SHA-256("guardlock audit segment\n" ‖ header).
//
// Frame, at a multiple of 8:
//
//	 0  [8] marker of the segment
//	 8  u32 length of payload, at least 1
//	12  u32 flags: 1 = seal
//	16  [32] chain value: SHA-256(chain before ‖ bytes 8-15 ‖ bytes from 68)
//	48  [16] tag of the chain value, under the key that the header names
//	64  u32 CRC32C of bytes 8-63 and of those from 68
//	68  payload, then zeros to a multiple of 8
//
// In a segment of version 1 there is no tag: what follows it lies 16 bytes
// earlier.
//
// A sealed segment ends with a footer of footerSize bytes behind its seal:
// magic "GLSEALED", u64 position of the seal frame, u32 CRC32C of both, u32 0.
const (
	footerMagic     = "GLSEALED"
	HeaderSize      = 256
	FooterSize      = 24
	chainEnd        = 48 // in a frame
	maxFramePayload = 1 << 30
	flagSeal        = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only

type (
	Chain [32]byte
	Epoch [16]byte
)

// Version is that of a segment's bytes.
type Version uint8

// The versions. Only the current one is begun; the older is read, and ended. A
// rewritten segment is a finished one of the current version that an erasure took
// something out of.
const (
	Untagged  Version = 1
	Current   Version = 2
	Rewritten Version = 3
)

// The magics are those of headers, by version.
var magics = map[Version]string{Untagged: "GLAUDIT1", Current: "GLAUDIT2", Rewritten: "GLAUDIT3"} // read-only

// Begun is the version that a segment was written in, before any erasure.
func (v Version) Begun() Version {
	if v == Rewritten {
		return Current
	}
	return v
}

// overhead is the bytes of a frame before its payload.
func (v Version) overhead() int {
	if v == Untagged {
		return chainEnd + 4
	}
	return chainEnd + len(Tag{}) + 4
}

func (v Version) frameSize(payload int) int64 { return align8(int64(v.overhead() + payload)) }

// Header is what a segment begins with.
type Header struct {
	Version  Version
	Number   uint32
	Marker   [8]byte
	FirstSeq uint64
	prev     Chain
	LogID    [8]byte
	KeyID    [8]byte
	Epoch    Epoch
	Created  int64
	Node     string
	Erasure  Erasure
}

// Erasure is what a rewritten segment says of its last erasure; zero in any other.
type Erasure struct {
	Request [32]byte // digest of what asked for it
	Was     Chain    // that the segment ended with as it was written, which the next goes on from
}

const (
	erasureAt  = 172
	erasureEnd = erasureAt + 32 + len(Chain{})
)

// Encode gives the header's bytes.
func (h *Header) Encode() []byte {
	b := make([]byte, HeaderSize)
	copy(b, magics[h.Version])
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
	if h.Version == Rewritten {
		copy(b[erasureAt:], h.Erasure.Request[:])
		copy(b[erasureEnd-len(Chain{}):], h.Erasure.Was[:])
	}
	binary.LittleEndian.PutUint32(b[252:], crc32.Checksum(b[:252], castagnoli))

	return b
}

// unknownVersion says whether bytes that begin with no magic that is known begin as
// those of later versions will.
func unknownVersion(b []byte) error {
	family := magics[Current][:7]
	if v, ok := bytes.CutPrefix(b[:8], []byte(family)); ok && v[0] > '0'+byte(Rewritten) && v[0] <= '9' {
		return fmt.Errorf("an audit segment of version %c, which a newer guardlock wrote and can read; this one reads versions up to %d", v[0], Rewritten)
	}
	return errors.New("not an audit segment of a known version")
}

// ParseHeader reads a header in its one form; an error says what is wrong.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) < HeaderSize {
		return h, errors.New("not an audit segment of a known version")
	}

	for v, magic := range magics {
		if string(b[:8]) == magic {
			h.Version = v
		}
	}

	if h.Version == 0 {
		return h, unknownVersion(b)
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
	if h.Version == Rewritten {
		h.Erasure.Request = [32]byte(b[erasureAt:])
		h.Erasure.Was = Chain(b[erasureEnd-len(Chain{}) : erasureEnd])
		if h.Erasure.Request == [32]byte{} || h.Erasure.Was == (Chain{}) {
			return h, errors.New("header has impossible values")
		}
	}
	if !bytes.Equal(h.Encode(), b[:HeaderSize]) {
		return h, errors.New("header is not in its one form")
	}

	return h, nil
}

// LinkChain is the chain value that the next segment goes on from, of a segment whose
// last frame has the value end: what an erasure rewrote ends for others as it did before.
func (h *Header) LinkChain(end Chain) Chain {
	if h.Version == Rewritten {
		return h.Erasure.Was
	}
	return end
}

// Chain is the chain value that the segment's first frame continues.
func (h *Header) Chain() Chain {
	return sha256.Sum256(append([]byte("guardlock audit segment\n"), h.Encode()...))
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

// FrameSize is the bytes that a frame takes in a segment of the current version.
func FrameSize(payload int) int64 { return Current.frameSize(payload) }

// AppendFrame appends the frame of h's segment whose payload is the
// concatenation of parts. key is the one that h names; a segment without tags
// needs none.
func AppendFrame(dst []byte, h *Header, key *Key, prev Chain, flags uint32, parts ...[]byte) ([]byte, Chain) {
	start := len(dst)
	head := h.Version.overhead()
	dst = append(dst, make([]byte, head)...)
	for _, p := range parts {
		dst = append(dst, p...)
	}

	payload := len(dst) - start - head
	for len(dst)-start < int(h.Version.frameSize(payload)) {
		dst = append(dst, 0)
	}

	f := dst[start:]
	copy(f, h.Marker[:])
	binary.LittleEndian.PutUint32(f[8:], uint32(payload))
	binary.LittleEndian.PutUint32(f[12:], flags)
	chain := nextChain(prev, f, head)
	copy(f[16:], chain[:])

	if h.Version != Untagged {
		tag := key.tag(f[16:chainEnd])
		copy(f[chainEnd:], tag[:])
	}

	binary.LittleEndian.PutUint32(f[head-4:], frameCRC(f, head))
	return dst, chain
}

// AppendSeal appends what a finished segment ends with: the frame of its seal, and the
// footer. dst is the segment up to there.
func AppendSeal(dst []byte, h *Header, key *Key, prev Chain, payload []byte) ([]byte, Chain) {
	at := int64(len(dst))
	dst, chain := AppendFrame(dst, h, key, prev, flagSeal, payload)
	return AppendFooter(dst, at), chain
}

// Rewritten is the header of a finished segment, which ended with a chain value, after
// an erasure.
func (h *Header) Rewritten(request [32]byte, end Chain) Header {
	again := *h
	again.Version = Rewritten
	again.Erasure = Erasure{Request: request, Was: h.LinkChain(end)}
	return again
}

// nextChain computes the chain value of frame f, whose payload begins at head.
func nextChain(prev Chain, f []byte, head int) (c Chain) {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(f[8:16])
	h.Write(f[head:])
	h.Sum(c[:0])
	return c
}

func frameCRC(f []byte, head int) uint32 {
	return crc32.Update(crc32.Checksum(f[8:head-4], castagnoli), castagnoli, f[head:])
}

// Frame is a view of one complete frame.
type Frame struct {
	Off     int64
	Raw     []byte
	Flags   uint32
	Chain   Chain
	Tag     Tag // zeros in a segment without tags
	Payload []byte
	Version Version // of its segment
}

func (f *Frame) End() int64 { return f.Off + int64(len(f.Raw)) }

// Under reports whether the frame, of h's segment, has its tag under key. A
// segment without tags has nothing to check, nor has who is without the key.
func (f *Frame) Under(h *Header, key *Key) bool {
	return key == nil || h.Version == Untagged || key.made(f.Tag, f.Chain[:])
}

func (f *Frame) Sealed() bool { return f.Flags&flagSeal != 0 }

// ErrNoFrame means that the bytes at a position are not a complete frame.
var ErrNoFrame = errors.New("no complete frame")

// ReadFrame reads the frame at off of h's segment. Its bytes are valid until the
// next call.
func ReadFrame(w *Window, h *Header, off int64) (Frame, error) {
	start := h.Version.overhead()
	head, err := w.at(off, start)
	if err != nil {
		return Frame{}, err
	}
	if len(head) < start || !bytes.Equal(head[:8], h.Marker[:]) {
		return Frame{}, ErrNoFrame
	}

	n := binary.LittleEndian.Uint32(head[8:])
	if n == 0 || n > maxFramePayload || off+h.Version.frameSize(int(n)) > w.size {
		return Frame{}, ErrNoFrame
	}

	size := int(h.Version.frameSize(int(n)))
	raw, err := w.at(off, size)
	if err != nil {
		return Frame{}, err
	}
	if len(raw) < size || frameCRC(raw, start) != binary.LittleEndian.Uint32(raw[start-4:]) {
		return Frame{}, ErrNoFrame
	}

	f := Frame{
		Off:     off,
		Raw:     raw,
		Flags:   binary.LittleEndian.Uint32(raw[12:]),
		Payload: raw[start : start+int(n)],
		Version: h.Version,
	}

	copy(f.Chain[:], raw[16:])
	copy(f.Tag[:], raw[chainEnd:start-4])
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
