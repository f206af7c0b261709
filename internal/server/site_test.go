package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// site is the directory of a gateway's configuration, with a reloader that serves
// it to nobody.
type site struct {
	t      testing.TB
	dir    string
	author *signing.PrivateKey
	grace  *signing.PrivateKey
	log    *lockedBuffer
	record *recorder
	clock  time.Time
	yaml   string
	r      *reloader

	mu     sync.Mutex
	served map[string]*gateway.Bindings
}

// The test binary evaluates policies and compiles modules in a child, as guardlock
// does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == transforms.TrialCommand {
		if err := transforms.RunTrial(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(transforms.TrialExit)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == policy.WorkerCommand {
		if err := policy.RunWorker(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// oneModule binds module m to topics of three bindings.
const oneModule = `
broker: {embedded: {}}
trust: {root: trust.json}
policy: {path: policy}
modules: [{name: m, wasm: m/m.wasm, signature: m/m.sigstore.json, approvals: [m/approval.sigstore.json]}]
bindings:
  - {topics: [one], modules: [m]}
  - {topics: [two], modules: [m]}
  - {topics: ["three*"], modules: [m]}
`

// newSite has module uppercase, signed and approved, as m.
func newSite(t testing.TB, yaml string) *site {
	t.Helper()
	s := &site{
		t:      t,
		dir:    t.TempDir(),
		author: must(signing.GenerateKey(rand.Reader)),
		grace:  must(signing.GenerateKey(rand.Reader)),
		log:    new(lockedBuffer),
		record: &recorder{},
		clock:  time.Now(),
		served: map[string]*gateway.Bindings{},
	}

	s.policy("true")
	s.trust()
	s.module("m", "uppercase", "m/m.wasm", "m/m.sigstore.json", "m/approval.sigstore.json")
	s.write("guardlock.yaml", []byte(yaml))

	s.yaml = yaml
	s.start()
	return s
}

// start makes a reloader for the site.
func (s *site) start() {
	path := filepath.Join(s.dir, "guardlock.yaml")
	runtime := must(transforms.New(transforms.Config{}))
	r := newReloader(&Server{
		cfg:     must(config.Parse([]byte(s.yaml), path)),
		log:     NewLogger(config.Log{}, s.log),
		reader:  disk.NewReader(time.Minute),
		runtime: runtime,
	})

	r.record = s.record
	r.serve = s.serve
	r.now = func() time.Time { return s.clock }
	s.r = r

	s.t.Cleanup(func() {
		ctx := context.WithoutCancel(s.t.Context())
		r.close(ctx)
		runtime.Close(ctx)
	})
}

// restart begins anew on the same files.
func (s *site) restart() { s.start() }

// loaded is newSite after its first load.
func loaded(t *testing.T, yaml string) *site {
	t.Helper()
	s := newSite(t, yaml)
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}

	return s
}

func (s *site) write(name string, content []byte) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := disk.Replace(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// policy allows what the condition, in Rego, is true of.
func (s *site) policy(condition string) {
	s.t.Helper()
	s.write("policy/module.rego", fmt.Appendf(nil, `package guardlock.module
limits := {"memory_bytes": 0, "deadline_ms": 0, "output_bytes": 0, "instances": 0}
default ok := false
ok if %s
decision := {"allow": ok, "reasons": [r | not ok; r := "not_today"], "host_functions": input.module.imports, "limits": limits, "valid_until": input.grant.not_after}
`, condition))
}

// trust writes the trust root, with the digests that it revokes.
func (s *site) trust(revoked ...string) {
	s.t.Helper()
	person := func(name string, k *signing.PrivateKey) []map[string]string {
		return []map[string]string{{"identity": name, "key": string(must(k.Public().MarshalPEM()))}}
	}

	s.write("trust.json", must(json.MarshalIndent(map[string]any{
		"authors":   person("ada", s.author),
		"approvers": person("grace", s.grace),
		"revoked":   map[string]any{"digests": revoked},
	}, "", "  ")))
}

// version is a bundled module as one version of a package.
func version(name string) (wasm []byte, digest string) {
	wasm, ok := modules.Wasm(name)
	if !ok {
		panic("no module " + name)
	}
	return wasm, fmt.Sprintf("%x", sha256.Sum256(wasm))
}

// module writes a bundled module's files, as many as are named: wasm, signature,
// approval.
func (s *site) module(name, bundled string, files ...string) {
	s.t.Helper()
	wasm, _ := version(bundled)
	for _, file := range files {
		switch filepath.Ext(strings.TrimSuffix(file, ".sigstore.json")) {
		case ".wasm":
			s.write(file, wasm)
		case "." + name:
			s.write(file, must(signing.SignModule(s.t.Context(), wasm, s.author)))
		default:
			s.writeProof(file, wasm)
		}
	}
}

func (s *site) writeProof(file string, wasm []byte) {
	s.t.Helper()
	if !strings.Contains(filepath.Base(file), "approval") {
		s.write(file, must(signing.SignModule(s.t.Context(), wasm, s.author)))
		return
	}

	s.write(file, must(signing.Approve(s.t.Context(), signing.Approval{
		ModuleDigest: sha256.Sum256(wasm),
		ConfigDigest: sha256.Sum256(nil),
		Topics:       []string{"*"},
		NotBefore:    s.clock.Add(-time.Hour),
		NotAfter:     s.clock.Add(time.Hour),
	}, s.grace)))
}

func (s *site) serve(cluster string, b *gateway.Bindings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[cluster] = b
}

// on is what is served for a topic: the digest of the module that runs, or why
// nothing may be produced.
func (s *site) on(topic string) string {
	s.mu.Lock()
	b := s.served[config.MainCluster]
	s.mu.Unlock()

	known := b.Know(gateway.Client{})
	g := b.Lookup(topic, &known)
	switch {
	case g.Refusal != audit.OutcomePassed:
		return g.Why
	case !g.ValidUntil.IsZero() && s.clock.After(g.ValidUntil):
		return "expired"
	case len(g.Modules) == 0:
		return "passed"
	}

	return fmt.Sprintf("%x", [sha256.Size]byte(g.Modules[0].Digest))
}

// expect checks what is served on every topic of oneModule.
func (s *site) expect(when, want string) {
	s.t.Helper()
	for _, topic := range []string{"one", "two", "three-and-more"} {
		if got := s.on(topic); got != want {
			s.t.Errorf("%s: topic %s is under %.16s, want %.16s", when, topic, got, want)
		}
	}
}

// look is what watch does at each tick, with its pause after failures over.
func (s *site) look() {
	s.t.Helper()
	s.clock = s.clock.Add(retryAfter)
	s.r.look(s.t.Context())
}

// recorder keeps entries. While it is held, those of admissions wait, as they do
// for a disk that is slow.
type recorder struct {
	mu      sync.Mutex
	entries []audit.ControlEntry
	hold    chan struct{}
	waiting chan struct{}
}

func (r *recorder) Record(ctx context.Context, e audit.ControlEntry) error {
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()

	if hold != nil && e.Kind == audit.KindAdmission && e.Subject != "*" {
		r.waiting <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return nil
}

// holdAdmissions makes admissions wait until the function that it returns is called.
// The channel tells of the first that does.
func (r *recorder) holdAdmissions() (waiting <-chan struct{}, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hold := make(chan struct{})
	r.hold = hold
	r.waiting = make(chan struct{}, 100)

	return r.waiting, func() {
		r.mu.Lock()
		r.hold = nil
		r.mu.Unlock()
		close(hold)
	}
}

// has reports whether an entry like this was recorded.
func (r *recorder) has(kind audit.Kind, subject, outcome, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.entries, func(e audit.ControlEntry) bool {
		return e.Kind == kind && e.Subject == subject && e.Outcome == outcome && e.Reason == reason
	})
}
