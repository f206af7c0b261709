package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/exit"
)

// Many bindings of one refused module are many lines alike.
func TestServeTellsHowManyRefusalsItDidNotShow(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"keygen", "--no-password", "--out", filepath.Join(dir, "ada")}, {"keygen", "--no-password", "--out", filepath.Join(dir, "grace")},
		{"module", "trust-root", "--author", "ada=" + filepath.Join(dir, "ada.pub"), "--approver", "grace=" + filepath.Join(dir, "grace.pub"), "--out", filepath.Join(dir, "trust.yaml")},
	} {
		var errs gatewayLog
		if code := run(t.Context(), args, nil, &errs, &errs); code != exit.OK {
			t.Fatalf("%v: %s", args, &errs)
		}
	}

	config := "listen: {address: \"127.0.0.1:0\"}\nbroker: {embedded: {insecure_no_sync: true}}\naudit: {insecure_no_sync: true}\n" +
		"trust: {root: trust.yaml}\nmodules: [{name: gdpr, wasm: missing, signature: missing, approvals: [missing]}]\nbindings:\n"
	for i := range 15 {
		config += fmt.Sprintf("  - {topics: [topic-%d], modules: [gdpr]}\n", i)
	}

	writeFiles(t, dir, 0o600, map[string]string{"guardlock.yaml": config})
	s := serveConfig(t, filepath.Join(dir, "guardlock.yaml"), 1)
	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}
	if text := s.log.String(); strings.Count(text, "module refused; ") != 11 || !strings.Contains(text, `"suppressed": 5`) {
		t.Errorf("the log says:\n%s", text)
	}
}
