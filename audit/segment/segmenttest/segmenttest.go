// Package segmenttest forges logs for the tests of those who have to find that.
package segmenttest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit/segment"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Forger is the key of somebody who knows all but the audit key.
func Forger(h *segment.Header) *segment.Key { return segment.NewKey(h.KeyID, []byte("a guess")) }

// Forgery rewrites a log as somebody can who has no key: each entry says
// something else, and all checksums, chain values, links and seals fit again.
type Forgery struct {
	Dir     string
	Replace map[string]string // by strings of the same length
	Version segment.Version   // not 0: the segments are made anew in that version
	Frames  int               // not 0: the last segment is cut after so many
	chain   segment.Chain
	seq     uint64
}

// Run rewrites the log in Dir.
func (g *Forgery) Run(t testing.TB) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(g.Dir, "audit-*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}

	end := 0
	for i, name := range names {
		end = g.segment(t, name, i == len(names)-1)
	}
	g.Mark(t, len(names), end)
}

// segment rewrites one file, and returns where its frames end.
func (g *Forgery) segment(t testing.TB, name string, last bool) int {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	old, err := segment.ParseHeader(raw)
	if err != nil {
		t.Fatal(err)
	}

	head := bytes.Clone(raw[:segment.HeaderSize])
	if g.Version != 0 {
		head[7] = '0' + byte(g.Version)
	}

	copy(head[32:], g.chain[:])
	binary.LittleEndian.PutUint32(head[252:], crc32.Checksum(head[:252], castagnoli))
	h, err := segment.ParseHeader(head)
	if err != nil {
		t.Fatal(err)
	}

	out := head
	g.chain = h.Chain()
	g.seq = h.FirstSeq
	w := segment.NewWindow(bytes.NewReader(raw), int64(len(raw)))
	at := int64(segment.HeaderSize)
	for n := 0; !last || g.Frames == 0 || n < g.Frames; n++ {
		f, err := segment.ReadFrame(w, &old, at)
		if err != nil {
			break
		}

		at = f.End()
		payload := g.replaced(f.Payload)
		start := len(out)
		out, g.chain = segment.AppendFrame(out, &h, Forger(&h), g.chain, f.Flags, payload)
		if f.Sealed() {
			out = segment.AppendFooter(out, int64(start))
		} else {
			g.seq, _ = binary.Uvarint(payload)
		}
	}

	end := len(out)
	if last {
		out = append(out, make([]byte, max(0, len(raw)-len(out)))...)
	}
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}

	return end
}

// replaced is what a frame says instead.
func (g *Forgery) replaced(payload []byte) []byte {
	for from, to := range g.Replace {
		payload = bytes.ReplaceAll(payload, []byte(from), []byte(to))
	}
	return payload
}

// Mark makes the mark fit, but for its tag.
func (g *Forgery) Mark(t testing.TB, segments, end int) {
	t.Helper()
	b := make([]byte, 84)
	copy(b, "GLMARK02")
	binary.LittleEndian.PutUint64(b[8:], uint64(segments))
	binary.LittleEndian.PutUint64(b[16:], uint64(end))
	binary.LittleEndian.PutUint64(b[24:], g.seq+1)
	copy(b[32:], g.chain[:])

	if g.Version == segment.Untagged {
		b = b[:68]
		copy(b, "GLMARK01")
	}

	binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	if err := os.WriteFile(filepath.Join(g.Dir, "committed"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ZeroTail makes the last segment look as if nothing had been written to it.
func ZeroTail(t testing.TB, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit-*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}

	last := names[len(names)-1]
	raw, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}

	clear(raw[segment.HeaderSize:])
	if err := os.WriteFile(last, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
