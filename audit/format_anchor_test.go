package audit_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// anchor reads the file that a pruned log begins with, and returns the number of
// its first segment.
func (r *readByPage) anchor(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, "anchor"))
	r.check(err == nil && string(b[:8]) == "GLANCHR1", "anchor: %v", err)
	open := int(binary.LittleEndian.Uint32(b[112:]))
	end := 120 + 8*open
	r.check(len(b) == end+20, "anchor: %d bytes with %d open batches", len(b), open)
	r.check(bytes.Equal(r.tag(b[:end]), b[end:end+16]), "anchor: tag")
	r.check(binary.LittleEndian.Uint32(b[end+16:]) == crc32.Checksum(b[:end+16], castagnoli), "anchor: CRC")
	r.check(binary.LittleEndian.Uint32(b[12:]) == 2, "anchor: version")
	r.check(int64(binary.LittleEndian.Uint64(b[72:])) == noon.UnixMicro(), "anchor: time of the removal")

	earliest := binary.LittleEndian.Uint64(b[80:])
	latest := binary.LittleEndian.Uint64(b[88:])
	batches := binary.LittleEndian.Uint64(b[96:])
	decisions := binary.LittleEndian.Uint64(b[104:])
	r.check(earliest < latest && batches > 0 && decisions == 40*batches, "anchor: %d decisions of %d batches", decisions, batches)

	r.seq = binary.LittleEndian.Uint64(b[16:])
	copy(r.chain[:], b[24:])
	for at := 120; at < end; at += 8 {
		r.check(binary.LittleEndian.Uint64(b[at:]) < r.seq, "anchor: open batch")
	}

	r.check(open > 0, "anchor: no open batch")
	return int(binary.LittleEndian.Uint32(b[8:]))
}

// A pruned log, too, is read by its specification alone.
func TestPrunedLogIsReadByItsSpecificationAlone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, small)
	addSpread(t, l, 60)
	mustClose(t, l)

	if _, err := audit.Prune(t.Context(), dir, audit.Pruning{Cut: audit.Cut{Segment: 3}, Keys: [][32]byte{testKey}, Now: noon}); err != nil {
		t.Fatal(err)
	}

	r := &readByPage{t: t, batches: map[uint64]*foundBatch{}, controls: map[int]int{}, kinds: map[int]int{}, counted: map[string]int{}, decided: map[string]int{}}
	first := r.anchor(dir)
	names := segmentFiles(t, dir)
	for i, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r.segment(first+i, raw)
	}

	report, err := keyed(dir)
	if err != nil || report.NextSeq != r.seq || int(report.Batches) != len(r.batches) || first != 3 {
		t.Errorf("read from segment %d to entry %d, %d batches; verify says %d, %d, %v", first, r.seq, len(r.batches), report.NextSeq, report.Batches, err)
	}
}
