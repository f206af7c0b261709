package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/server"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms/modules"
)

// modeSite is a whole gateway, of a configuration that lies in the child's folder.
const modeSite = "site"

// guests are modules that never come back: one loops, the other writes all of its
// memory again and again. A test in test/e2e makes them.
//
//go:embed testdata/*.wasm
var guests embed.FS

// site is the folder of a gateway that clients produce to, on benchTopic without a
// module and on others with one.
type site struct {
	dir      string
	author   *signing.PrivateKey
	approver *signing.PrivateKey
	wasm     []byte
}

// newSite writes a configuration whose module is bound to topics. limits is YAML.
func newSite(dir, upstream, module, limits string, topics ...string) (*site, error) {
	s := &site{dir: dir}
	var err error
	if s.author, err = signing.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if s.approver, err = signing.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}

	wasm, bundled := modules.Wasm(module)
	if !bundled {
		if wasm, err = guests.ReadFile("testdata/" + module + ".wasm"); err != nil {
			return nil, err
		}
	}
	s.wasm = wasm

	signature, err := signing.SignModule(context.Background(), wasm, s.author)
	if err != nil {
		return nil, err
	}
	trust, err := s.trust()
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		"m.wasm":          wasm,
		"m.sigstore.json": signature,
		"trust.json":      trust,
		"guardlock.yaml":  []byte(siteConfig(upstream, limits, topics)),
	} {
		if err := disk.Replace(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}

	return s, s.approve(time.Hour)
}

func siteConfig(upstream, limits string, topics []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: {address: \"127.0.0.1:0\"}\nbroker: {upstream: {bootstrap: [%q]}}\nlog: {level: error}\ntrust: {root: trust.json}\nlimits: {%s}\n", upstream, limits)
	b.WriteString("modules: [{name: m, wasm: m.wasm, signature: m.sigstore.json, approvals: [m.approval.sigstore.json]}]\nbindings:\n")
	fmt.Fprintf(&b, "  - {topics: [%s]}\n", benchTopic)
	for _, topic := range topics {
		fmt.Fprintf(&b, "  - {topics: [%s], modules: [m], data_class: internal}\n", topic)
	}

	return b.String()
}

func (s *site) trust() ([]byte, error) {
	person := func(name string, k *signing.PrivateKey) []map[string]string {
		pem, err := k.Public().MarshalPEM()
		if err != nil {
			return nil
		}
		return []map[string]string{{"identity": name, "key": string(pem)}}
	}

	return json.Marshal(map[string]any{
		"authors":   person("ada@example.com", s.author),
		"approvers": person("grace@example.com", s.approver),
	})
}

// approve replaces the module's approval by one that lasts so long: a change of one
// file, of which every binding of the module is judged again.
func (s *site) approve(lasts time.Duration) error {
	now := time.Now()
	approval, err := signing.Approve(context.Background(), signing.Approval{
		ModuleDigest: sha256.Sum256(s.wasm),
		ConfigDigest: sha256.Sum256(nil),
		Topics:       []string{"*"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lasts),
		Ticket:       "BENCH-1",
	}, s.approver)
	if err != nil {
		return err
	}

	return disk.Replace(filepath.Join(s.dir, "m.approval.sigstore.json"), approval, 0o600)
}

// serveSite runs the gateway of a site until the process ends.
func serveSite(ctx context.Context, _, _, dir string) (serving, error) {
	path := filepath.Join(dir, "guardlock.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		return serving{}, err
	}
	cfg, err := config.Parse(raw, path)
	if err != nil {
		return serving{}, err
	}

	s, err := server.Open(ctx, cfg, server.NewLogger(cfg.Log, os.Stderr))
	if err != nil {
		return serving{}, err
	}
	ready := make(chan struct{}, 1)
	failed := make(chan error, 1)
	go func() { failed <- s.Run(ctx, func(string) { ready <- struct{}{} }) }()

	select {
	case <-ready:
		return serving{addr: s.Addr(config.MainCluster)}, nil
	case err := <-failed:
		return serving{}, fmt.Errorf("serving: %w", err)
	}
}
