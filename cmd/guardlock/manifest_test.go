package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// listedConfig is that of each gateway of a cluster with a manifest.
const listedConfig = `
node_variable: GUARDLOCK_TEST_NODE
listen: {address: "127.0.0.1:0"}
broker: {embedded: {insecure_no_sync: true}}
trust: {root: ../trust.yaml}
audit: {insecure_no_sync: true, manifest: {file: ../cluster.yaml}}
ops: {address: "127.0.0.1:0"}
`

// TestGatewaysOfAClusterServeOnceASignedManifestHasThem goes the way of an operator: each
// first start makes a log and fails, the logs are put into a manifest, approvers sign it,
// and all serve under it. What is in force then shows in status, fleet and decision log.
func TestGatewaysOfAClusterServeOnceASignedManifestHasThem(t *testing.T) {
	t.Chdir(t.TempDir())
	do := func(want int, line string) string {
		t.Helper()
		var out bytes.Buffer
		if code := run(context.WithoutCancel(t.Context()), strings.Fields(line), nil, &out, &out); code != want {
			t.Fatalf("%s: exit code %d, want %d: %s", line, code, want, &out)
		}
		return out.String()
	}

	do(exit.OK, "keygen --no-password --out ada")
	do(exit.OK, "keygen --no-password --out grace")
	do(exit.OK, "module trust-root --author ada=ada.pub --approver grace=grace.pub --out trust.yaml")
	nodes := []string{"gw-a", "gw-b"}
	for _, node := range nodes {
		if err := os.Mkdir(node, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(node+"/guardlock.yaml", []byte(listedConfig), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GUARDLOCK_TEST_NODE", node)
		if out := do(exit.Failure, "serve --config "+node+"/guardlock.yaml"); !strings.Contains(out, "hint: the gateway's log is there now: put it into the manifest") {
			t.Errorf("%s: the first start says %s", node, out)
		}
	}

	do(exit.OK, "audit manifest make --cluster payments --dir gw-a/data/audit -o cluster.yaml")
	do(exit.OK, "audit manifest sign cluster.yaml --key grace.key")
	do(exit.OK, "audit manifest make --cluster payments --dir gw-a/data/audit -o old.yaml")
	do(exit.OK, "audit manifest sign old.yaml --key grace.key")
	if out := do(exit.Failure, "serve --config gw-b/guardlock.yaml"); !strings.Contains(out, "has no gateway gw-b") {
		t.Errorf("a gateway that is not listed: %s", out)
	}
	do(exit.OK, "audit manifest make --from cluster.yaml --dir gw-b/data/audit -o cluster.yaml")
	if out := do(exit.Failure, "serve --config gw-b/guardlock.yaml"); !strings.Contains(out, "hint: have approvers of the trust root sign it") {
		t.Errorf("a manifest that was changed since: %s", out)
	}
	do(exit.OK, "audit manifest sign cluster.yaml --key grace.key")

	var flags []string
	var stops []func()
	for _, node := range nodes {
		t.Setenv("GUARDLOCK_TEST_NODE", node)
		do(exit.OK, "check "+node+"/guardlock.yaml")
		s := serveConfig(t, node+"/guardlock.yaml", 1)
		stops = append(stops, sync.OnceFunc(func() { s.stop() }))
		defer stops[len(stops)-1]()
		flags = append(flags, "--url", s.ops)
	}
	if out, code := askedFleet(t, flags...); code != exit.OK || !strings.Contains(out, "MANIFEST") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if out := do(exit.OK, "status --url "+flags[1]); !strings.Contains(out, "cluster payments, revision 2, signed by grace\n") {
		t.Errorf("status says %s", out)
	}

	if _, metrics := told(t, flags[1]+"/metrics", "", "text/plain"); !strings.Contains(metrics, "guardlock_manifest_usable 1\n") {
		t.Errorf("metrics say %s", metrics)
	}

	const listed = "audit query --kind authority --json --manifest cluster.yaml --trust-root trust.yaml"
	if out := do(exit.OK, listed+" --dir gw-a/data/audit --dir gw-b/data/audit"); strings.Count(out, `"manifest_signature"`) != 2 {
		t.Errorf("the logs say %s", out)
	}
	do(exit.NotFound, listed+" --dir gw-b/data/audit")

	// Whoever is shown the revision before gw-b came learns of that from gw-a's log.
	for _, command := range []string{"query", "summary", "verify --without-key"} {
		out := do(exit.Refused, "audit "+command+" --manifest old.yaml --trust-root trust.yaml --dir gw-a/data/audit")
		if !strings.Contains(out, "was written under revision 2 of the manifest") {
			t.Errorf("%s by an old manifest: %s", command, out)
		}
	}

	// Looks need the log of gw-b, too: it is known from the manifest which there must be.
	looking := strings.Replace(listedConfig, "manifest: {file: ../cluster.yaml}", "manifest: {file: ../cluster.yaml}, reconcile: {every: 1h%s}", 1)
	for logs, want := range map[string]string{"": "lists log ", ", logs: [../gw-b/data/audit]": "", ", logs: [../gw-b/data]": "nothing is in it"} {
		if err := os.WriteFile("gw-a/looking.yaml", []byte(strings.Replace(looking, "%s", logs, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GUARDLOCK_TEST_NODE", "gw-a")
		out := do(exit.OK, "check gw-a/looking.yaml")
		if !strings.Contains(out, want) || strings.Contains(out, "comes to a conclusion") != (want != "") {
			t.Errorf("logs %q: check says %s", logs, out)
		}
	}

	// It does so, too, once gw-a serves without a manifest.
	for _, stop := range stops {
		stop()
	}
	t.Setenv("GUARDLOCK_TEST_NODE", "gw-a")
	without := strings.Replace(listedConfig, ", manifest: {file: ../cluster.yaml}", "", 1)
	if err := os.WriteFile("gw-a/guardlock.yaml", []byte(without), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveConfig(t, "gw-a/guardlock.yaml", 1)
	s.stop()
	do(exit.Refused, "audit query --manifest old.yaml --trust-root trust.yaml --dir gw-a/data/audit")
}
