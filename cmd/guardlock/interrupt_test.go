package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/exit"
)

// TestInterruptedAuditEndsAtOnce: what reads a whole log asks at each frame whether
// anybody still waits, so that a log of years does not hold up a Ctrl-C.
func TestInterruptedAuditEndsAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	if err := writeSegmentsLog(dir); err != nil {
		t.Fatal(err)
	}
	if err := writeAuditKey(filepath.Join(filepath.Dir(dir), "audit.key")); err != nil {
		t.Fatal(err)
	}

	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, line := range []string{"verify", "verify --json", "summary", "query", "query --module nobody", "prune --before 3", "prune --before 3 --dry-run"} {
		var out, stderr bytes.Buffer
		args := append([]string{"audit"}, append(strings.Fields(line), "--dir", dir)...)
		if code := run(ctx, args, nil, &out, &stderr); code != exit.Interrupted || stderr.String() != "guardlock: interrupted\n" || out.Len() > 0 {
			t.Errorf("audit %s: exit code %d, %q, %q", line, code, &out, &stderr)
		}
	}

	if code := run(t.Context(), []string{"audit", "verify", "--dir", dir}, nil, &bytes.Buffer{}, &bytes.Buffer{}); code != exit.OK {
		t.Errorf("exit code %d: something of the log was changed", code)
	}
}
