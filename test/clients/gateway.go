//go:build kafka

package clients

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// gatewayConfig says how one gateway differs from the others of the tests.
type gatewayConfig struct {
	upstream []string
	topics   Topics
	listen   string    // more of the listen section, as YAML
	broker   string    // more of the upstream section
	who      string    // more of each binding: to whom it applies
	user     *Security // of the gateway's own, in users.yaml
}

// build builds guardlock into dir, for every gateway of the package's tests.
func build(dir string) (program string, err error) {
	program = filepath.Join(dir, "guardlock")
	cmd := exec.Command("go", "build", "-o", program, "./cmd/guardlock")
	cmd.Dir = filepath.Join(packageDir(), "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building guardlock: %w: %s", err, out)
	}
	return program, nil
}

// startGateway signs and approves the matrix's modules for its topics, and serves until the test ends.
// It returns where clients bootstrap.
func startGateway(t *testing.T, program string, cfg gatewayConfig) string {
	t.Helper()
	g := gatewayDir{
		t:       t,
		program: program,
		dir:     t.TempDir(),
		root:    filepath.Join(packageDir(), "..", ".."),
	}
	for _, who := range []string{"ada", "grace"} {
		g.guardlock("keygen", "--out", who, "--no-password")
	}

	g.guardlock("module", "trust-root", "--author", "ada=ada.pub", "--approver", "grace=grace.pub", "-o", "trust.yaml")
	g.approve("upper", "transforms/modules/uppercase/uppercase.wasm", cfg.topics.Upper+"-*")
	g.approve("strict", "transforms/modules/reject-uppercase/reject-uppercase.wasm", cfg.topics.Strict+"-*")
	g.approve("dropping", "test/clients/dropping/dropping.wasm", cfg.topics.Dropping+"-*")

	if u := cfg.user; u != nil {
		g.env = append(os.Environ(), "GUARDLOCK_PASSWORD="+u.Password)
		g.guardlock("user", "add", u.User, "--file", "users.yaml")
	}

	g.configure(freeRange(t, 4), cfg)
	return g.serve()
}

// gatewayDir is where one gateway's files are: modules, keys, configuration and log.
type gatewayDir struct {
	t         *testing.T
	program   string
	dir, root string
	env       []string // of the program; nil: this process's
}

func (g gatewayDir) guardlock(args ...string) {
	g.t.Helper()
	cmd := exec.Command(g.program, args...)
	cmd.Dir = g.dir
	cmd.Env = g.env
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("guardlock %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// approve has ada sign a module, and grace approve it for one topic pattern.
func (g gatewayDir) approve(name, wasm, topic string) {
	g.t.Helper()
	raw, err := os.ReadFile(filepath.Join(g.root, wasm))
	if err != nil {
		g.t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(g.dir, name), 0o700); err != nil {
		g.t.Fatal(err)
	}

	file := filepath.Join(name, "module.wasm")
	if err := os.WriteFile(filepath.Join(g.dir, file), raw, 0o600); err != nil {
		g.t.Fatal(err)
	}

	g.guardlock("module", "sign", file, "--key", "ada.key")
	g.guardlock("module", "approve", file, "--key", "grace.key", "--topic", topic, "--valid-for", "1d", "--yes")
}

func (g gatewayDir) configure(port int, cfg gatewayConfig) {
	g.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `listen: {address: "127.0.0.1:%d", node_ids: "1-3"%s}
broker: {upstream: {bootstrap: [%s]%s}}
trust: {root: trust.yaml}
log: {level: warn}
modules:
`, port, cfg.listen, strings.Join(cfg.upstream, ", "), cfg.broker)

	for _, name := range []string{"upper", "strict", "dropping"} {
		fmt.Fprintf(&text, "  - {name: %[1]s, wasm: %[1]s/module.wasm, signature: %[1]s/module.sigstore.json, "+
			"approvals: [%[1]s/approval.grace.sigstore.json]}\n", name)
	}

	text.WriteString("bindings:\n")
	topics := cfg.topics
	for topic, modules := range map[string]string{topics.Plain: "", topics.Upper: "upper", topics.Strict: "strict", topics.Dropping: "dropping"} {
		fmt.Fprintf(&text, "  - {name: %[1]s, topics: [\"%[1]s-*\"], data_class: internal, modules: [%[2]s]%[3]s}\n", topic, modules, cfg.who)
	}

	if err := os.WriteFile(filepath.Join(g.dir, "guardlock.yaml"), []byte(text.String()), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// serve starts the gateway, waits until it is ready, and ends it in order with the test.
func (g gatewayDir) serve() (bootstrap string) {
	g.t.Helper()
	log, err := os.Create(filepath.Join(g.dir, "gateway.log"))
	if err != nil {
		g.t.Fatal(err)
	}

	cmd := exec.Command(g.program, "serve", "--config", "guardlock.yaml")
	cmd.Dir = g.dir
	cmd.Stderr = log

	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}

	g.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			g.t.Errorf("the gateway ended with: %v", err)
		}
		if text, _ := os.ReadFile(log.Name()); g.t.Failed() {
			g.t.Logf("the gateway said:\n%s", text[max(0, len(text)-8000):])
		}

		log.Close()
	})

	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, addr, ok := strings.Cut(lines.Text(), " is ready on "); ok {
			return strings.TrimSpace(addr)
		}
	}

	text, _ := os.ReadFile(log.Name())
	g.t.Fatalf("the gateway is not ready: %s", text)
	return ""
}

// nextPort is the first port that no gateway of this process was given, so that many can start at a time.
var nextPort atomic.Int32

// freeRange finds n ports in a row, below those of kafkatest.
func freeRange(t *testing.T, n int) int {
	t.Helper()
	const lowest, highest = 12000, 19000
	nextPort.CompareAndSwap(0, lowest+int32(time.Now().UnixNano()%1000)*4)

	for first := 0; first < highest; {
		if first = int(nextPort.Add(int32(n))) - n; allFree(first, n) {
			return first
		}
	}

	t.Fatal("no free ports")
	return 0
}

func allFree(first, n int) bool {
	for p := first; p < first+n; p++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			return false
		}
		defer l.Close()
	}
	return true
}
