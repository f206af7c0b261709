package evidence_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit/evidence"
)

// samples has a leaf of each kind, with every field set.
func samples() []evidence.Leaf {
	var salt evidence.Salt
	name := func(s string) evidence.Name { return evidence.NameOf(salt, s) }
	where := evidence.Coord{Cluster: "main", Topic: "customers", Partition: 3}
	return []evidence.Leaf{
		{Decision: &evidence.Decision{
			Seq: 7, Time: 1_790_000_000_000_000, Consume: true, Outcome: 1, Reason: "r", Where: where, TopicID: [16]byte{1, 2},
			Caller: evidence.Caller{Connection: 9, Principal: name("User:a"), ClientID: name("c"), Source: name("::1"),
				TLSVersion: "TLS 1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Certificate: name("cert")},
			Authority: evidence.Authority{PolicyRevision: "p", Grant: [32]byte{4}, Modules: []evidence.Module{{Name: "gdpr", Digest: [32]byte{5}}}},
			Producer:  evidence.Producer{ID: -1, Epoch: -1, Sequence: -1},
			Payload: evidence.Payload{Records: 4, Codec: 3, BytesIn: 100, BytesOut: 90, MACKind: 2, MACEpoch: [16]byte{6}, MACNonce: 8,
				MAC: [16]byte{7}},
			Rulings: []evidence.Ruling{{Verdict: 0}, {Verdict: 4, Module: 0, Reason: "gdpr.x", Route: "alerts"}},
			Runs:    []evidence.Run{{Ruling: 0, Count: 3}, {Ruling: 1, Count: 1}},
		}},
		{Placement: &evidence.Placement{Decision: 7, Where: where, Route: "r", Base: -1, Records: 4, LeaderEpoch: -1, AppendTime: 5, ErrorCode: -1,
			Recovered: true}},
		{Control: &evidence.Control{Kind: evidence.KindAdmission, Seq: 3, Time: 4, Subject: "b", Module: evidence.Module{Name: "gdpr"}, Who: name("x"),
			Outcome: "allowed", Reason: "y", Revision: "z", Facts: []evidence.Fact{{Key: "author", Value: "ada"}, {Key: "step.detail", Name: name("d")}}}},
		{Control: &evidence.Control{Kind: evidence.KindClock, Seq: 8, Time: 1_790_000_000_000_000, Subject: "clock", Outcome: "clock_back",
			Facts: []evidence.Fact{{Key: "was", Value: "2026-09-21T15:13:20Z"}, {Key: "is", Value: "2026-09-21T14:13:20Z"}, {Key: "seen", Value: "running"}}}},
	}
}

func TestLeafIsReadBackAsItWasWritten(t *testing.T) {
	for _, l := range samples() {
		b := l.Append(nil)
		got, err := evidence.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, l) {
			t.Errorf("got  %+v\nwant %+v", got, l)
		}

		for n := range b {
			if _, err := evidence.Parse(b[:n]); !errors.Is(err, evidence.ErrLeaf) {
				t.Fatalf("a leaf that ends after %d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := evidence.Parse(append(b, 0)); !errors.Is(err, evidence.ErrLeaf) {
			t.Errorf("a byte behind the leaf: %v", err)
		}
	}
}

func TestLeafOfAnotherVersionIsRefused(t *testing.T) {
	b := bytes.Replace(samples()[0].Append(nil), []byte("v1"), []byte("v2"), 1)
	if _, err := evidence.Parse(b); !errors.Is(err, evidence.ErrLeaf) || !strings.Contains(err.Error(), "version 1") {
		t.Error(err)
	}
}

// FuzzParse: whatever is read as a leaf is written as the same bytes.
func FuzzParse(f *testing.F) {
	for _, l := range samples() {
		f.Add(l.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := evidence.Parse(b)
		if err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Errorf("%x has two spellings", b)
		}
	})
}

// FuzzCertificate: whatever is read as a certificate is written as the same bytes, and
// nothing that no log signed is proven.
func FuzzCertificate(f *testing.F) {
	s := evidence.Section{Checkpoint: "gw\n1\nAAAA\n\n"}
	if err := s.Pack([]int64{3, 4}, [][]byte{samples()[0].Append(nil), samples()[1].Append(nil)}, []tlog.Hash{{1}}); err != nil {
		f.Fatal(err)
	}
	for _, c := range []evidence.Certificate{
		{Format: evidence.FirstRangeFormat, Logs: []evidence.Section{s}},
		{Format: evidence.RangeFormat, Logs: []evidence.Section{s, s}},
	} {
		c.Range = evidence.Range{Cluster: "main", Topic: "t", Last: 9}
		b, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}

	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := evidence.DecodeCertificate(b)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q has two spellings: %v", b, err)
		}
		if _, err := evidence.VerifyRange(c, new(evidence.Trust)); !errors.Is(err, evidence.ErrUnproven) {
			t.Errorf("%q: %v", b, err)
		}
	})
}

