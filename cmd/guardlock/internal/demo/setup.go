package demo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
)

// demoModule is a bundled module, and what the demo's security team approves
// for it.
type demoModule struct {
	name   string
	topics []string
	keys   []string
	routes []string
	class  string
}

var demoModules = []demoModule{
	{name: "gdpr", topics: []string{"customers"}, keys: []string{"pseudonyms"}, class: "confidential"},
	{name: "fraud", topics: []string{"payments"}, routes: []string{"payments-review"}, class: "confidential"},
	{name: "sensor", topics: []string{"sensors"}, class: "internal"},
}

// demoTopics are the topics that the demo makes, with the number of their
// partitions.
var demoTopics = map[string]int32{"customers": 3, "payments": 3, "sensors": 3, "payments-review": 1}

// setupDemo writes a complete deployment into dir: throw-away keys, signed and
// approved modules, trust root, and a configuration that serve takes as it is.
func setupDemo(ctx context.Context, dir, address string) (configPath string, err error) {
	author, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}

	approver, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}

	var errs []error
	write := func(name string, mode os.FileMode, data []byte) {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), data, mode))
	}
	if err := writeTrustRoot(write, author, approver); err != nil {
		return "", err
	}

	secret := make([]byte, 32)
	rand.Read(secret)
	write("pseudonyms.key", 0o600, secret)

	for _, m := range demoModules {
		if err := writeModule(ctx, write, m, author, approver); err != nil {
			return "", fmt.Errorf("preparing module %s: %w", m.name, err)
		}
	}

	write("guardlock.yaml", 0o644, []byte(demoConfig(address)))
	return filepath.Join(dir, "guardlock.yaml"), errors.Join(errs...)
}

type writeFile func(name string, mode os.FileMode, data []byte)

func writeTrustRoot(write writeFile, author, approver *signing.PrivateKey) error {
	type person struct {
		Identity string `json:"identity"`
		Key      string `json:"key"`
	}

	entry := func(name string, k *signing.PrivateKey) ([]person, error) {
		pem, err := k.Public().MarshalPEM()
		return []person{{name, string(pem)}}, err
	}

	authors, err := entry("builder@demo", author)
	if err != nil {
		return err
	}

	approvers, err := entry("security@demo", approver)
	if err != nil {
		return err
	}

	raw, err := json.MarshalIndent(map[string]any{"authors": authors, "approvers": approvers, "threshold": 1}, "", "  ")
	if err != nil {
		return err
	}

	write("trust.json", 0o644, raw)
	for name, k := range map[string]*signing.PrivateKey{"author": author, "approver": approver} {
		pem, err := k.MarshalPEM([]byte(""))
		if err != nil {
			return err
		}
		write(name+".key", 0o600, pem)
	}

	return nil
}

// writeModule signs a module as its author and approves it as the security
// team: for exactly its own imports, its topics, its keys, for a day.
func writeModule(ctx context.Context, write writeFile, m demoModule, author, approver *signing.PrivateKey) error {
	wasm, ok := modules.Wasm(m.name)
	if !ok {
		return errors.New("it is not bundled")
	}

	config, _ := modules.ExampleConfig(m.name)
	info, err := transforms.Inspect(wasm, transforms.ScanLimits{})
	if err != nil {
		return err
	}

	var functions []string
	for _, i := range info.Imports {
		functions = append(functions, i.String())
	}

	signature, err := signing.SignModule(ctx, wasm, author)
	if err != nil {
		return err
	}

	approval, err := signing.Approve(ctx, signing.Approval{
		ModuleDigest:  sha256.Sum256(wasm),
		ConfigDigest:  sha256.Sum256(config),
		Topics:        m.topics,
		HostFunctions: functions,
		Keys:          m.keys,
		Routes:        m.routes,
		NotAfter:      time.Now().Add(24 * time.Hour),
		Ticket:        "DEMO-1",
	}, approver)
	if err != nil {
		return err
	}

	write(m.name+".wasm", 0o644, wasm)
	write(m.name+".json", 0o644, config)
	write(m.name+".sigstore.json", 0o644, signature)
	write(m.name+".approval.sigstore.json", 0o644, approval)

	return nil
}

// opsAddress is where operators of the demo connect: on this machine, at a port a
// little behind those of its clients. With port 0 the system chooses.
func opsAddress(listen string) string {
	port := 0
	if _, text, err := net.SplitHostPort(listen); err == nil {
		port, _ = strconv.Atoi(text) // one that is none is reported where it is listened on
	}
	if port != 0 {
		port += 7
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// demoConfig is the configuration of the demo, which is written out for its
// user to read.
func demoConfig(address string) string {
	out := fmt.Sprintf(`# The configuration of "guardlock demo". Serve it again with: guardlock serve --config guardlock.yaml
node: demo
data_dir: data
listen:
  address: %s
broker:
  embedded: {}
trust:
  root: trust.json
keys:
  - name: pseudonyms
    file: pseudonyms.key
log:
  level: warn
ops:
  address: %s
modules:
`, address, opsAddress(address))
	for _, m := range demoModules {
		out += fmt.Sprintf("  - name: %[1]s\n    wasm: %[1]s.wasm\n    config: %[1]s.json\n    signature: %[1]s.sigstore.json\n    approvals: [%[1]s.approval.sigstore.json]\n", m.name)
	}

	out += "bindings:\n"
	for _, m := range demoModules {
		out += fmt.Sprintf("  - name: %s\n    topics: [%s]\n    modules: [%s]\n    data_class: %s\n", m.topics[0], m.topics[0], m.name, m.class)
	}

	return out + "  - name: review\n    topics: [payments-review]\n    principals: [\"User:security\"]\nunbound_topics: refuse\n"
}
