package main

import (
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/ops"
)

// TestStatusSaysWhatWentAround: whoever reads it sees what must not be, where, and what
// could not be looked at.
func TestStatusSaysWhatWentAround(t *testing.T) {
	now := time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)
	for want, r := range map[string]*ops.Reconciled{
		"": nil,
		"cluster main was not compared with its decisions yet (audit.reconcile)\n": {Every: 60},
		"cluster main was compared with its decisions 5m0s ago: complete, 2 partitions, 9 offsets\n": {
			Outcome: "complete", Ended: now.Add(-5 * time.Minute), Partitions: 2, Offsets: 9, Classes: map[string]int64{"marker": 3},
		},
		"cluster main was compared with its decisions 1s ago: bypass, 2 partitions, 1 offset\n" +
			"  WHAT MUST NOT BE: 1 offset of records without a decision, 0 that decisions name beyond the end\n": {
			Outcome: "bypass", Ended: now.Add(-time.Second), Partitions: 2, Offsets: 1, Classes: map[string]int64{"bypass": 1},
		},
		"cluster main was compared with its decisions 1s ago: acknowledged, 2 partitions, 1 offset\n" +
			"  acknowledged: 1 offset of records without a decision; guardlock audit query --kind acknowledgement tells by whom\n" +
			"  acknowledged t/0 3-3\n": {
			Outcome: "acknowledged", Ended: now.Add(-time.Second), Partitions: 2, Offsets: 1, Classes: map[string]int64{"acknowledged": 1},
			Places: []string{"acknowledged t/0 3-3"},
		},
		"cluster main was compared with its decisions 1s ago: bypass, 1 partition, 9 offsets\n" +
			"  WHAT MUST NOT BE: 2 offsets of records without a decision, 1 that decisions name beyond the end\n" +
			"  bypass t/0 3-4\n" +
			"  NOT CONCLUDED: \\x1b[m; last concluded 2030-01-15 11:00 UTC\n": {
			Outcome: "bypass", Ended: now.Add(-time.Second), Partitions: 1, Offsets: 9, Classes: map[string]int64{"bypass": 2, "beyond": 1},
			Places: []string{"bypass t/0 3-4"}, Problem: "\x1b[m", Concluded: now.Add(-time.Hour),
		},
	} {
		var out strings.Builder
		if err := writeReconciled(&out, &ops.Cluster{Name: "main", Reconciled: r}, now); err != nil || out.String() != want {
			t.Errorf("%q, want %q; %v", out.String(), want, err)
		}
	}
}

// TestStatusSaysWhichManifestHolds: a file that cannot be used is not taken for the one
// that is in force, and each signature that does not count has a line.
func TestStatusSaysWhichManifestHolds(t *testing.T) {
	const problem = "too few signed it\nsignature 1: \x1b[m\nsignature 2: other bytes"
	const lines = ": too few signed it\n  signature 1: \\x1b[m\n  signature 2: other bytes\n"
	before := ops.Manifest{File: "c.yaml", Cluster: "payments", Revision: 3, Digest: "0123456789abcdef", Signers: []string{"grace"}}
	both := before
	both.Problem = problem
	const first = "manifest c.yaml 0123456789ab: cluster payments, revision 3, signed by grace\n"

	for want, m := range map[string]*ops.Manifest{
		"":    nil,
		first: &before,
		first + "MANIFEST NOT IN FORCE, and the one above stays" + lines: &both,
		"MANIFEST NOT IN FORCE" + lines:                                  {File: "c.yaml", Problem: problem},
	} {
		var out strings.Builder
		if err := writeManifest(&out, m); err != nil || out.String() != want {
			t.Errorf("%q, want %q; %v", out.String(), want, err)
		}
	}
}
