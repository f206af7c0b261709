package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit/evidence"
)

var update = flag.Bool("update", false, "write the vectors of docs/evidence.md anew")

// Where the vectors are: the short ones in the document, the files beside the tests.
const (
	document     = "../../docs/evidence.md"
	vectorsBegin = "-run Vectors -update`.\n\n"
	vectorsEnd   = "\n## Files in `tree`"
)

// vectorSigner is a log of the vectors: its secret is one byte, 32 times.
func vectorSigner(t *testing.T, name string, secretByte byte) (note.Signer, string) {
	t.Helper()
	secret := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{secretByte}, ed25519.SeedSize))
	public, err := note.NewEd25519VerifierKey(name, secret.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(public, "+")[1]
	seed := base64.StdEncoding.EncodeToString(append([]byte{1}, secret.Seed()...))
	signer, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + seed)
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

// vectorLeaves are a log of five entries: a module is let run, a batch is decided and
// stored, and two entries that no evidence here needs.
func vectorLeaves() [][]byte {
	grant := [32]byte{4}
	module := evidence.Module{Name: "gdpr", Digest: [32]byte{5}}
	where := evidence.Coord{Cluster: "main", Topic: "customers", Partition: 3}
	leaves := []evidence.Leaf{
		{Control: &evidence.Control{Kind: evidence.KindAdmission, Seq: 1, Time: 1, Subject: "b", Module: module, Outcome: "allowed",
			Facts: []evidence.Fact{{Key: evidence.FactGrant, Value: fmt.Sprintf("%x", grant)}}}},
		{Decision: &evidence.Decision{Seq: 2, Time: 2, Outcome: 1, Where: where,
			Caller:    evidence.Caller{Principal: evidence.NameOf(evidence.Salt{1}, "User:ada")},
			Authority: evidence.Authority{Grant: grant, Modules: []evidence.Module{module}},
			Producer:  evidence.Producer{ID: -1, Epoch: -1, Sequence: -1},
			Payload:   evidence.Payload{Records: 2},
			Rulings:   []evidence.Ruling{{}, {Verdict: 1, Reason: "gdpr.masked"}},
			Runs:      []evidence.Run{{Ruling: 0, Count: 1}, {Ruling: 1, Count: 1}},
		}},
		{Placement: &evidence.Placement{Decision: 2, Where: where, Base: 40, Records: 2, LeaderEpoch: -1}},
		{Control: &evidence.Control{Kind: evidence.KindAdmission, Seq: 3, Time: 3, Subject: "c", Module: module, Outcome: "refused"}},
		{Placement: &evidence.Placement{Decision: 1, Where: where, Base: -1, LeaderEpoch: -1, ErrorCode: 3}},
	}

	var all [][]byte
	for i := range leaves {
		all = append(all, leaves[i].Append(nil))
	}
	return all
}

// vectors are the files, by their names, and the text that stands in the document.
func vectors(t *testing.T) (files map[string][]byte, text string) {
	t.Helper()
	var out strings.Builder
	var stored hashReader
	leaves := vectorLeaves()
	for n, leaf := range leaves {
		hashes, err := tlog.StoredHashes(int64(n), leaf, stored)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		root, err := tlog.TreeHash(int64(n+1), stored)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "leaf %d: %x\nroot of %d: %x\n", n, leaf, n+1, root[:])
	}

	size := int64(len(leaves))
	signer, public := vectorSigner(t, "vectors.example/log", 0)
	signed := vectorCheckpoint(t, signer, size, stored)
	one := evidence.File{Format: evidence.Format, Record: evidence.Record{Cluster: "main", Topic: "customers", Partition: 3, Offset: 41}, Checkpoint: string(signed)}
	for n := range int64(3) {
		path, err := tlog.ProveRecord(size, n, stored)
		if err != nil {
			t.Fatal(err)
		}
		one.Entries = append(one.Entries, evidence.Entry{Index: n, Leaf: leaves[n], Path: path})
	}
	one.Entries[1].Names = []evidence.Opened{evidence.Open(evidence.Salt{1}, "User:ada")}

	first := evidence.Certificate{Format: evidence.FirstRangeFormat, Range: evidence.Range{Cluster: "main", Topic: "customers", Partition: 3, First: 40, Last: 41},
		Logs: []evidence.Section{{Checkpoint: string(signed)}}}
	others := []tlog.Hash{evidence.HashOf(leaves[3]), evidence.HashOf(leaves[4])}
	if err := first.Logs[0].Pack([]int64{0, 1, 2}, leaves[:3], others); err != nil {
		t.Fatal(err)
	}

	several, other, otherText := vectorsOfTwo(t, &first)
	var err error
	files = map[string][]byte{"log.key.pub": []byte(public + "\n"), "logs.key.pub": []byte(public + "\n" + other + "\n")}
	for name, file := range map[string]interface{ Encode() ([]byte, error) }{"record.json": &one, "range.json": &first, "logs.json": several} {
		if files[name], err = file.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(&out, "log key: %s\ncheckpoint:\n%s\n%s", public, signed, otherText)
	return files, "```\n" + out.String() + "```\n"
}

