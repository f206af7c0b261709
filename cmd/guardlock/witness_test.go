package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/exit"
)

// witnessOutput runs a witness until its address is known, and returns what it said and
// what ends it.
func witnessOutput(t *testing.T, listen string, args ...string) (lines []string, end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"audit", "witness", "--listen", listen}, args...), strings.NewReader(""), in, io.Discard)
		in.Close()
	}()

	scanner := bufio.NewScanner(out)
	for range 3 {
		if !scanner.Scan() {
			t.Fatalf("it said only %q", lines)
		}
		lines = append(lines, scanner.Text())
	}
	go io.Copy(io.Discard, out) //nolint:errcheck // nothing comes
	return lines, func() int { cancel(); return <-ended }
}

// TestWitnessKeepsItsKey: it makes one at its first start, and ends in order.
func TestWitnessKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	if err := writeProvenLog(filepath.Join(dir, "audit")); err != nil {
		t.Fatal(err)
	}
	args := []string{"--name", "bank.example/witness", "--state", filepath.Join(dir, "state"), "--log-key", filepath.Join(dir, "log.key.pub")}
	first, end := witnessOutput(t, "127.0.0.1:0", args...)
	if !strings.HasPrefix(first[0], "witness  bank.example/witness+") || first[2] != "cosigns  guardlock/gw/0011" {
		t.Errorf("%q", first)
	}

	resp, err := http.Post(strings.TrimPrefix(first[1], "listens  ")+"/add-checkpoint", "text/plain", strings.NewReader("nonsense"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("nonsense is answered with %s", resp.Status)
	}
	if code := end(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}

	again, end := witnessOutput(t, "127.0.0.1:0", args...)
	if code := end(); code != exit.OK || again[0] != first[0] {
		t.Errorf("%q after %q, exit code %d", again[0], first[0], code)
	}
	info, err := os.Stat(filepath.Join(dir, "state", "witness.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestWitnessShowsWhatItCosigned: a copy of the log is held against it, and one that is
// another log does not pass.
func TestWitnessShowsWhatItCosigned(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit")
	other := filepath.Join(dir, "other", "audit")
	for _, d := range []string{log, other} {
		if err := writeProvenLog(d); err != nil {
			t.Fatal(err)
		}
	}
	state := filepath.Join(dir, "state")
	signed, err := os.ReadFile(filepath.Join(log, "tree", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}

	said, end := witnessOutput(t, "127.0.0.1:0", "--name", "bank.example/witness", "--state", state, "--log-key", filepath.Join(dir, "log.key.pub"))
	resp, err := http.Post(strings.TrimPrefix(said[1], "listens  ")+"/add-checkpoint", "text/plain", strings.NewReader("old 0\n\n"+string(signed)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if code := end(); code != exit.OK || resp.StatusCode != http.StatusOK {
		t.Fatalf("exit code %d, %s", code, resp.Status)
	}

	note := guardlock(t, exit.OK, "audit", "witness", "--state", state, "--show", "guardlock/gw/0011")
	saysAll(t, note, "guardlock/gw/0011\n", "\n— guardlock/gw/0011 ", "\n— bank.example/witness ")
	var kept struct{ Origin, Note string }
	as := guardlock(t, exit.OK, "audit", "witness", "--state", state, "--show", "guardlock/gw/0011", "--json")
	if err := json.Unmarshal([]byte(as), &kept); err != nil || kept.Origin != "guardlock/gw/0011" || kept.Note != note {
		t.Errorf("as JSON it is %s: %v", as, err)
	}

	seen := filepath.Join(dir, "seen.checkpoint")
	if err := os.WriteFile(seen, []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	guardlock(t, exit.OK, "audit", "verify", "--dir", log, "--without-key", "--log-key", filepath.Join(dir, "log.key.pub"), "--since", seen)
	guardlock(t, exit.Refused, "audit", "verify", "--dir", other, "--without-key", "--log-key", filepath.Join(dir, "other", "log.key.pub"), "--since", seen)
	saysAll(t, guardlock(t, exit.NotFound, "audit", "witness", "--state", state, "--show", "guardlock/gw/0012"), "cosigned nothing of that log")
}
