//go:build kafka

package kafka

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/kafkatest"
)

// program is the built program with signed and approved modules, in a directory of its own.
type program struct {
	dir  string
	port atomic.Int32 // the next range to try
}

// module is what a gateway runs, with its configuration and the topic that it may send records to.
type module struct{ wasm, config, route string }

// modules by name, which is that of the topics that each is approved for and bound to, too.
var modules = map[string]module{
	"upper":    {wasm: "transforms/modules/uppercase/uppercase.wasm"},
	"strict":   {wasm: "transforms/modules/reject-uppercase/reject-uppercase.wasm"},
	"dropping": {wasm: "test/clients/dropping/dropping.wasm"},
	"routing":  {wasm: "transforms/modules/fraud/fraud.wasm", config: large, route: quarantine},
}

const root = "../.."

func build() (*program, error) {
	dir, err := os.MkdirTemp("", "guardlock-kafka-")
	if err != nil {
		return nil, err
	}

	p := &program{dir: dir}
	p.port.Store(int32(12000 + time.Now().UnixNano()%500*8))
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "guardlock"), "./cmd/guardlock")
	cmd.Dir = root

	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building guardlock: %w: %s", err, out)
	}
	steps := [][]string{
		{"keygen", "--out", "ada", "--no-password"}, {"keygen", "--out", "grace", "--no-password"},
		{"module", "trust-root", "--author", "ada=ada.pub", "--approver", "grace=grace.pub", "-o", "trust.yaml"},
	}
	for name, m := range modules {
		file := filepath.Join(name, "module.wasm")
		raw, err := os.ReadFile(filepath.Join(root, m.wasm))
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, name), 0o700), os.WriteFile(filepath.Join(dir, file), raw, 0o600))
		approve := []string{"module", "approve", file, "--key", "grace.key", "--topic", name + "-*", "--valid-for", "1d", "--yes"}

		if m.config != "" {
			config := filepath.Join(name, "config.json")
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, config), []byte(m.config), 0o600))
			approve = append(approve, "--config", config, "--route", m.route)
		}

		if err != nil {
			return nil, err
		}
		steps = append(steps, []string{"module", "sign", file, "--key", "ada.key"}, approve)
	}

	for _, args := range steps {
		if err := p.run(args...); err != nil {
			return nil, err
		}
	}

	return p, nil
}

func (p *program) run(args ...string) error {
	cmd := exec.Command("./guardlock", args...)
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("guardlock %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// options say how one gateway differs. Topics are "plain-*", and "upper-*" and so on, as their modules are.
type options struct {
	node     string // default "gateway"
	upstream []string
	port     int      // default: free ones
	brokers  string   // ids of the upstream's; default: those of the shared cluster
	listen   string   // more of the listen section, as YAML
	broker   string   // more of the upstream section
	bindings []string // put before the others, as YAML
}

// gateway is one running gateway.
type gateway struct {
	options
	addr    string // where clients bootstrap
	dir     string // configuration, log and decisions
	process *os.Process
	ended   chan error
	asked   sync.Once
	stopped sync.Once
	err     error
}

// serve starts a gateway and waits until it is ready. Its data are kept from a gateway of the same node name and port.
func (p *program) serve(o options) (*gateway, error) {
	if o.node == "" {
		o.node = "gateway"
	}
	if o.port == 0 {
		o.port = p.freePorts(4)
	}
	if o.brokers == "" {
		o.brokers = "1-3"
	}

	g := &gateway{options: o, dir: filepath.Join(p.dir, fmt.Sprintf("%s-%d", o.node, o.port)), ended: make(chan error, 1)}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return nil, err
	}

	config := filepath.Join(g.dir, "guardlock.yaml")
	if err := os.WriteFile(config, []byte(p.configuration(o)), 0o600); err != nil {
		return nil, err
	}

	log, err := os.OpenFile(g.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(filepath.Join(p.dir, "guardlock"), "serve", "--config", config)
	out, stdout := io.Pipe()
	cmd.Stdout = stdout
	cmd.Stderr = log

	ended, err := kafkatest.StartProcess(cmd)
	if err != nil {
		return nil, err
	}

	g.process = cmd.Process
	go func() {
		err := <-ended
		log.Close()
		stdout.Close()
		g.ended <- err
	}()

	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, addr, ok := strings.Cut(lines.Text(), " is ready on "); ok {
			g.addr = strings.TrimSpace(addr)
			return g, nil // it says nothing more
		}
	}

	return nil, fmt.Errorf("the gateway is not ready: %w: %s", <-g.ended, g.logged())
}

// start serves until the test ends.
func start(t *testing.T, o options) *gateway {
	t.Helper()
	g := must(built.serve(o))(t)
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Errorf("ending the gateway: %v", err)
		}
		if t.Failed() {
			t.Logf("the end of the gateway log:\n%s", g.logged())
		}
	})

	return g
}

