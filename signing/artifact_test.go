package signing

import (
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
