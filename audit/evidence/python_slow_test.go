//go:build slow

package evidence_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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

// TestSecondVerifierSaysHowItIsUsed: whoever gives it no file of evidence, or a trust root
// that is not JSON, has proven nothing, and is told what it takes.
func TestSecondVerifierSaysHowItIsUsed(t *testing.T) {
	python := os.Getenv("GUARDLOCK_PYTHON")
	if python == "" {
		python = "python3"
	}
	yaml := filepath.Join(t.TempDir(), "trust.yaml")
	if err := os.WriteFile(yaml, []byte("authors: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	const key, file = "testdata/log.key.pub", "testdata/range.json"
	for _, tc := range []struct {
		args []string
		says string
	}{
		{nil, "usage: verify.py"},
		{[]string{"--help"}, "usage: verify.py"},
		{[]string{key}, "usage: verify.py"},
		{[]string{"--trust-root", yaml, key}, "usage: verify.py"},
		{[]string{"--trust-root", yaml, key, file}, "JSON"},
		{[]string{"missing.pub", file}, "missing.pub"},
	} {
		out, err := exec.Command(python, append([]string{"../../tools/verify.py"}, tc.args...)...).CombinedOutput()
		text := string(out)
		if err == nil || !strings.Contains(text, tc.says) || strings.Contains(text, "Traceback") || strings.Contains(text, ": proven: ") {
			t.Errorf("%v: %v, %s; want %q", tc.args, err, text, tc.says)
		}
	}

	out, err := exec.Command(python, "../../tools/verify.py", key, file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), ": proven: ") {
		t.Errorf("a file that proves: %v, %s", err, out)
	}
}

// TestSecondVerifierReadsTheLeavesOfTheDocument: each that docs/evidence.md has, of every
// kind.
func TestSecondVerifierReadsTheLeavesOfTheDocument(t *testing.T) {
	python := os.Getenv("GUARDLOCK_PYTHON")
	if python == "" {
		python = "python3"
	}
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}

	leaves := regexp.MustCompile(`(?m)^(?:other )?leaf(?: \d)?: ([0-9a-f]+)$`).FindAllSubmatch(page, -1)
	var in, want strings.Builder
	for _, leaf := range leaves {
		in.WriteString(string(leaf[1]) + "\n")
		kind, err := strconv.ParseUint(string(leaf[1][36:38]), 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		if evidence.Kind(kind) == evidence.KindStanding {
			kind = uint64(evidence.KindAdmission) // it counts as what it repeats
		}
		fmt.Fprintln(&want, kind)
	}

	c := exec.Command(python, "-B", "-c", `import sys; sys.path.insert(0, "../../tools"); import verify
for line in sys.stdin: print(verify.parse("", 0, bytes.fromhex(line))["kind"])`)
	c.Stdin = strings.NewReader(in.String())
	out, err := c.CombinedOutput()
	if err != nil || string(out) != want.String() || len(leaves) < 16 {
		t.Errorf("%v, %d leaves: %s; want %s", err, len(leaves), out, &want)
	}
}
