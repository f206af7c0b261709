package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// finishedSegments writes a log of a few finished segments, without indexes.
func (d *deployment) finishedSegments(key [32]byte) (segments int) {
	d.t.Helper()
	l := must(audit.Open(d.audit(), audit.Options{Key: key, Node: "e2e", SegmentBytes: 8 << 10, InsecureNoSync: true}))(d.t)
	e := &audit.BatchEntry{Target: audit.Target{Cluster: "main", Topic: "cards"}, Payload: audit.Payload{Records: 3}, Outcome: audit.OutcomePassed}
	e.Producer = audit.Producer{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
	e.Add(audit.Ruling{}, 3)

	for i := range 2400 {
		l.Place(l.Append(e, nil).Seq(), audit.Placement{BaseOffset: int64(3 * i)})
	}
	if err := l.Close(); err != nil {
		d.t.Fatal(err)
	}

	return len(must(filepath.Glob(filepath.Join(d.audit(), "*.wal")))(d.t))
}

// The gateway makes the indexes that a log lacks while it serves; verification
// tells of one that lies, and is content once it is gone.
func TestTheGatewayLeavesAnIndexBesideEachFinishedSegment(t *testing.T) {
	d := deploy(t, plan{more: "audit:\n  key_file: audit.key\n"})
	key := [32]byte{1, 2, 3}
	d.write("audit.key", []byte(hex.EncodeToString(key[:])))

	segments := d.finishedSegments(key)
	if segments < 3 {
		t.Fatalf("%d segments", segments)
	}

	gateway := serve(t, d)
	for n := 1; n < segments; n++ {
		name := filepath.Join(d.audit(), fmt.Sprintf("audit-%08d.idx", n))
		eventually(t, "there is "+name, func() bool { _, err := os.Stat(name); return err == nil })
	}

	if out, exit := guardlock(t, "audit", "query", "--dir", d.audit(), "--topic", "cards", "--partition", "0", "--offset", "700", "--json"); exit != 0 || !strings.Contains(out, `"base_offset":699`) && !strings.Contains(out, `"base_offset": 699`) {
		t.Errorf("by its offset: %d\n%s", exit, out)
	}
	gateway.terminate()

	verify := []string{"audit", "verify", "--dir", d.audit(), "--audit-key", filepath.Join(d.dir, "audit.key")}
	if out, exit := guardlock(t, verify...); exit != 0 {
		t.Errorf("verifying: %d\n%s", exit, out)
	}

	name := filepath.Join(d.audit(), "audit-00000001.idx")
	lie(t, name)
	if out, exit := guardlock(t, verify...); exit != 3 || !strings.Contains(out, "audit-00000001.idx") || !strings.Contains(out, "delete") {
		t.Errorf("with an index that lies: %d\n%s", exit, out)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if out, exit := guardlock(t, verify...); exit != 0 {
		t.Errorf("without it: %d\n%s", exit, out)
	}
}

// lie makes an index say that its first frames are of another time, with checksums
// that are right.
func lie(t *testing.T, name string) {
	t.Helper()
	b := must(os.ReadFile(name))(t)
	blocks := b[72 : 72+48*binary.LittleEndian.Uint32(b[12:])]
	binary.LittleEndian.PutUint64(blocks[24:], 0) // latest
	sums := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(blocks, sums))
	binary.LittleEndian.PutUint32(b[68:], crc32.Checksum(b[:68], sums))

	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
