package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// An index lies beside a finished segment and says where in it things are. It is
// derived, and never believed further than that: what it names is read from the
// segment, and one that does not fit its segment is made anew.
//
// Header, little endian:
//
//	 0  magic "GLINDEX1"
//	 8  u32 segment number
//	12  u32 number of blocks
//	16  u64 size of the segment
//	24  [32] chain value of its seal
//	56  u32 number of pages
//	60  u32 greatest number of records that a binding covers
//	64  u32 CRC32C of the blocks
//	68  u32 CRC32C of bytes 0-67
//
// Blocks, 48 bytes each: position of the first frame, sequence number there,
// earliest and latest time, least and greatest batch of the bindings in it.
//
// Pages, 4096 bytes each: u32 CRC32C of what follows, u16 number of bindings, and
// those that cover an offset, by partition and first offset: four uvarints, which
// are partition less the one before, first offset less the one before in the same
// partition, records, block. The first of a page follows zeros.
const (
	indexMagic      = "GLINDEX1"
	indexHeaderSize = 72
	indexBlockSize  = 48
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only

// errIndex means that an index is damaged, or is not that of its segment.
var errIndex = errors.New("index does not fit its segment")

// indexName is the file name of a segment's index.
func indexName(number uint32) string { return fmt.Sprintf("audit-%08d.idx", number) }

// sealed is what a finished segment's seal and size say of it: what its index must
// fit, and what the index needs to be read.
type sealed struct {
	hdr   segment.Header
	seal  *Summary
	chain segment.Chain // of the seal
	at    int64         // where the seal begins
	size  int64
}

// index is a finished segment's index. It does not change.
type index struct {
	sealed   *sealed
	blocks   []block
	pages    int
	maxCount int64
	memory   []byte // nil where a file holds it
}

// encode makes an index of what was noted of a finished segment.
func (x *chart) encode(s *sealed) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	pages, maxCount := encodePages(x.sortedPlaces())
	blocks := x.encodeBlocks()
	out := make([]byte, 0, indexHeaderSize+len(blocks)+len(pages))

	out = append(out, indexMagic...)
	out = binary.LittleEndian.AppendUint32(out, s.hdr.Number)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(x.blocks)))
	out = binary.LittleEndian.AppendUint64(out, uint64(s.size))
	out = append(out, s.chain[:]...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(pages)/pageSize))
	out = binary.LittleEndian.AppendUint32(out, maxCount)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(blocks, castagnoli))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	out = append(out, blocks...)

	return append(out, pages...)
}

func (x *chart) encodeBlocks() []byte {
	out := make([]byte, 0, len(x.blocks)*indexBlockSize)
	for i := range x.blocks {
		b := &x.blocks[i]
		out = binary.LittleEndian.AppendUint64(out, uint64(b.off))
		out = binary.LittleEndian.AppendUint64(out, b.seq)
		out = binary.LittleEndian.AppendUint64(out, uint64(b.minTime))
		out = binary.LittleEndian.AppendUint64(out, uint64(b.maxTime))
		out = binary.LittleEndian.AppendUint64(out, b.firstBind)
		out = binary.LittleEndian.AppendUint64(out, b.lastBind)
	}

	return out
}

// openIndex reads an index whose size is known, all but its pages.
func openIndex(s *sealed, f io.ReaderAt, size int64) (*index, error) {
	var head [indexHeaderSize]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}

	x := &index{
		sealed:   s,
		pages:    int(binary.LittleEndian.Uint32(head[56:])),
		maxCount: int64(binary.LittleEndian.Uint32(head[60:])),
	}

	blocks := int64(binary.LittleEndian.Uint32(head[12:]))
	want := indexHeaderSize + blocks*indexBlockSize + int64(x.pages)*pageSize
	if !s.named(head[:]) || size != want || blocks > s.size/blockBytes+1 {
		return nil, errIndex
	}

	raw := make([]byte, blocks*indexBlockSize)
	if _, err := f.ReadAt(raw, indexHeaderSize); err != nil && len(raw) > 0 {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	if crc32.Checksum(raw, castagnoli) != binary.LittleEndian.Uint32(head[64:]) {
		return nil, errIndex
	}

	x.blocks = parseBlocks(raw)
	if !s.fits(x.blocks) {
		return nil, errIndex
	}

	return x, nil
}

// named reports whether an index's header is whole and names the segment.
func (s *sealed) named(head []byte) bool {
	return string(head[:8]) == indexMagic &&
		crc32.Checksum(head[:68], castagnoli) == binary.LittleEndian.Uint32(head[68:]) &&
		binary.LittleEndian.Uint32(head[8:]) == s.hdr.Number &&
		binary.LittleEndian.Uint64(head[16:]) == uint64(s.size) &&
		bytes.Equal(head[24:56], s.chain[:])
}

func parseBlocks(raw []byte) []block {
	out := make([]block, 0, len(raw)/indexBlockSize)
	for ; len(raw) > 0; raw = raw[indexBlockSize:] {
		out = append(out, block{
			off:       int64(binary.LittleEndian.Uint64(raw)),
			seq:       binary.LittleEndian.Uint64(raw[8:]),
			minTime:   int64(binary.LittleEndian.Uint64(raw[16:])),
			maxTime:   int64(binary.LittleEndian.Uint64(raw[24:])),
			firstBind: binary.LittleEndian.Uint64(raw[32:]),
			lastBind:  binary.LittleEndian.Uint64(raw[40:]),
		})
	}

	return out
}

// fits reports whether the blocks can be those of the segment. That frames begin
// where they say shows when they are read.
func (s *sealed) fits(blocks []block) bool {
	end := int64(segment.HeaderSize)
	seq := s.hdr.FirstSeq
	for i, b := range blocks {
		if i == 0 && (b.off != end || b.seq != seq) || i > 0 && b.off < end+blockBytes || b.seq < seq {
			return false
		}
		end = b.off
		seq = b.seq
	}

	return end <= s.at && seq <= s.seal.NextSeq
}

// view is what a scanner needs of the index.
func (x *index) view() view {
	return view{
		hdr:    &x.sealed.hdr,
		strs:   x.sealed.seal.dict.strs,
		epochs: append([]epochAt{{x.sealed.hdr.FirstSeq, x.sealed.hdr.Epoch}}, x.sealed.seal.opened...),
		Blocks: x.blocks,
		End:    x.sealed.at,
		Next:   x.sealed.seal.NextSeq,
	}
}

// pagesOf is where the pages lie in the bytes of the index.
func (x *index) pagesOf(raw []byte) []byte {
	return raw[indexHeaderSize+len(x.blocks)*indexBlockSize:]
}

// covering lists the blocks in which bindings may cover a coordinate, in order. f
// holds the index.
func (x *index) covering(f io.ReaderAt, at Coord, offset int64) ([]int, error) {
	t := pages{f: f, at: indexHeaderSize + int64(len(x.blocks))*indexBlockSize, n: x.pages}
	var found []int
	for i, c := range x.sealed.seal.places {
		if !c.is(at) {
			continue
		}

		err := t.between(uint32(i), offset-x.maxCount+1, offset, func(p *placed) {
			if offset-p.base < int64(p.count) {
				found = append(found, int(p.block))
			}
		})
		if err != nil {
			return nil, err
		}
	}

	slices.Sort(found)
	found = slices.Compact(found)
	if n := len(found); n > 0 && found[n-1] >= len(x.blocks) {
		return nil, errIndex
	}

	return found, nil
}
