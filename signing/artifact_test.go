package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

const provenance = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"` +
	`0000000000000000000000000000000000000000000000000000000000000000"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`

func TestAFileIsVerifiedWithTheKeyThatSignedItAndNoOther(t *testing.T) {
	w := newWorld(t)
	sums := []byte("0000  guardlock.tar.gz\n")
	b, err := SignArtifact(t.Context(), sums, w.ada)
	if err != nil {
		t.Fatal(err)
	}
	attested, err := Attest(t.Context(), []byte(provenance), w.ada)
	if err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		content, bundle []byte
		key             *PrivateKey
		want            error
	}{
		"as signed":     {sums, b, w.ada, nil},
		"a byte more":   {append([]byte("1"), sums...), b, w.ada, ErrFileChanged},
		"another key":   {sums, b, w.bob, ErrOtherKey},
		"renamed key":   {sums, []byte(strings.Replace(string(b), w.ada.ID(), w.bob.ID(), 1)), w.bob, ErrFileChanged},
		"a statement":   {sums, attested, w.ada, ErrNotSignature},
		"not a bundle":  {sums, []byte("{}"), w.ada, ErrMalformed},
		"nothing there": {sums, nil, w.ada, ErrMalformed},
	} {
		if err := c.key.Public().VerifyArtifact(t.Context(), c.content, c.bundle); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestAFileIsVouchedForByDistinctApproversWhoseKeysHold(t *testing.T) {
	w := newWorld(t)
	content := []byte("erase User:x")
	signed := func(content []byte, key *PrivateKey) []byte {
		b, err := SignArtifact(t.Context(), content, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bob, eve := signed(content, w.bob), signed(content, w.eve)
	attested, err := Attest(t.Context(), []byte(provenance), w.eve)
	if err != nil {
		t.Fatal(err)
	}

	sum := sha256.Sum256(content)
	for name, c := range map[string]struct {
		edit    func(*rootDoc)
		bundles [][]byte
		need    int
		want    error
		why     error // of the one that does not count
	}{
		"two people":        {bundles: [][]byte{eve, bob}, need: 2},
		"and a useless one": {bundles: [][]byte{{}, eve, bob}, need: 2},
		"nobody":            {need: 0, want: ErrSignatories},
		"one of two":        {bundles: [][]byte{bob}, need: 2, want: ErrSignatories},
		"one person twice":  {bundles: [][]byte{bob, signed(content, w.bob2)}, need: 2, want: ErrSignatories, why: ErrApproverTwice},
		"an author":         {bundles: [][]byte{bob, signed(content, w.ada)}, need: 2, want: ErrSignatories, why: ErrWrongRole},
		"another file":      {bundles: [][]byte{bob, signed([]byte("erase User:y"), w.eve)}, need: 2, want: ErrSignatories, why: ErrFileChanged},
		"renamed key":       {bundles: [][]byte{bob, []byte(strings.Replace(string(eve), w.eve.ID(), w.bob.ID(), 1))}, need: 2, want: ErrSignatories, why: ErrFileChanged},
		"a statement":       {bundles: [][]byte{bob, attested}, need: 2, want: ErrSignatories, why: ErrNotSignature},
		"not a bundle":      {bundles: [][]byte{bob, []byte("{}")}, need: 2, want: ErrSignatories, why: ErrMalformed},
		"too many":          {bundles: make([][]byte, MaxApprovals+1), need: 2, want: ErrTooLarge},
		"revoked key":       {edit: func(d *rootDoc) { d.Revoked.Keys = []string{w.eve.ID()} }, bundles: [][]byte{bob, eve}, need: 2, want: ErrSignatories, why: ErrRevoked},
		"revoked file":      {edit: func(d *rootDoc) { d.Revoked.Digests = []string{hex.EncodeToString(sum[:])} }, bundles: [][]byte{bob, eve}, need: 2, want: ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			edit := c.edit
			if edit == nil {
				edit = func(*rootDoc) {}
			}

			got, err := w.root(1, edit).VerifyFile(t.Context(), content, c.bundles, c.need, noon())
			if !errors.Is(err, c.want) || c.why != nil && !errors.Is(err, c.why) {
				t.Fatalf("got %v, want %v and %v", err, c.want, c.why)
			}
			if c.want == nil && (len(got) != 2 || got[0].Identity != "bob" || got[1].Identity != "eve") {
				t.Errorf("got %v", got)
			}
			if c.want != nil && got != nil {
				t.Errorf("got %v beside an error", got)
			}
		})
	}
}

func TestAStatementIsVerifiedWithTheKeyThatSignedItAndNoOther(t *testing.T) {
	w := newWorld(t)
	b, err := Attest(t.Context(), []byte(provenance), w.ada)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := SignArtifact(t.Context(), []byte(provenance), w.ada)
	if err != nil {
		t.Fatal(err)
	}

	got, err := w.ada.Public().VerifyAttestation(t.Context(), b)
	if err != nil || string(got) != provenance {
		t.Errorf("got %s, %v", got, err)
	}

	for name, c := range map[string]struct {
		bundle []byte
		key    *PrivateKey
		want   error
	}{
		"another key": {b, w.bob, ErrOtherKey},
		"renamed key": {[]byte(strings.Replace(string(b), w.ada.ID(), w.bob.ID(), 1)), w.bob, ErrBadSignature},
		"a signature": {signed, w.ada, ErrNotStatement},
	} {
		if got, err := c.key.Public().VerifyAttestation(t.Context(), c.bundle); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: got %s, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestAttestMakesNothingThatCouldBeTakenForAnApproval(t *testing.T) {
	w := newWorld(t)
	for payload, want := range map[string]error{
		string(statementOf(t)): ErrMeansModules,
		`{}`:                   ErrNotStatement,
		`not JSON`:             ErrNotStatement,
		strings.Replace(provenance, `"https://slsa.dev/provenance/v1"`, `"`+PredicateType+`"`, 1): ErrMeansModules,
		// Some readers take the first of two, others the last.
		strings.Replace(provenance, `"predicateType"`, `"predicateType":"`+PredicateType+`","predicateType"`, 1): ErrNotStatement,
		strings.Replace(provenance, `"predicateType"`, `"PredicateType":"`+PredicateType+`","predicateType"`, 1): ErrNotStatement,
	} {
		if _, err := Attest(t.Context(), []byte(payload), w.ada); !errors.Is(err, want) {
			t.Errorf("%.80s: got %v, want %v", payload, err, want)
		}
	}
}