// terminate asks the gateway to end in order, once: a second signal breaks off.
func (g *gateway) terminate() {
	g.asked.Do(func() { g.process.Signal(syscall.SIGTERM) })
}

// stop ends the gateway in order and waits for it.
func (g *gateway) stop() error {
	g.stopped.Do(func() {
		g.terminate()
		select {
		case g.err = <-g.ended:
		case <-time.After(testTimeout):
			g.process.Kill()
			g.err = errors.Join(errors.New("the gateway did not end in order"), <-g.ended)
		}
	})
	return g.err
}

func (g *gateway) logFile() string { return filepath.Join(g.dir, "gateway.log") }

// logged is the end of the gateway's log.
func (g *gateway) logged() string {
	text, _ := os.ReadFile(g.logFile())
	return string(text[max(0, len(text)-8000):])
}

func (p *program) configuration(o options) string {
	var text strings.Builder
	fmt.Fprintf(&text, `node: %s
listen: {address: "127.0.0.1:%d", node_ids: "%s"%s}
broker: {upstream: {bootstrap: [%s]%s}}
trust: {root: %s/trust.yaml}
log: {level: info}
modules:
`, o.node, o.port, o.brokers, o.listen, strings.Join(o.upstream, ", "), o.broker, p.dir)

	for name, m := range modules {
		dir := filepath.Join(p.dir, name)
		config := ""
		if m.config != "" {
			config = ", config: " + filepath.Join(dir, "config.json")
		}
		fmt.Fprintf(&text, "  - {name: %[1]s, wasm: %[2]s/module.wasm, signature: %[2]s/module.sigstore.json, "+
			"approvals: [%[2]s/approval.grace.sigstore.json]%[3]s}\n", name, dir, config)
	}

	text.WriteString("bindings:\n")
	for _, b := range o.bindings {
		text.WriteString("  - " + b + "\n")
	}

	text.WriteString("  - {name: plain, topics: [\"plain-*\"], data_class: internal}\n")
	for name := range modules {
		fmt.Fprintf(&text, "  - {name: %[1]s, topics: [\"%[1]s-*\"], data_class: internal, modules: [%[1]s]}\n", name)
	}

	return text.String()
}

// freePorts finds n free ports in a row, below those of kafkatest.
func (p *program) freePorts(n int32) int {
	for {
		first := p.port.Add(n) - n
		if first > 19000 {
			p.port.Store(12000)
			continue
		}

		if allFree(int(first), int(n)) {
			return int(first)
		}
	}
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

// decisions are what the gateway's log says, read from its files as an auditor would.
func (g *gateway) decisions(t *testing.T, f query.Filter) []query.Decision {
	t.Helper()
	r := must(query.Open(filepath.Join(g.dir, "data", "audit")))(t)
	defer r.Close()

	var out []query.Decision
	for d, err := range r.Query(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}

	return out
}

// unresolved counts the batches of a topic that were forwarded and of which nobody knows yet what became.
func unresolved(batches []query.Decision) int {
	n := 0
	for _, d := range batches {
		if d.Batch != nil && d.Batch.State == query.StateUnknown {
			n++
		}
	}
	return n
}

// everyRecordIsDecided fails unless each record that the topic stores has one decision in the logs of the gateways, and no
// batch is left whose fate is unknown.
func everyRecordIsDecided(t *testing.T, topic string, gateways ...*gateway) {
	t.Helper()
	for _, g := range gateways {
		eventually(t, "the outcome of every batch of "+topic+" is known", func() bool {
			return unresolved(g.decisions(t, query.Filter{Topics: []string{topic}, ByBatch: true})) == 0
		})
	}

	count := map[position]int{}
	for _, g := range gateways {
		for _, d := range g.decisions(t, query.Filter{Topics: []string{topic}}) {
			if d.Offset >= 0 && d.Batch.State == query.StateStored {
				for i := range int64(max(d.Count, 1)) {
					count[position{d.Partition, d.Offset + i}]++
				}
			}
		}
	}

	var missing []position
	for at := range storedIn(t, topic) {
		if count[at] == 0 {
			missing = append(missing, at)
		}
	}

	slices.SortFunc(missing, func(a, b position) int { return int(a.offset - b.offset) })
	if len(missing) > 0 {
		t.Errorf("%d of the records of %s have no decision, first %v", len(missing), topic, missing[0])
	}
}