// vectorsOfTwo are the certificate of a log together with another one, which stored two
// more records, that one's key, and its text in the document.
func vectorsOfTwo(t *testing.T, first *evidence.Certificate) (c *evidence.Certificate, public, text string) {
	t.Helper()
	stored := evidence.Leaf{Placement: &evidence.Placement{Decision: 2, Where: evidence.Coord{Cluster: "main", Topic: "customers", Partition: 3}, Base: 42, Records: 2, LeaderEpoch: -1}}
	leaves := append(vectorLeaves()[:2:2], stored.Append(nil))
	var hashes hashReader
	for n, leaf := range leaves {
		more, err := tlog.StoredHashes(int64(n), leaf, hashes)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}

	signer, public := vectorSigner(t, "vectors.example/other", 1)
	signed := vectorCheckpoint(t, signer, 3, hashes)
	section := evidence.Section{Checkpoint: string(signed)}
	if err := section.Pack([]int64{0, 1, 2}, leaves, nil); err != nil {
		t.Fatal(err)
	}
	c = &evidence.Certificate{Format: evidence.RangeFormat, Range: first.Range, Logs: []evidence.Section{first.Logs[0], section}}
	c.Range.Last = 43
	return c, public, fmt.Sprintf("other leaf 2: %x\nother log key: %s\nother checkpoint:\n%s", leaves[2], public, signed)
}

func vectorCheckpoint(t *testing.T, signer note.Signer, size int64, stored hashReader) []byte {
	t.Helper()
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := (&evidence.Checkpoint{Origin: signer.Name(), Size: size, Root: root}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestVectorsOfTheDocument: the document's vectors are what is written today, and the
// files beside them are proven. Of the range only that is asked, since zlib may pack in
// another way tomorrow.
func TestVectorsOfTheDocument(t *testing.T) {
	files, text := vectors(t)
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), vectorsBegin)
	_, after, ended := strings.Cut(rest, vectorsEnd)
	if !found || !ended {
		t.Fatal("the document has no place for vectors")
	}

	want := before + vectorsBegin + text + vectorsEnd + after
	if *update {
		for name, b := range files {
			if err := os.WriteFile(filepath.Join("testdata", name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(raw) != want {
		t.Errorf("the document is not up to date; want\n%s", text)
	}

	kept := make(map[string][]byte)
	for name := range files {
		if kept[name], err = os.ReadFile(filepath.Join("testdata", name)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(kept["record.json"], files["record.json"]) {
		t.Errorf("a file of evidence is written in another way; got\n%s", files["record.json"])
	}

	trust := new(evidence.Trust)
	for key := range strings.FieldsSeq(string(kept["logs.key.pub"])) {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		trust.Logs = append(trust.Logs, verifier)
	}
	one, err := evidence.Decode(kept["record.json"])
	if err != nil {
		t.Fatal(err)
	}
	if p, err := evidence.Verify(one, trust); err != nil || p.Ruling.Reason != "gdpr.masked" {
		t.Errorf("the record: %+v, %v", p, err)
	}
	for name, logs := range map[string]int{"range.json": 1, "logs.json": 2} {
		c, err := evidence.DecodeCertificate(kept[name])
		if err != nil {
			t.Fatal(err)
		}
		if p, err := evidence.VerifyRange(c, trust); err != nil || len(p.Logs) != logs {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}
