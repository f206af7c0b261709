package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// deployment is a directory that serve and check take as it is.
type deployment struct {
	t       *testing.T
	dir     string
	config  string
	address string
	people  people
}

// plan is what a deployment is made of.
type plan struct {
	node     string
	people   *people // nil: new ones
	modules  []module
	bindings map[string]string // topic → module, "" for none
	rules    string            // YAML of bindings that go before those
	listen   string            // YAML
	broker   string            // YAML; empty: the embedded broker
	more     string            // YAML
}

func deploy(t *testing.T, p plan) *deployment {
	t.Helper()
	d := &deployment{t: t, dir: t.TempDir(), address: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePorts(t, 5)))}
	if p.people == nil {
		who := newPeople(t)
		p.people = &who
	}

	d.people = *p.people
	d.write("trust.json", d.people.root(t))
	if p.node == "" {
		p.node = "e2e"
	}
	if p.broker == "" {
		p.broker = "  embedded: {partitions: 2}\n"
	}

	var text strings.Builder
	fmt.Fprintf(&text, "node: %s\nlisten:\n  address: %s\n%sbroker:\n%strust:\n  root: trust.json\nlog:\n  level: warn\n%s", p.node, d.address, p.listen, p.broker, p.more)
	if len(p.modules) > 0 {
		text.WriteString("modules:\n")
	}

	for _, m := range p.modules {
		d.writeModule(m)
		fmt.Fprintf(&text, "  - {name: %[1]s, wasm: %[1]s.wasm, config: %[1]s.json, signature: %[1]s.sigstore.json, approvals: [%[1]s.approval.json], tables: {", m.name)
		for _, table := range m.tables {
			fmt.Fprintf(&text, "%[2]s: %[1]s.%[2]s, ", m.name, table)
		}
		text.WriteString("}}\n")
	}

	text.WriteString("bindings:\n" + p.rules)
	for topic, name := range p.bindings {
		fmt.Fprintf(&text, "  - {name: %q, topics: [%q], modules: [%s], data_class: internal}\n", topic, topic, name)
	}

	d.write("guardlock.yaml", []byte(text.String()))
	d.config = filepath.Join(d.dir, "guardlock.yaml")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway's log ends with:\n%s", tail(d))
		}
	})

	return d
}

func (d *deployment) writeModule(m module) {
	d.t.Helper()
	p := d.people.approve(d.t, m)
	d.write(m.name+".wasm", p.Wasm)
	d.write(m.name+".json", p.Config)
	d.write(m.name+".sigstore.json", p.Signature)
	d.write(m.name+".approval.json", p.Approvals[0])
}

// write replaces a file so that no reader sees half of it.
func (d *deployment) write(name string, content []byte) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployment) audit() string { return filepath.Join(d.dir, "data", "audit") }

// freePorts finds n ports in a row that nobody listens on, below those that the
// system gives to clients: a gateway that restarts must find them again.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for first := 20_000 + os.Getpid()%5000; first < 32_000; first += n {
		if allFree(first, n) {
			return first
		}
	}

	t.Fatal("no free ports")
	return 0
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
