//go:build slow

package tree_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
)

// TestSecondVerifierAgrees: tools/verify.py, which has no line of ours, accepts a
// thousand proofs, and refuses a thousand of which one bit was changed. Needs
// python3 with cryptography, as $GUARDLOCK_PYTHON or on PATH.
func TestSecondVerifierAgrees(t *testing.T) {
	const proofs = 1000
	s := newSite(t, audit.Options{SegmentBytes: 32 << 10, InsecureNoSync: true})
	s.admit()
	authority := s.serve()
	var decisions []uint64
	for i := range proofs {
		decisions = append(decisions, s.produce(int64(3*i)))
	}
	s.flush()
	s.checkpoint()

	dir := t.TempDir()
	args := []string{filepath.Join("..", "..", "tools", "verify.py"), filepath.Join(dir, "key")}
	if err := os.WriteFile(args[1], []byte(s.public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for i, seq := range decisions {
		nth := rand.IntN(3)
		w := wanted(seq, int64(3*i+nth))
		w.Authority = authority
		b, err := s.prove(w).Encode()
		if err != nil {
			t.Fatal(err)
		}
		good := put(t, dir, fmt.Sprintf("%d.good", i), b)
		args = append(args, good)
		said[good] = fmt.Sprintf("proven: every offset from %[1]d to %[1]d: %s, by ", 3*i+nth, []string{"1 passed", "1 modified gdpr.masked", "1 modified gdpr.masked"}[nth])
		at := len(`{ "format": "guardlock evidence v1", `) + 120 // behind the record: another place may be as true
		b[at+rand.IntN(len(b)-at)] ^= 1 << rand.IntN(8)
		args = append(args, put(t, dir, fmt.Sprintf("%d.bad", i), b))
	}

	out := python(args)
	seen := 0
	for line := range strings.Lines(string(out)) {
		path, verdict, _ := strings.Cut(line, ": ")
		want, good := said[path]
		if good != strings.HasPrefix(verdict, "proven: ") || good && !strings.HasPrefix(verdict, want) {
			t.Errorf("%s", line)
		}
		seen++
	}
	if seen != 2*proofs {
		t.Errorf("%d verdicts on %d files: %s", seen, 2*proofs, out[:min(len(out), 500)])
	}
}

// TestSecondVerifierAgreesOnRanges: the same of certificates of random ranges, by one log
// and by those of two gateways, of both versions.
func TestSecondVerifierAgreesOnRanges(t *testing.T) {
	const batches = 300
	one := newSiteOf(t, "guardlock.test/one", audit.Options{SegmentBytes: 16 << 10, InsecureNoSync: true})
	pair := []*site{
		newSiteOf(t, "guardlock.test/a", audit.Options{SegmentBytes: 16 << 10, InsecureNoSync: true}),
		newSiteOf(t, "guardlock.test/b", audit.Options{SegmentBytes: 16 << 10, InsecureNoSync: true}),
	}
	keys := ""
	for _, s := range append(pair, one) {
		keys += s.public + "\n"
		s.admit()
		s.begin(0, 0, 9)
	}
	for i := range batches {
		if i >= 3 && i%20 != 7 { // the others are gaps
			one.produce(int64(3 * i))
			pair[rand.IntN(2)].produce(int64(3 * i))
			if i%50 == 0 {
				pair[rand.IntN(2)].serveUnder(byte(i / 50))
			}
		}
	}
	for _, s := range append(pair, one) {
		s.flush()
		s.checkpoint()
	}

	dir := t.TempDir()
	args := []string{filepath.Join("..", "..", "tools", "verify.py"), put(t, dir, "key", []byte(keys))}
	const ranges = 100
	for i := range ranges {
		sites := pair
		if i%3 == 0 {
			sites = []*site{one}
		}
		first := rand.Int64N(3*batches - 30)
		w := wantedRange(first, first+10+rand.Int64N(3*batches-first-10))
		w.Ask = toldOf(evidence.GapMarker)
		c, err := certifyAll(t, w, sites...)
		if err != nil {
			t.Fatal(err)
		}
		if i%6 == 0 {
			c.Format = evidence.FirstRangeFormat
		}

		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, put(t, dir, fmt.Sprintf("%d.good", i), b))
		at := bytes.Index(b, []byte(`"checkpoint"`)) // behind the range: a part of it is as true
		b[at+rand.IntN(len(b)-at)] ^= 1 << rand.IntN(8)
		args = append(args, put(t, dir, fmt.Sprintf("%d.bad", i), b))
	}
	bad := wrongCertificates(t, pair[0], pair[1])
	for what, b := range bad {
		args = append(args, put(t, dir, strings.ReplaceAll(what, " ", "-")+".bad", b))
	}

	seen := 0
	for line := range strings.Lines(string(python(args))) {
		path, verdict, _ := strings.Cut(line, ": ")
		if strings.HasSuffix(path, ".good") != strings.HasPrefix(verdict, "proven: every offset from ") {
			t.Errorf("%s", line)
		}
		seen++
	}
	if seen != 2*ranges+len(bad) {
		t.Errorf("%d verdicts on %d files", seen, 2*ranges+len(bad))
	}
}

// wrongCertificates are written as the program writes them, and claim what their logs do
// not say together.
func wrongCertificates(t *testing.T, a, b *site) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for what, change := range map[string]func(*evidence.Certificate){
		"a log twice":             func(c *evidence.Certificate) { c.Logs = append(c.Logs, c.Logs[1]) },
		"logs out of their order": func(c *evidence.Certificate) { c.Logs[0], c.Logs[1] = c.Logs[1], c.Logs[0] },
		"one log left out":        func(c *evidence.Certificate) { c.Logs = c.Logs[:1] },
		"a gap beyond the era":    func(c *evidence.Certificate) { c.Gaps[0].Last++ },
		"no era needed":           func(c *evidence.Certificate) { c.Gaps[0].Kind = evidence.GapRetention },
		"the first version":       func(c *evidence.Certificate) { c.Format = evidence.FirstRangeFormat; c.Logs = c.Logs[:1] },
		"another checkpoint":      func(c *evidence.Certificate) { c.Logs[1].Checkpoint = c.Logs[0].Checkpoint },
		"nothing":                 func(*evidence.Certificate) {},
	} {
		w := wantedRange(2, 300)
		w.Ask = toldOf(evidence.GapMarker)
		w.Names = false
		c, err := certifyAll(t, w, a, b)
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		raw, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if what != "nothing" {
			all[what] = raw
		}
		all["an empty list in "+what] = bytes.Replace(raw, []byte("\n ]\n}"), []byte("\n ],\n \"approvals\": []\n}"), 1)
	}
	return all
}

func python(args []string) []byte {
	program := os.Getenv("GUARDLOCK_PYTHON")
	if program == "" {
		program = "python3"
	}
	out, _ := exec.Command(program, args...).Output()
	return out
}

func put(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
