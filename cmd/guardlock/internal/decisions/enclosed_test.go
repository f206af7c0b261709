package decisions

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/manifest"
)

// TestAuthoritiesTellWhetherAManifestIsOld: one that was decided under a newer revision, or
// under another text of the same, is refused; one that they name was in force then.
func TestAuthoritiesTellWhetherAManifestIsOld(t *testing.T) {
	m := &manifest.Manifest{Cluster: "payments", Revision: 2}
	own, other := fmt.Sprintf("%x", m.Digest()), strings.Repeat("0", 64)
	decided := time.Date(2020, 1, 15, 12, 0, 0, 0, time.UTC)
	under := func(digest string, revision int) evidence.Served {
		facts := []evidence.Fact{
			{Key: evidence.FactFileRole, Value: evidence.RoleConfiguration}, {Key: evidence.FactFileDigest, Value: "01"},
			{Key: evidence.FactFileRole, Value: manifest.Role}, {Key: evidence.FactFileDigest, Value: digest}, {Key: evidence.FactFileRevision, Value: fmt.Sprint(revision)},
		}
		first := decided.UnixMicro()
		return evidence.Served{InForce: evidence.InForce{Control: &evidence.Control{Facts: facts}}, Decided: evidence.Times{First: first, Last: first + 1}}
	}

	for name, tc := range map[string]struct {
		served []evidence.Served
		old    bool
		named  bool
	}{
		"none":               {nil, false, false},
		"this one":           {[]evidence.Served{under(own, 2)}, false, true},
		"an older one":       {[]evidence.Served{under(other, 1)}, false, false},
		"older, and this":    {[]evidence.Served{under(other, 1), under(own, 2)}, false, true},
		"a newer one":        {[]evidence.Served{under(other, 3)}, true, false},
		"this, and newer":    {[]evidence.Served{under(own, 2), under(other, 3)}, true, true},
		"another of this":    {[]evidence.Served{under(other, 2)}, true, false},
		"one without number": {[]evidence.Served{{InForce: evidence.InForce{Control: &evidence.Control{Facts: under(other, 1).Facts[:4]}}}}, true, false},
	} {
		var e enclosed
		at, err := e.manifestTime(m, &evidence.RangeProof{Logs: []evidence.LogProof{{}, {Served: tc.served}}})
		if tc.old != errors.Is(err, evidence.ErrUnproven) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (tc.named != at.Equal(decided) || tc.named != (e.missing == "")) {
			t.Errorf("%s: it was in force %s, and not proven is %q", name, at, e.missing)
		}
	}
}
