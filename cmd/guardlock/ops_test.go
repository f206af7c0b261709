package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
)

var opsLine = regexp.MustCompile(`^guardlock: operators are answered on (\S+)$`)

// watchedConfig is a gateway to which clients log in and that operators may watch
// with a token.
const watchedConfig = `
node: gw1
listen: {address: "127.0.0.1:0", sasl: {mode: terminate, credentials_file: users.yaml, insecure_plaintext: true}}
broker: {embedded: {insecure_no_sync: true}}
audit: {insecure_no_sync: true}
ops: {address: "127.0.0.1:0", token_file: token}
bindings:
  - {name: paid, topics: [payments]}
`

const opsToken = "0123456789abcdef"

// told is what the gateway's operators are told.
func told(t *testing.T, url, token, accept string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", accept)

	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// serveWatched serves watchedConfig and produces as ada-of-the-test: one record that
// is stored and one that is refused.
func serveWatched(t *testing.T) (s *served, dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv(cli.PasswordVariable, "secret")
	userCommand(t, "add", "ada-of-the-test", "--file", filepath.Join(dir, "users.yaml"), "--iterations", "4096")
	for name, content := range map[string]string{"guardlock.yaml": watchedConfig, "token": opsToken + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	s = serveConfig(t, filepath.Join(dir, "guardlock.yaml"), 1)
	t.Cleanup(func() {
		if code := s.stop(); code != exit.OK {
			t.Errorf("exit code %d", code)
		}
	})

	c, err := kgo.NewClient(kgo.SeedBrokers(s.addr["main"]), kgo.ClientID("client-of-the-test"), kgo.AllowAutoTopicCreation(),
		kgo.SASL(scram.Auth{User: "ada-of-the-test", Pass: "secret"}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "payments", Value: []byte("value-of-the-test")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "secret-of-the-test", Value: []byte("v")}).FirstErr(); err == nil {
		t.Fatal("a topic without a binding took a record")
	}
	return s, dir
}

func TestOperatorsSeeWhatAGatewayDoes(t *testing.T) {
	s, _ := serveWatched(t)

	code, text := told(t, s.ops+"/metrics", opsToken, "text/plain")
	if code != http.StatusOK {
		t.Fatalf("metrics: %d %s", code, text)
	}
	for _, want := range []string{
		`guardlock_batches_total{binding="paid",cluster="main",direction="produce",outcome="passed",reason=""} 1`,
		`guardlock_records_total{binding="paid",cluster="main",direction="produce",verdict="passed"} 1`,
		`guardlock_topic_records_total{cluster="main",topic="payments"} 1`,
		`guardlock_authentications_total{cluster="main",result="ok"} `,
		`guardlock_ready 1`,
		`guardlock_log_failed 0`,
		`guardlock_insecure_settings 3`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}

	_, open := told(t, s.ops+"/metrics", opsToken, "application/openmetrics-text; version=1.0.0")
	if !regexp.MustCompile(`stage="commit",le="[^"]+"\} \d+ # \{decision="[^"]+"\}`).MatchString(open) {
		t.Error("no bucket names a decision")
	}
}

// What clients say of themselves, and names of topics that do not exist, come into no
// label: neither who asks nor what he made up.
func TestOperatorsAreToldNobodysName(t *testing.T) {
	s, _ := serveWatched(t)
	for _, path := range []string{"/metrics", "/status", "/readyz", "/livez"} {
		_, text := told(t, s.ops+path, opsToken, "application/openmetrics-text; version=1.0.0")
		if i := strings.Index(text, "of-the-test"); i >= 0 {
			t.Errorf("%s tells %q", path, text[max(0, i-60):min(len(text), i+20)])
		}
	}
}

func TestOperatorsNeedTheToken(t *testing.T) {
	s, dir := serveWatched(t)
	for _, path := range []string{"/metrics", "/status"} {
		for _, token := range []string{"", "0123456789abcdeX", opsToken + "0"} {
			if code, _ := told(t, s.ops+path, token, ""); code != http.StatusUnauthorized {
				t.Errorf("%s with token %q: %d", path, token, code)
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if code, text := told(t, s.ops+path, "", ""); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	if code, _ := told(t, s.ops+"/debug/pprof/", opsToken, ""); code != http.StatusNotFound {
		t.Errorf("profiles are served unasked: %d", code)
	}

	var out bytes.Buffer
	args := []string{"status", "--url", s.ops, "--token-file", filepath.Join(dir, "token")}
	if code := run(t.Context(), args, nil, &out, os.Stderr); code != exit.OK || !strings.Contains(out.String(), "READY") || !strings.Contains(out.String(), "paid") {
		t.Errorf("status: exit code %d\n%s", code, &out)
	}
	if code := run(t.Context(), args[:3], nil, io.Discard, io.Discard); code == exit.OK {
		t.Error("status needs no token")
	}
}

// One truth: what a running gateway tells of its bindings is what an offline check
// explains.
func TestStatusAndCheckTellTheSame(t *testing.T) {
	s, dir := serveWatched(t)
	read := func(args ...string) (out ops.Status) {
		t.Helper()
		var text bytes.Buffer
		if code := run(t.Context(), append(args, "--json"), nil, &text, os.Stderr); code != exit.OK {
			t.Fatalf("%v: exit code %d", args, code)
		}
		if err := json.Unmarshal(text.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}

	running := read("status", "--url", s.ops, "--token-file", filepath.Join(dir, "token"))
	offline := read("check", filepath.Join(dir, "guardlock.yaml"), "--explain")
	if !running.Ready || running.Log == nil || running.Log.Entries == 0 || !running.Clusters[0].Reached {
		t.Errorf("the running gateway tells %+v", running)
	}

	for i := range running.Bindings {
		running.Bindings[i].Since = time.Time{} // nothing runs offline
	}
	a, _ := json.Marshal(running.Bindings)
	b, _ := json.Marshal(offline.Bindings)
	if string(a) != string(b) || len(offline.Bindings) != 1 {
		t.Errorf("status tells %s, check %s", a, b)
	}
}

// Systemd counts the service as started when clients are served, and not before.
func TestSystemdIsToldWhenClientsAreServed(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)

	path := filepath.Join(dir, "guardlock.yaml")
	config := "listen: {address: \"127.0.0.1:0\"}\nbroker: {embedded: {insecure_no_sync: true}}\naudit: {insecure_no_sync: true}\n"
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	s := serveConfig(t, path, 1)
	said := make([]byte, 100)
	next := func() string {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := conn.Read(said)
		if err != nil {
			t.Fatal(err)
		}
		return string(said[:n])
	}
	if got := next(); got != "READY=1" {
		t.Errorf("systemd is told %q", got)
	}

	for range 2 {
		before := ops.Monotonic().Microseconds()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		at, reloading := strings.CutPrefix(next(), "RELOADING=1\nMONOTONIC_USEC=")
		usec, err := strconv.ParseInt(at, 10, 64)
		if !reloading || err != nil || usec < before || usec > ops.Monotonic().Microseconds() {
			t.Errorf("of a reload systemd is told %q, of after %d", at, before)
		}
		if got := next(); got != "READY=1" {
			t.Errorf("of its end systemd is told %q", got)
		}
	}

	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}
	if got := next(); got != "STOPPING=1" {
		t.Errorf("systemd is told %q", got)
	}
}

// A certificate will do instead of a token, and probes need neither. One cluster that
// answers is enough to be ready.
func TestOperatorsWithACertificateNeedNoToken(t *testing.T) {
	dir := t.TempDir()
	own := newCertAuthority(t)
	server := own.issue("gateway", 2)
	operator := own.issue("operator", 3)
	own.write(dir, "ca", nil)
	own.write(dir, "server", &server)

	path := filepath.Join(dir, "guardlock.yaml")
	config := `
audit: {insecure_no_sync: true}
clusters:
  - {name: up, listen: {address: "127.0.0.1:0"}, broker: {embedded: {insecure_no_sync: true}}}
  - {name: down, listen: {address: "127.0.0.1:0"}, broker: {upstream: {bootstrap: ["127.0.0.1:1"]}}}
ops: {address: "127.0.0.1:0", pprof: true, tls: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem}}
`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveConfig(t, path, 1)
	defer s.stop()

	trusted := x509.NewCertPool()
	trusted.AddCert(own.cert)
	get := func(path string, certs ...tls.Certificate) (int, string) {
		t.Helper()
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted, Certificates: certs}}}
		resp, err := c.Get(s.ops + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}

	if code, text := get("/readyz"); code != http.StatusOK {
		t.Errorf("a probe without a certificate: %d %s", code, text)
	}
	if code, text := get("/metrics"); code != http.StatusUnauthorized {
		t.Errorf("metrics without a certificate: %d %s", code, text)
	}
	stranger := newCertAuthority(t).issue("operator", 3)
	if code, _ := get("/metrics", stranger); code == http.StatusOK {
		t.Error("a certificate of another authority will do")
	}

	code, text := get("/metrics", operator)
	if code != http.StatusOK || !strings.Contains(text, `guardlock_cluster_up{cluster="down"} 0`) || !strings.Contains(text, `guardlock_end_time_seconds{kind="certificate",name="server.pem"}`) {
		t.Errorf("metrics with a certificate: %d %s", code, text)
	}
	if code, _ := get("/debug/pprof/", operator); code != http.StatusOK {
		t.Errorf("profiles were asked for: %d", code)
	}

	// The same by the command, and a plan: its two bindings are new.
	own.write(dir, "operator", &operator)
	ask := func(args ...string) (int, string) {
		t.Helper()
		var out bytes.Buffer
		args = append(args, "--url", s.ops, "--ca", filepath.Join(dir, "ca.pem"))
		return run(t.Context(), args, nil, &out, &out), out.String()
	}
	certificate := []string{"--cert", filepath.Join(dir, "operator.pem"), "--key", filepath.Join(dir, "operator.key")}

	if code, text := ask("status"); code == exit.OK || !strings.Contains(text, "401") {
		t.Errorf("status without a certificate: exit code %d\n%s", code, text)
	}
	if code, text := ask(append([]string{"status"}, certificate...)...); code != exit.OK || !strings.Contains(text, "READY") {
		t.Errorf("status with a certificate: exit code %d\n%s", code, text)
	}
	if code, _ := ask("status", "--cert", filepath.Join(dir, "operator.pem")); code != exit.Usage {
		t.Errorf("a certificate without its key: exit code %d", code)
	}

	if err := os.WriteFile(path, []byte(config+"bindings: [{name: b, topics: [a]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, text := ask(append([]string{"plan", "--config", path}, certificate...)...); code != exit.OK || !strings.Contains(text, "2 bindings: 0 lose, 2 only gain") {
		t.Errorf("plan with a certificate: exit code %d\n%s", code, text)
	}
}
