package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/guardlock/guardlock/internal/exit"
)

// Many bindings of one refused module are one line.
func TestServeTellsOfARefusedModuleOnceWithHowManyBindings(t *testing.T) {
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
	if text := s.log.String(); strings.Count(text, "module refused; ") != 1 || !strings.Contains(text, `"bindings": 15`) {
		t.Errorf("the log says:\n%s", text)
	}
}

// Ready is said when the cluster answers, and not before.
func TestServeIsReadyOnceTheClusterAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	port := l.Addr().(*net.TCPAddr).Port
	l.Close()

	dir := t.TempDir()
	writeFiles(t, dir, 0o600, map[string]string{"guardlock.yaml": fmt.Sprintf(`
listen: {address: "127.0.0.1:0"}
broker: {upstream: {bootstrap: ["127.0.0.1:%d"]}}
audit: {insecure_no_sync: true}
`, port)})

	ctx, interrupt := context.WithCancel(context.WithoutCancel(t.Context()))
	defer interrupt()
	out := new(gatewayLog)
	errs := new(gatewayLog)
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--config", filepath.Join(dir, "guardlock.yaml")}, nil, out, errs)
	}()

	eventually(t, "the log says what is waited for", func() bool { return strings.Contains(errs.String(), "the cluster does not answer; it is not ready") })
	if text := out.String(); text != "" {
		t.Errorf("without a cluster it says %q", text)
	}

	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port))
	if err != nil {
		t.Fatal(err)
	}

	defer kafka.Close()
	eventually(t, "it is ready", func() bool { return readyLine.MatchString(strings.TrimSpace(out.String())) })

	interrupt()
	if got := <-code; got != exit.OK {
		t.Errorf("exit code %d", got)
	}
}
