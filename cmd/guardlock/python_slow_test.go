//go:build slow

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/exit"
)

// TestSecondVerifierReadsWhatTheCommandWrites: tools/verify.py says of files that `audit
// prove` wrote what the command says, and checks the enclosed approvals by a trust root.
// Needs python3 with cryptography, as $GUARDLOCK_PYTHON or on PATH.
func TestSecondVerifierReadsWhatTheCommandWrites(t *testing.T) {
	verifier, err := filepath.Abs("../../tools/verify.py")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for dir, write := range map[string]func(string) error{"proven/audit": writeProvenLog, "eras/audit": writeErasLog} {
		if err := write(dir); err != nil {
			t.Fatal(err)
		}
	}

	const by = ", by [('fraud', 'ada@example.com', ['grace@example.com', 'linus@example.com'])]"
	for _, tc := range []struct{ log, stranger, what, says string }{
		{"proven", "eras", "payments/0@100", "offset from 100 to 100: 1 passed" + by},
		{"proven", "eras", "payments/0@102", "offset from 102 to 102: 1 modified verdict_header" + by},
		{"proven", "eras", "payments/0@102 --redacted", "from ['redacted']"},
		{"proven", "eras", "payments/0@102 --stamped", "from ['"},
		{"proven", "eras", "payments/0@103", "offset from 103 to 103: 1 routed score_high" + by},
		{"proven", "eras", "alerts/0@7", "offset from 7 to 7: 1 routed score_high" + by},
		{"proven", "eras", "payments/0 --offsets 100-103", "offset from 100 to 103: 2 passed, 1 modified verdict_header, 1 routed score_high" + by},
		{"eras", "proven", "payments/0 --offsets 98-105", "offset from 98 to 105, but 98 to 99 before-era: 5 passed, 1 modified verdict_header" + by},
	} {
		file := strings.NewReplacer("/", "-", " ", "").Replace(tc.what) + ".json"
		args := strings.Fields(fmt.Sprintf("audit prove %s --dir %s/audit -o %s", tc.what, tc.log, file))
		if code := run(t.Context(), args, nil, io.Discard, io.Discard); code != exit.OK {
			t.Fatalf("%q: exit code %d", args, code)
		}

		key := tc.log + "/log.key.pub"
		for _, c := range []struct {
			args []string
			says string
		}{
			{[]string{key, file}, tc.says},
			{[]string{"--trust-root", tc.log + "/trust.json", key, file}, ", who signed"},
			{[]string{"--trust-root", tc.log + "/strangers.json", key, file}, ": not proven: an approval does not hold"},
			{[]string{tc.stranger + "/log.key.pub", file}, ": not proven: this log did not sign it"},
		} {
			if out := second(t, append([]string{verifier}, c.args...)...); !strings.Contains(out, c.says) {
				t.Errorf("%q says %s; want %s", c.args, out, c.says)
			}
		}
	}
}

// TestSecondVerifierReadsCertificatesOfLogs: of two gateways, by the keys of both.
func TestSecondVerifierReadsCertificatesOfLogs(t *testing.T) {
	verifier, err := filepath.Abs("../../tools/verify.py")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := writePairLogs("pair"); err != nil {
		t.Fatal(err)
	}
	var keys []byte
	for _, gateway := range []string{"a", "b"} {
		b, err := os.ReadFile(filepath.Join("pair", gateway, "log.key.pub"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, b...)
	}
	if err := os.WriteFile("keys", keys, 0o600); err != nil {
		t.Fatal(err)
	}

	args := strings.Fields("audit prove payments/0 --offsets 98-115 --dir pair/b/audit --dir pair/a/audit -o pair.json")
	if code := run(t.Context(), args, nil, io.Discard, io.Discard); code != exit.OK {
		t.Fatalf("exit code %d", code)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"keys", "pair.json"}, "offset from 98 to 115, but 98 to 99 before-era: 12 passed, 4 modified verdict_header, by ["},
		{[]string{"--trust-root", "pair/a/trust.json", "keys", "pair.json"}, ", who signed, configuration 0100"},
		{[]string{"--trust-root", "pair/a/strangers.json", "keys", "pair.json"}, ": not proven: an approval does not hold"},
		{[]string{"pair/a/log.key.pub", "pair.json"}, ": not proven: this log did not sign it"},
	} {
		if out := second(t, append([]string{verifier}, c.args...)...); !strings.Contains(out, c.says) {
			t.Errorf("%q says %s; want %s", c.args, out, c.says)
		}
	}
}

// second runs the second verifier, whose exit code must be that of its words.
func second(t *testing.T, args ...string) string {
	t.Helper()
	python := os.Getenv("GUARDLOCK_PYTHON")
	if python == "" {
		python = "python3"
	}
	var out, stderr bytes.Buffer
	c := exec.Command(python, args...)
	c.Stdout = &out
	c.Stderr = &stderr
	err := c.Run()
	if bad := strings.Contains(out.String(), ": not proven: "); bad != (c.ProcessState.ExitCode() == 3) || stderr.Len() > 0 {
		t.Errorf("%q: %v, and it says %s%s", args, err, &out, &stderr)
	}
	return out.String()
}

// TestSecondVerifierProvesTheVectors: those that docs/evidence.md names.
func TestSecondVerifierProvesTheVectors(t *testing.T) {
	const vectors = "../../audit/evidence/testdata/"
	for file, says := range map[string]string{
		"record.json": "proven: every offset from 41 to 41: 1 modified gdpr.masked, by ",
		"range.json":  "proven: every offset from 40 to 41: 1 passed, 1 modified gdpr.masked, by ",
		"logs.json":   "proven: every offset from 40 to 43: 2 passed, 2 modified gdpr.masked, by ",
	} {
		if out := second(t, "../../tools/verify.py", vectors+"logs.key.pub", vectors+file); !strings.Contains(out, says) {
			t.Errorf("%s: it says %s; want %s", file, out, says)
		}
	}
}
