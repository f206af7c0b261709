package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
)

// people are who signs, who approves, and somebody whom nobody trusts.
type people struct {
	author, approver, stranger *signing.PrivateKey
}

func newPeople(t *testing.T) people {
	t.Helper()
	key := func() *signing.PrivateKey { return must(signing.GenerateKey(rand.Reader))(t) }
	return people{key(), key(), key()}
}

// root is the trust root that knows author and approver; revoked are digests.
func (p people) root(t *testing.T, revoked ...string) []byte {
	t.Helper()
	person := func(name string, k *signing.PrivateKey) []map[string]string {
		return []map[string]string{{"identity": name, "key": string(must(k.Public().MarshalPEM())(t))}}
	}
	return must(json.Marshal(map[string]any{"authors": person("builder@example.com", p.author),
		"approvers": person("security@example.com", p.approver), "threshold": 1,
		"revoked": map[string]any{"digests": revoked}}))(t)
}

// module is a module package before it is signed and approved.
type module struct {
	name      string
	wasm      []byte
	config    []byte
	topics    []string // that are approved
	routes    []string
	functions []string // that are approved; nil: what the module imports
	keys      []string
	lasts     time.Duration // of the approval; 0: an hour
	tables    []string      // whose files are NAME.TABLE
}

// bundled is a module of the catalogue.
func bundled(name string, topics ...string) module {
	wasm, _ := modules.Wasm(name)
	config, _ := modules.ExampleConfig(name)
	return module{name: name, wasm: wasm, config: config, topics: topics}
}

func judgeModule(topics ...string) module {
	return module{name: "judge", wasm: judge(), topics: topics, routes: []string{"quarantine"}}
}

// approve signs m as its author and approves it as the security team.
func (p people) approve(t *testing.T, m module) signing.Package {
	t.Helper()
	return signing.Package{Wasm: m.wasm, Config: m.config, Signature: must(signing.SignModule(t.Context(), m.wasm, p.author))(t),
		Approvals: [][]byte{p.approval(t, m)}}
}

func (p people) approval(t *testing.T, m module) []byte {
	t.Helper()
	if m.lasts == 0 {
		m.lasts = time.Hour
	}

	if m.functions == nil {
		info, _ := transforms.Inspect(m.wasm, transforms.ScanLimits{})
		m.functions = admission.HostFunctions(info)
	}

	return must(signing.Approve(t.Context(), signing.Approval{ModuleDigest: sha256.Sum256(m.wasm), ConfigDigest: sha256.Sum256(m.config),
		Topics: m.topics, HostFunctions: m.functions, Keys: m.keys, Routes: m.routes, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: time.Now().Add(m.lasts), Ticket: "E2E-1"}, p.approver))(t)
}
