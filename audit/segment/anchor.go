package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

// An anchor says where a log begins whose oldest segments were removed, and what
// the first segment that is left goes on from.
//
//	  0  magic "GLANCHR1"
//	  8  u32 number of the first segment that is left
//	 12  u32 version of the last one that was removed: 1 or 2
//	 16  u64 sequence number that the log begins with
//	 24  [32] chain value that the last removed segment ended with
//	 56  [8] log id
//	 64  [8] key id of the tag
//	 72  i64 time of the removal
//	 80  i64 time of the earliest entry that was ever removed
//	 88  i64 time of the latest
//	 96  u64 batches that were ever removed
//	104  u64 decisions that were ever removed
//	112  u32 number n of removed batches that have no binding yet
//	116  u32 0
//	120  u64 × n, their sequence numbers, ascending
//	     [16] tag of all before
//	     u32 CRC32C of all before
const (
	AnchorName  = "anchor"
	anchorMagic = "GLANCHR1"
	anchorFixed = 120
	anchorTail  = len(Tag{}) + 4
	maxAnchor   = 64 << 20
)

// Anchor is where a pruned log begins.
type Anchor struct {
	First   uint32
	Version Version // of the last segment that was removed
	NextSeq uint64
	Chain   Chain
	LogID   [8]byte
	KeyID   [8]byte
	Pruned  int64
	Gone    Gone
	Open    []uint64
	tagged  []byte
	tag     Tag
}

// Gone is what was removed of a log, ever.
type Gone struct {
	Earliest  int64 // times of entries, in µs
	Latest    int64
	Batches   uint64
	Decisions uint64
}

// encode gives the anchor's bytes under a key.
func (a *Anchor) encode(key *Key) []byte {
	b := append([]byte(nil), anchorMagic...)
	b = binary.LittleEndian.AppendUint32(b, a.First)
	b = binary.LittleEndian.AppendUint32(b, uint32(a.Version))
	b = binary.LittleEndian.AppendUint64(b, a.NextSeq)
	b = append(b, a.Chain[:]...)
	b = append(b, a.LogID[:]...)
	b = append(b, key.ID[:]...)
	for _, n := range [...]uint64{uint64(a.Pruned), uint64(a.Gone.Earliest), uint64(a.Gone.Latest), a.Gone.Batches, a.Gone.Decisions} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}

	b = binary.LittleEndian.AppendUint32(b, uint32(len(a.Open)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, seq := range a.Open {
		b = binary.LittleEndian.AppendUint64(b, seq)
	}

	tag := key.tag(b)
	b = append(b, tag[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Under reports whether the anchor that was read was made under a key.
func (a *Anchor) Under(key *Key) bool { return key.made(a.tag, a.tagged) }

// Link is what the first segment that is left follows. A log without an anchor
// begins with its first entry.
func (a *Anchor) Link() Link {
	if a == nil {
		return Link{NextSeq: 1}
	}
	return Link{
		Version: a.Version,
		Number:  a.First - 1,
		NextSeq: a.NextSeq,
		Chain:   a.Chain,
		LogID:   a.LogID,
	}
}

var errAnchor = fmt.Errorf("%w: the anchor is damaged", ErrCorrupt)

func parseAnchor(b []byte) (*Anchor, error) {
	if len(b) < anchorFixed+anchorTail || string(b[:8]) != anchorMagic {
		return nil, errAnchor
	}
	sum := len(b) - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.LittleEndian.Uint32(b[sum:]) {
		return nil, errAnchor
	}

	word := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	a := &Anchor{
		First:   binary.LittleEndian.Uint32(b[8:]),
		Version: Version(b[12]),
		NextSeq: word(16),
		Chain:   Chain(b[24:56]),
		LogID:   [8]byte(b[56:64]),
		KeyID:   [8]byte(b[64:72]),
		Pruned:  int64(word(72)),
		Gone: Gone{
			Earliest:  int64(word(80)),
			Latest:    int64(word(88)),
			Batches:   word(96),
			Decisions: word(104),
		},
		tagged: b[:len(b)-anchorTail],
		tag:    Tag(b[len(b)-anchorTail : sum]),
	}

	open := a.tagged[anchorFixed:]
	n := binary.LittleEndian.Uint32(b[112:])
	if uint64(len(open)) != 8*uint64(n) || binary.LittleEndian.Uint32(b[116:]) != 0 || binary.LittleEndian.Uint32(b[12:]) != uint32(a.Version) {
		return nil, errAnchor
	}
	if a.First < 2 || a.Version != Untagged && a.Version != Current || a.NextSeq == 0 {
		return nil, errAnchor
	}

	return a, a.readOpen(open)
}

func (a *Anchor) readOpen(b []byte) error {
	before := uint64(0)
	for ; len(b) > 0; b = b[8:] {
		seq := binary.LittleEndian.Uint64(b)
		if seq <= before || seq >= a.NextSeq {
			return errAnchor
		}
		before = seq
		a.Open = append(a.Open, seq)
	}

	return nil
}

// ReadAnchor returns the anchor, or nil where nothing was removed.
func ReadAnchor(d Files) (*Anchor, error) {
	f, err := d.Open(AnchorName, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening anchor: %w", err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("sizing anchor: %w", err)
	}
	if size > maxAnchor {
		return nil, errAnchor
	}

	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading anchor: %w", err)
	}

	return parseAnchor(b)
}

// Put makes an anchor durable under a key, in the place of one that is there.
// Crash points: until the rename is durable the old one holds, and everything that
// it begins with is there.
func (a *Anchor) Put(d Files, key *Key) (err error) {
	draft, err := OpenDraft(d, AnchorName)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, draft.Close()) }()
	return draft.Put(a.encode(key))
}
