package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
)

// fleetOf serves a gateway for each configuration, and returns where operators ask.
func fleetOf(t *testing.T, configs ...string) (flags []string) {
	t.Helper()
	for _, config := range configs {
		path := filepath.Join(t.TempDir(), "guardlock.yaml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		s := serveConfig(t, path, 1)
		t.Cleanup(func() { s.stop() })
		flags = append(flags, "--url", s.ops)
	}
	return flags
}

const fleetConfig = `
node_variable: GUARDLOCK_TEST_NODE
listen: {address: "127.0.0.1:0"}
broker: {embedded: {insecure_no_sync: true}}
audit: {insecure_no_sync: true}
ops: {address: "127.0.0.1:0"}
`

func askedFleet(t *testing.T, flags ...string) (out string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(context.WithoutCancel(t.Context()), append([]string{"status", "--fleet"}, flags...), nil, &stdout, &stderr)
	return stdout.String() + stderr.String(), code
}

func TestFleetOfOneConfigurationIsAlike(t *testing.T) {
	t.Setenv("GUARDLOCK_TEST_NODE", "gw-0")
	flags := fleetOf(t, fleetConfig)
	t.Setenv("GUARDLOCK_TEST_NODE", "gw-1")
	flags = append(flags, fleetOf(t, fleetConfig)...)

	out, code := askedFleet(t, flags...)
	if code != exit.OK || !strings.Contains(out, "no difference") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, node := range []string{"gw-0", "gw-1"} {
		if !strings.Contains(out, node) {
			t.Errorf("%s is not shown:\n%s", node, out)
		}
	}

	out, code = askedFleet(t, append(flags, "--url", "http://127.0.0.1:1")...)
	if code != exit.Failure || !strings.Contains(out, "UNREACHABLE: http://127.0.0.1:1") {
		t.Errorf("with one that does not answer: exit code %d:\n%s", code, out)
	}
}

func TestFleetShowsWhoIsNotAsTheOthersAre(t *testing.T) {
	t.Setenv("GUARDLOCK_TEST_NODE", "gw")
	flags := fleetOf(t, fleetConfig, fleetConfig+"bindings: [{name: more, topics: [t]}]\n")

	out, code := askedFleet(t, flags...)
	if code != exit.Refused {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"configuration is ", "modules is ", "node is gw, not a name of its own"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}

	var stdout, stderr bytes.Buffer
	run(context.WithoutCancel(t.Context()), append([]string{"status", "--fleet", "--json"}, flags...), nil, &stdout, &stderr)
	var f ops.Fleet
	if err := json.NewDecoder(&stdout).Decode(&f); err != nil || len(f.Gateways) != 2 || len(f.Differences) != 3 {
		t.Errorf("as JSON: %+v, %v", f, err)
	}
}

func TestFleetNeedsItsGateways(t *testing.T) {
	for _, args := range [][]string{{}, {"--config", "c.yaml"}, {"--url", "http://a", "--watch"}} {
		if out, code := askedFleet(t, args...); code != exit.Usage {
			t.Errorf("%v: exit code %d:\n%s", args, code, out)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"status", "--url", "http://a", "--url", "http://b"}, nil, &stdout, &stderr); code != exit.Usage {
		t.Errorf("two URLs without --fleet: exit code %d", code)
	}
}
