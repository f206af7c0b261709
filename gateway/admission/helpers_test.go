package admission_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
)

var now = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// recorder keeps what is recorded, or fails.
type recorder struct {
	fails error

	mu      sync.Mutex
	entries []audit.ControlEntry
}

func (r *recorder) Record(_ context.Context, c audit.ControlEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails == nil {
		r.entries = append(r.entries, c)
	}
	return r.fails
}

// people sign and approve. Ada is an author and an approver.
type people struct{ ada, grace, linus, eve *signing.PrivateKey }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newPeople() people {
	key := func() *signing.PrivateKey { return must(signing.GenerateKey(rand.Reader)) }
	return people{key(), key(), key(), key()}
}

// root does not know Eve.
func (p people) root(threshold int, revoked ...string) *signing.TrustRoot {
	return p.rootUntil(time.Time{}, threshold, revoked...)
}

// rootUntil is a root in which the key of Linus has an end, unless it is zero.
func (p people) rootUntil(end time.Time, threshold int, revoked ...string) *signing.TrustRoot {
	type person struct {
		Identity string    `json:"identity"`
		Key      string    `json:"key"`
		NotAfter time.Time `json:"not_after,omitzero"`
	}

	is := func(name string, k *signing.PrivateKey) person {
		entry := person{Identity: name, Key: string(must(k.Public().MarshalPEM()))}
		if name == "linus" {
			entry.NotAfter = end
		}
		return entry
	}

	return must(signing.ParseTrustRoot(must(json.Marshal(map[string]any{"threshold": threshold,
		"authors": []person{is("ada", p.ada)}, "approvers": []person{is("ada", p.ada), is("grace", p.grace), is("linus", p.linus)},
		"revoked": map[string]any{"digests": revoked}}))))
}

// grant is what approvers say of wasm, with what it imports and one key.
func grant(wasm, config []byte) signing.Approval {
	a := signing.Approval{ModuleDigest: sha256.Sum256(wasm), ConfigDigest: sha256.Sum256(config), Topics: []string{"customers"},
		Keys: []string{"pseudonyms"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	info, _ := transforms.Inspect(wasm, transforms.ScanLimits{})
	for _, i := range info.Imports {
		a.HostFunctions = append(a.HostFunctions, i.String())
	}
	return a
}

// signed is a package of wasm that Ada signed and Grace approved.
func (p people) signed(t *testing.T, wasm, config []byte) signing.Package {
	t.Helper()
	return signing.Package{Wasm: wasm, Config: config, Signature: must(signing.SignModule(t.Context(), wasm, p.ada)),
		Approvals: [][]byte{must(signing.Approve(t.Context(), grant(wasm, config), p.grace))}}
}

func gdpr() (wasm, config []byte) {
	wasm, _ = modules.Wasm("gdpr")
	config, _ = modules.ExampleConfig("gdpr")
	return slices.Clone(wasm), slices.Clone(config)
}

// Policies: what the decision is, as Rego.
const (
	allows  = `{"allow": true, "reasons": [], "host_functions": input.module.imports, "limits": limits, "valid_until": input.grant.not_after}`
	denies  = `{"allow": false, "reasons": ["not_today", "too_large"], "host_functions": [], "limits": limits, "valid_until": input.grant.not_after}`
	silent  = `{"allow": false, "reasons": [], "host_functions": [], "limits": limits, "valid_until": input.grant.not_after}`
	narrows = `{"allow": true, "reasons": [], "host_functions": [], "limits": limits, "valid_until": input.grant.not_after}`
	// tightens grants less than was approved, and for a shorter time.
	tightens = `{"allow": true, "reasons": [], "host_functions": input.module.imports, "valid_until": "2030-05-01T12:20:00Z",
		"limits": {"memory_bytes": 33554432, "deadline_ms": 30, "output_bytes": 1048576, "instances": 2}}`
	breaks = `{"allow": "yes"}`
)

func engine(t *testing.T, decision string) *policy.Engine {
	t.Helper()
	rego := "package guardlock.module\nlimits := {\"memory_bytes\": 0, \"deadline_ms\": 0, \"output_bytes\": 0, \"instances\": 0}\ndecision := " + decision + "\n"
	return must(policy.Load(t.Context(), fstest.MapFS{"policy.rego": {Data: []byte(rego)}}))
}

// admitter is one of a gateway that has the key that grants name.
func admitter(t *testing.T, trust *signing.TrustRoot, decision string) (*admission.Admitter, *recorder) {
	t.Helper()
	return admitterOf(t, trust, engine(t, decision))
}

func admitterOf(t testing.TB, trust *signing.TrustRoot, policy *policy.Engine) (*admission.Admitter, *recorder) {
	t.Helper()
	runtime := must(transforms.New(transforms.Config{}))
	t.Cleanup(func() { runtime.Close(context.WithoutCancel(t.Context())) })
	r := &recorder{}
	return admission.New(admission.Admitter{Trust: trust, Policy: policy, Runtime: runtime, Record: r, Node: "gw", Version: "v1",
		Keys: map[string][]byte{"pseudonyms": make([]byte, 32)}, Now: func() time.Time { return now }}), r
}

var customers = admission.Place{Binding: "b", Topics: []string{"customers"}, DataClass: "internal"}

// steps writes the steps of an entry on one line, without what those found that
// passed.
func steps(c audit.ControlEntry) string {
	var out []string
	for _, s := range c.Steps {
		text := s.Name + " " + s.Verdict
		if s.Verdict == admission.Failed {
			text += " " + s.Detail
		}
		out = append(out, text)
	}

	return strings.Join(out, ", ")
}

func digestOf(wasm []byte) string { return fmt.Sprintf("%x", sha256.Sum256(wasm)) }
