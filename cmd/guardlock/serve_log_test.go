package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/exit"
)

// guardlock runs a command and returns what it printed.
func guardlock(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out gatewayLog
	if code := run(t.Context(), args, nil, &out, &out); code != want {
		t.Fatalf("%v: exit code %d, want %d:\n%s", args, code, want, &out)
	}
	return out.String()
}

// logWorld is a directory with the log of gateway gw in it, its key, and
// configurations.
func logWorld(t *testing.T, configs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := writeSegmentsLog(filepath.Join(dir, "data", "audit")); err != nil {
		t.Fatal(err)
	}
	if err := writeAuditKey(filepath.Join(dir, "data", "audit.key")); err != nil {
		t.Fatal(err)
	}

	files := map[string]string{"new.key": strings.Repeat("5a", 32)}
	for name, text := range configs {
		files[name] = "listen: {address: \"127.0.0.1:0\"}\nbroker: {embedded: {insecure_no_sync: true}}\n" + text
	}

	writeFiles(t, dir, 0o600, files)
	return dir
}

func serveAndStop(t *testing.T, path string) {
	t.Helper()
	if code := serveConfig(t, path, 1).stop(); code != exit.OK {
		t.Errorf("%s: exit code %d", path, code)
	}
}

// Whoever reads the log of a gateway sees what ran, with which configuration, and whether
// it ended in order.
func TestTheLogSaysWhatStartedAndThatItWasToldToEnd(t *testing.T) {
	dir := logWorld(t, map[string]string{"gw.yaml": "node: gw\n"})
	path := filepath.Join(dir, "gw.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	s := serveConfig(t, path, 1)
	if code := s.stop(); code != exit.OK {
		t.Fatalf("exit code %d", code)
	}
	log := s.log.String()
	for _, want := range []string{
		"the gateway starts",
		fmt.Sprintf("\"configuration\": \"%x\"", sha256.Sum256(raw)),
		"insecure_no_sync",
		"the gateway was told to end",
		"the gateway has ended",
	} {
		at := strings.Index(log, want)
		if at < 0 {
			t.Fatalf("not said, or not in this order: %s\n%s", want, s.log)
		}
		log = log[at:]
	}
}

// A log of another gateway, under another key, is continued where the
// configuration says so; afterwards it is this gateway's own.
func TestServeContinuesTheLogThatItIsToldTo(t *testing.T) {
	dir := logWorld(t, map[string]string{
		"once.yaml": "node: other\naudit: {adopt: gw, key_file: new.key, previous_key_file: data/audit.key}\n",
		"then.yaml": "node: other\naudit: {key_file: new.key}\n",
	})

	serveAndStop(t, filepath.Join(dir, "once.yaml"))
	serveAndStop(t, filepath.Join(dir, "then.yaml"))

	log := filepath.Join(dir, "data", "audit")
	both := []string{"audit", "verify", "--dir", log, "--audit-key", filepath.Join(dir, "data", "audit.key"), "--audit-key", filepath.Join(dir, "new.key")}
	if out := guardlock(t, exit.OK, both...); !strings.Contains(out, "intact: ") {
		t.Errorf("verify says:\n%s", out)
	}

	guardlock(t, exit.Refused, "audit", "verify", "--dir", log)
}

// Of two gateways on one directory the second does not start, with or without the
// first one's lock file.
func TestServeLeavesALogAloneThatAnotherWrites(t *testing.T) {
	dir := logWorld(t, map[string]string{"guardlock.yaml": "node: gw\n"})
	config := filepath.Join(dir, "guardlock.yaml")
	first := serveConfig(t, config, 1)

	for range 2 {
		if out := guardlock(t, exit.Failure, "serve", "--config", config); !strings.Contains(out, "in use by another gateway") || !strings.Contains(out, "hint: give each gateway a directory of its own") {
			t.Errorf("the second says:\n%s", out)
		}
		if err := os.RemoveAll(filepath.Join(dir, "data", "audit", "lock")); err != nil {
			t.Fatal(err)
		}
	}

	if code := first.stop(); code != exit.OK {
		t.Errorf("the first ended with code %d", code)
	}
	guardlock(t, exit.OK, "audit", "verify", "--dir", filepath.Join(dir, "data", "audit"))
}

// A log is pruned beside the gateway that writes it, and goes on.
func TestPruneBesideServe(t *testing.T) {
	dir := logWorld(t, map[string]string{"guardlock.yaml": "node: gw\n"})
	config := filepath.Join(dir, "guardlock.yaml")
	log := filepath.Join(dir, "data", "audit")
	s := serveConfig(t, config, 1)

	if out := guardlock(t, exit.OK, "audit", "prune", "--dir", log, "--before", "2030-01-15T13:00:00Z"); !strings.Contains(out, "removed segments 1 to ") {
		t.Errorf("prune says:\n%s", out)
	}
	guardlock(t, exit.OK, "audit", "verify", "--dir", log)
	guardlock(t, exit.OK, "audit", "query", "--dir", log, "--kind", "open")

	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}

	serveAndStop(t, config)
	if out := guardlock(t, exit.OK, "audit", "verify", "--dir", log); !strings.Contains(out, "by an anchor of ") {
		t.Errorf("verify says:\n%s", out)
	}
}
