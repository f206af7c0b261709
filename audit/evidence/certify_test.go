package evidence_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit/evidence"
)

// wholeLog is a certificate that encloses each entry of a log which says them in this
// order, and who trusts that log.
func wholeLog(t *testing.T, format string, r evidence.Range, leaves ...evidence.Leaf) (*evidence.Certificate, *evidence.Trust) {
	t.Helper()
	var stored hashReader
	var indexes []int64
	var raw [][]byte
	for i := range leaves {
		indexes = append(indexes, int64(i))
		raw = append(raw, leaves[i].Append(nil))
		hashes, err := tlog.StoredHashes(int64(i), raw[i], stored)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
	}

	signer, public := vectorSigner(t, "vectors.example/log", 0)
	section := evidence.Section{Checkpoint: string(vectorCheckpoint(t, signer, int64(len(leaves)), stored))}
	if err := section.Pack(indexes, raw, nil); err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return &evidence.Certificate{Format: format, Range: r, Logs: []evidence.Section{section}}, &evidence.Trust{Logs: []note.Verifier{verifier}}
}

// decided are a decision of a batch of two records without a module, and its placement.
func decided(seq uint64, base int64) []evidence.Leaf {
	where := evidence.Coord{Cluster: "main", Topic: "customers"}
	return []evidence.Leaf{
		{Decision: &evidence.Decision{Seq: seq, Time: int64(seq), Outcome: 1, Where: where, Payload: evidence.Payload{Records: 2}}},
		{Placement: &evidence.Placement{Decision: seq, Where: where, Base: base, Records: 2, LeaderEpoch: -1}},
	}
}

// servesUnder is an authority with a configuration; without one where it is 0.
func servesUnder(outcome string, configuration byte) evidence.Leaf {
	facts := []evidence.Fact{{Key: evidence.FactFileRole, Value: evidence.RolePolicy}, {Key: evidence.FactFileDigest, Value: "02"}}
	if configuration > 0 {
		facts = append(facts, evidence.Fact{Key: evidence.FactFileRole, Value: evidence.RoleConfiguration}, evidence.Fact{Key: evidence.FactFileDigest, Value: fmt.Sprintf("%02x", configuration)})
	}
	return evidence.Leaf{Control: &evidence.Control{Kind: evidence.KindAuthority, Outcome: outcome, Facts: facts}}
}

type authorityCase struct {
	leaves []evidence.Leaf
	served []int // decisions under each
	says   string
}

// authorityCases are logs of two decisions, and of authorities before, between and behind
// them.
func authorityCases() map[string]authorityCase {
	first, second := decided(1, 0), decided(2, 2)
	under := func(configuration byte) evidence.Leaf { return servesUnder(evidence.OutcomeInForce, configuration) }
	return map[string]authorityCase{
		"none":                  {[]evidence.Leaf{first[0], first[1], second[0], second[1]}, nil, ""},
		"one of both":           {[]evidence.Leaf{under(1), first[0], first[1], second[0], second[1]}, []int{2}, ""},
		"one of the second":     {[]evidence.Leaf{first[0], under(1), first[1], second[0], second[1]}, []int{1}, ""},
		"one of each":           {[]evidence.Leaf{under(1), first[0], under(2), second[0], first[1], second[1]}, []int{1, 1}, ""},
		"one before another":    {[]evidence.Leaf{under(1), under(2), first[0], first[1], second[0], second[1]}, nil, "nothing was decided under the authority of entry 0"},
		"one behind":            {[]evidence.Leaf{under(1), first[0], second[0], under(2), first[1], second[1]}, nil, "nothing was decided under the authority of entry 3"},
		"one that was not":      {[]evidence.Leaf{servesUnder("refused", 1), first[0], first[1], second[0], second[1]}, nil, "entry 0 is no authority that was in force"},
		"without configuration": {[]evidence.Leaf{under(0), first[0], first[1], second[0], second[1]}, nil, "entry 0 does not say under which configuration"},
	}
}

// fourOffsets are what both decisions are about.
var fourOffsets = evidence.Range{Cluster: "main", Topic: "customers", Last: 3}

// TestAuthorityOfACertificateIsThatOfADecision: the last one before it. What nothing was
// decided under, was not in force, or names no configuration, has no place.
func TestAuthorityOfACertificateIsThatOfADecision(t *testing.T) {
	for name, tc := range authorityCases() {
		t.Run(name, func(t *testing.T) {
			c, trust := wholeLog(t, evidence.RangeFormat, fourOffsets, tc.leaves...)
			p, err := evidence.VerifyRange(c, trust)
			if tc.says != "" {
				if !errors.Is(err, evidence.ErrUnproven) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("it says %v; want %s", err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			log := &p.Logs[0]
			got, all := "", log.Unserved
			for i := range log.Served {
				got += fmt.Sprint(log.Served[i].Decisions)
				all += log.Served[i].Decisions
			}
			if want := strings.Trim(strings.ReplaceAll(fmt.Sprint(tc.served), " ", ""), "[]"); got != want || all != 2 {
				t.Errorf("%s of %d decisions; want %s", got, all, want)
			}
		})
	}

	c, trust := wholeLog(t, evidence.FirstRangeFormat, fourOffsets, authorityCases()["one of both"].leaves...)
	if _, err := evidence.VerifyRange(c, trust); !errors.Is(err, evidence.ErrUnproven) {
		t.Errorf("the first version: %v", err)
	}
}
