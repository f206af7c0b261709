//go:build slow

package evidence_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit/evidence"
)

// TestSecondVerifierAgreesOnAuthorities: tools/verify.py takes those that this program
// takes, and refuses the others; in the first version of a certificate, each.
func TestSecondVerifierAgreesOnAuthorities(t *testing.T) {
	python := os.Getenv("GUARDLOCK_PYTHON")
	if python == "" {
		python = "python3"
	}
	for _, format := range []string{evidence.RangeFormat, evidence.FirstRangeFormat} {
		for name, tc := range authorityCases() {
			c, trust := wholeLog(t, format, fourOffsets, tc.leaves...)
			_, err := evidence.VerifyRange(c, trust)
			b, encodeErr := c.Encode()
			if encodeErr != nil {
				t.Fatal(encodeErr)
			}
			path := filepath.Join(t.TempDir(), "range.json")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}

			out, _ := exec.Command(python, "../../tools/verify.py", "testdata/log.key.pub", path).CombinedOutput()
			if proven := strings.Contains(string(out), ": proven: every offset from 0 to 3: "); proven != (err == nil) {
				t.Errorf("%s, %s: the program says %v, and the other verifier %s", format, name, err, out)
			}
		}
	}
}
