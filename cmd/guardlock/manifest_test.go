package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/exit"
)

// TestNothingIsAnsweredUnlessTheLogsAreThoseOfTheManifest: what somebody hands over in
// the place of a cluster's logs is refused by every command before its answer.
func TestNothingIsAnsweredUnlessTheLogsAreThoseOfTheManifest(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := writeFleetLogs("fleet"); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"keygen --no-password --out ada", "keygen --no-password --out grace",
		"module trust-root --author ada=ada.pub --approver grace=grace.pub --out trust.yaml",
		"audit manifest make --cluster payments --dir fleet/gw-a/audit --dir fleet/gw-b/audit -o cluster.yaml",
		"audit manifest sign cluster.yaml --key grace.key",
	} {
		if code := run(t.Context(), strings.Fields(line), nil, io.Discard, io.Discard); code != exit.OK {
			t.Fatalf("%s: exit code %d", line, code)
		}
	}

	// A segment of another log of the same gateway, with that one's tree.
	if err := os.CopyFS("mixed", os.DirFS("fleet/gw-b/audit")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll("mixed/tree"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS("mixed/tree", os.DirFS("fleet/again/audit/tree")); err != nil {
		t.Fatal(err)
	}

	const a, b = " --dir fleet/gw-a/audit", " --dir fleet/gw-b/audit"
	for dirs, want := range map[string]int{
		a + b:                              exit.OK,
		a:                                  exit.NotFound,
		a + " --dir nowhere":               exit.NotFound,
		a + " --dir fleet/again/audit":     exit.Refused, // of a gateway of the same name
		a + b + " --dir fleet/stray/audit": exit.Refused,
		a + " --dir mixed":                 exit.Refused,
	} {
		for _, command := range []string{"audit query", "audit summary", "audit tail", "audit export --format jsonl --output out", "audit verify --without-key"} {
			var out, stderr bytes.Buffer
			line := command + " --manifest cluster.yaml --trust-root trust.yaml" + dirs
			code := run(t.Context(), strings.Fields(line), nil, &out, &stderr)
			if code != want {
				t.Errorf("%s: exit code %d, want %d: %s", line, code, want, &stderr)
			}
			if want != exit.OK && out.Len() > 0 && command != "audit verify --without-key" {
				t.Errorf("%s: it answers %s", line, &out)
			}
		}
	}
}

// writeFleetLogs makes the logs of two gateways that share a partition, and of one that
// nobody knows of. Each has a log key of its own, and a checkpoint.
func writeFleetLogs(dir string) error {
	return errors.Join(
		writeFleetLog(filepath.Join(dir, "gw-a", "audit"), "gw-a", 0),
		writeFleetLog(filepath.Join(dir, "gw-b", "audit"), "gw-b", 4),
		writeFleetLog(filepath.Join(dir, "stray", "audit"), "stray", 8),
		writeFleetLog(filepath.Join(dir, "again", "audit"), "gw-b", 12),
	)
}

func writeFleetLog(dir, node string, base int64) error {
	l, err := audit.Open(dir, audit.Options{Key: testAuditKey, Node: node, Now: func() time.Time { return auditStart }})
	if err != nil {
		return err
	}
	checkpoint, err := testTree(dir, l)
	if err != nil {
		return err
	}
	if err := appendProven(l, base, audit.Ruling{}); err != nil {
		return err
	}
	return errors.Join(checkpoint(), l.Close())
}
