//go:build slow

package evidence_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit/evidence"
)

// python has the package that the second verifier needs.
func python() string {
	return cmp.Or(os.Getenv("GUARDLOCK_PYTHON"), "python3")
}

// TestSecondVerifierAgreesOnAuthorities: tools/verify.py takes those that this program
// takes, and refuses the others; in the first version of a certificate, each.
func TestSecondVerifierAgreesOnAuthorities(t *testing.T) {
	python := python()
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
	python := python()
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
	python := python()
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

// TestSecondVerifierAgreesOnChangedFields: of files in which a field was left out, doubled,
// or has another's value, each verifier says what the other says.
func TestSecondVerifierAgreesOnChangedFields(t *testing.T) {
	const files = 2000
	python := python()
	keys, err := os.ReadFile("testdata/logs.key.pub")
	if err != nil {
		t.Fatal(err)
	}
	trust := new(evidence.Trust)
	for key := range strings.FieldsSeq(string(keys)) {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		trust.Logs = append(trust.Logs, verifier)
	}

	var whole [][]string
	pool := []string{"true", "false", "null", "0", "1", "-1", "1.5", `""`, "[]", "{}", `"x"`}
	for _, name := range []string{"record.json", "range.json", "logs.json"} {
		raw, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(raw), "\n")
		whole = append(whole, lines)
		pool = append(pool, lines...)
	}

	dir := t.TempDir()
	args := []string{"../../tools/verify.py", "testdata/logs.key.pub"}
	proven := make(map[string]error)
	for n := range files {
		b := []byte(withChange(whole[rand.IntN(len(whole))], pool))
		path := filepath.Join(dir, strconv.Itoa(n))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
		proven[path] = provenBy(b, trust)
	}

	out, _ := exec.Command(python, args...).Output()
	for line := range strings.Lines(string(out)) {
		path, verdict, _ := strings.Cut(line, ": ")
		err, known := proven[path]
		if known && strings.HasPrefix(verdict, "proven: ") != (err == nil) {
			b, _ := os.ReadFile(path)
			t.Errorf("the program says %v, and the other verifier %s of\n%s", err, verdict, b)
		}
		delete(proven, path)
	}
	if len(proven) > 0 {
		t.Errorf("no verdict on %d files: %s", len(proven), out[:min(len(out), 500)])
	}
}

// withChange is a file, whose fields have lines of their own, with one of them changed: it
// is left out, doubled, put elsewhere, or has another name or value.
func withChange(lines, pool []string) string {
	lines = slices.Clone(lines)
	at := rand.IntN(len(lines) - 1)
	other := pool[rand.IntN(len(pool))]
	name, value, field := strings.Cut(lines[at], ": ")

	switch rand.IntN(6) {
	case 0:
		lines = slices.Delete(lines, at, at+1)
	case 1:
		lines = slices.Insert(lines, at, lines[at])
	case 2:
		to := rand.IntN(len(lines) - 1)
		lines[at], lines[to] = lines[to], lines[at]
	case 3:
		lines = slices.Insert(lines, at, other)
	case 4:
		if _, of, ok := strings.Cut(other, ": "); ok {
			other = of
		}
		lines[at] = name + ": " + strings.TrimRight(other, ",\n") + value[len(strings.TrimRight(value, ",\n")):]
	default:
		if of, _, ok := strings.Cut(other, ": "); ok && field {
			lines[at] = of + ": " + value
		}
	}
	return strings.Join(lines, "")
}

func provenBy(b []byte, trust *evidence.Trust) error {
	if evidence.IsCertificate(b) {
		c, err := evidence.DecodeCertificate(b)
		if err == nil {
			_, err = evidence.VerifyRange(c, trust)
		}
		return err
	}

	f, err := evidence.Decode(b)
	if err == nil {
		_, err = evidence.Verify(f, trust)
	}
	return err
}
