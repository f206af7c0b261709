package audit_test

import (
	"bytes"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// FuzzSegment gives hostile bytes to everything that reads a segment.
func FuzzSegment(f *testing.F) {
	base := smallLog(f)
	names := segmentsOf(base)
	f.Add(base.live[names[0]].cache)
	f.Add(base.live[names[2]].cache[:2000])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newMemFiles()
		d.live[names[0]] = &memFile{dir: d, cache: bytes.Clone(b), dirty: map[int]bool{}}
		_, verifyErr := verifyMem(d)

		l, err := audit.OpenFiles(d, audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes})
		if err != nil {
			return
		}
		if verifyErr != nil {
			t.Fatalf("opened what verification refuses: %v", verifyErr)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