func TestNameCannotBeFoundWithoutItsSalt(t *testing.T) {
	a := evidence.NameOf(evidence.Salt{1}, "User:alice")
	b := evidence.NameOf(evidence.Salt{2}, "User:alice")
	if a == b {
		t.Error("two salts give one digest")
	}
	if (evidence.NameOf(evidence.Salt{1}, "") != evidence.Name{}) {
		t.Error("no name has a digest")
	}
}

// TestEdgeIsTheTreeOfRFC6962 holds the edge, at sizes around those of tiles, against
// tlog's own tree, and goes on from what was stored.
func TestEdgeIsTheTreeOfRFC6962(t *testing.T) {
	var stored []tlog.Hash
	edge := new(evidence.Edge)
	levels := map[int]int64{}
	full := func(level int, n int64, tile []evidence.Hash) error {
		if n != levels[level] || len(tile) != evidence.TileWidth {
			t.Fatalf("tile %d of level %d with %d hashes", n, level, len(tile))
		}
		levels[level]++
		return nil
	}

	for n := int64(0); n < 2*65536+300; n++ {
		leaf := []byte{byte(n), byte(n >> 8), byte(n >> 16)}
		hashes, err := tlog.StoredHashes(n, leaf, hashReader(stored))
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		if err := edge.Append(evidence.HashOf(leaf), full); err != nil {
			t.Fatal(err)
		}
		if size := n + 1; size > 520 && size%65536 > 2 && rand.IntN(2000) > 0 {
			continue
		}

		want, err := tlog.TreeHash(n+1, hashReader(stored))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := edge.Root(); err != nil || got != want {
			t.Fatalf("%d leaves: root %v, want %v: %v", n+1, got, want, err)
		}
		if edge, err = evidence.ParseEdge(edge.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}

	if levels[0] != 513 || levels[1] != 2 {
		t.Errorf("full tiles: %v", levels)
	}
}

type hashReader []tlog.Hash

func (r hashReader) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, x := range indexes {
		out = append(out, r[x])
	}
	return out, nil
}

// FuzzParseEdge: whatever is read as an edge is written as the same bytes.
func FuzzParseEdge(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 32)...))
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := evidence.ParseEdge(b); err == nil && !bytes.Equal(e.AppendTo(nil), b) {
			t.Errorf("%x has two spellings", b)
		}
	})
}

func TestCheckpointHasOneSpelling(t *testing.T) {
	c := evidence.Checkpoint{Origin: "gw", Size: 12, Root: evidence.Hash{1}}
	got, err := evidence.ParseCheckpoint(c.Text())
	if err != nil || got != c {
		t.Fatal(got, err)
	}
	for _, text := range []string{
		"", "gw\n12\n", strings.Replace(c.Text(), "12", "012", 1), strings.Replace(c.Text(), "12", "+12", 1), strings.Replace(c.Text(), "12", "-12", 1),
		c.Text() + "more\n", strings.TrimSuffix(c.Text(), "\n"), strings.Replace(c.Text(), "=", "", 1), "\n12\nAQ==\n",
		strings.Replace(c.Text(), "A=", "B=", 1), // spare bits
	} {
		if _, err := evidence.ParseCheckpoint(text); !errors.Is(err, evidence.ErrCheckpoint) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestLeavesOfTheDocument: what docs/evidence.md promises to readers never changes.
func TestLeavesOfTheDocument(t *testing.T) {
	raw, err := os.ReadFile("testdata/leaves.txt")
	if err != nil {
		t.Fatal(err)
	}

	var got strings.Builder
	for _, l := range samples() {
		b := l.Append(nil)
		h := evidence.HashOf(b)
		fmt.Fprintf(&got, "%x %x\n", b, h[:])
	}
	if got.String() != string(raw) {
		t.Errorf("leaves are written in another way; got\n%s", &got)
	}
}
