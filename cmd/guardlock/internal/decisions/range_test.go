package decisions

import (
	"testing"

	"github.com/guardlock/guardlock/audit/evidence"
)

// TestBatchesWithoutAuthorityAreSaidToBeUnproven, those of all logs together.
func TestBatchesWithoutAuthorityAreSaidToBeUnproven(t *testing.T) {
	for _, tc := range []struct {
		unserved [2]int
		want     string
	}{
		{[2]int{0, 0}, ""},
		{[2]int{1, 0}, "the configuration, policy and trust root behind 1 batch of the range, which the log does not say;\n"},
		{[2]int{2, 3}, "the configuration, policy and trust root behind 5 batches of the range, which the log does not say;\n"},
	} {
		p := &evidence.RangeProof{Logs: []evidence.LogProof{{Unserved: tc.unserved[0]}, {Unserved: tc.unserved[1]}}}
		if got := unservedText(p); got != tc.want {
			t.Errorf("%v: %q; want %q", tc.unserved, got, tc.want)
		}
	}
}
