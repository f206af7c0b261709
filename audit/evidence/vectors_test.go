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

// vectorSigner is the log of the vectors: its secret is 32 zeros.
func vectorSigner(t *testing.T) (note.Signer, string) {
	t.Helper()
	const name = "vectors.example/log"
	secret := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
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
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		t.Fatal(err)
	}
	signer, public := vectorSigner(t)
	signed, err := (&evidence.Checkpoint{Origin: signer.Name(), Size: size, Root: root}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}

	one := evidence.File{Format: evidence.Format, Record: evidence.Record{Cluster: "main", Topic: "customers", Partition: 3, Offset: 41}, Checkpoint: string(signed)}
	for n := range int64(3) {
		path, err := tlog.ProveRecord(size, n, stored)
		if err != nil {
			t.Fatal(err)
		}
		one.Entries = append(one.Entries, evidence.Entry{Index: n, Leaf: leaves[n], Path: path})
	}
	one.Entries[1].Names = []evidence.Opened{evidence.Open(evidence.Salt{1}, "User:ada")}

	many := evidence.Certificate{Format: evidence.RangeFormat, Range: evidence.Range{Cluster: "main", Topic: "customers", Partition: 3, First: 40, Last: 41}, Checkpoint: string(signed)}
	others := []tlog.Hash{evidence.HashOf(leaves[3]), evidence.HashOf(leaves[4])}
	if err := many.Pack([]int64{0, 1, 2}, leaves[:3], others); err != nil {
		t.Fatal(err)
	}

	files = map[string][]byte{"log.key.pub": []byte(public + "\n")}
	if files["record.json"], err = one.Encode(); err != nil {
		t.Fatal(err)
	}
	if files["range.json"], err = many.Encode(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "log key: %s\ncheckpoint:\n%s", public, signed)
	return files, "```\n" + out.String() + "```\n"
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

	verifier, err := note.NewVerifier(strings.TrimSpace(string(kept["log.key.pub"])))
	if err != nil {
		t.Fatal(err)
	}
	trust := &evidence.Trust{Logs: []note.Verifier{verifier}}
	one, err := evidence.Decode(kept["record.json"])
	if err != nil {
		t.Fatal(err)
	}
	if p, err := evidence.Verify(one, trust); err != nil || p.Ruling.Reason != "gdpr.masked" {
		t.Errorf("the record: %+v, %v", p, err)
	}
	many, err := evidence.DecodeCertificate(kept["range.json"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.VerifyRange(many, trust); err != nil {
		t.Errorf("the range: %v", err)
	}
}
