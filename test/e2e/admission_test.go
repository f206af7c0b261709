package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/signing"
)

// refusals are the packages that must not be loaded: what is wrong, the code
// in the log, and words of the message that an operator reads.
var refusals = []struct {
	name, code, message string
	module              func() module
	spoil               func(*testing.T, *deployment, module)
}{
	{name: "unsigned", code: "unsigned", message: "no author signature",
		spoil: func(_ *testing.T, d *deployment, m module) { d.write(m.name+".sigstore.json", nil) }},
	{name: "wrong-key", code: "untrusted_key", message: "key that the trust root does not list",
		spoil: func(t *testing.T, d *deployment, m module) {
			d.write(m.name+".sigstore.json", must(signing.SignModule(t.Context(), m.wasm, d.people.stranger))(t))
		}},
	{name: "wrong-approver", code: "untrusted_key", message: "key that the trust root does not list",
		spoil: func(t *testing.T, d *deployment, m module) {
			p := d.people
			p.approver = p.stranger
			d.write(m.name+".approval.json", p.approval(t, m))
		}},
	{name: "changed-byte", code: "digest_mismatch", message: "bytes have changed",
		spoil: func(_ *testing.T, d *deployment, m module) {
			changed := slices.Clone(m.wasm)
			changed[bytes.Index(changed, []byte("judge.no"))] ^= 1
			d.write(m.name+".wasm", changed)
		}},
	{name: "expired", code: "expired", message: "expired",
		module: func() module { m := judgeModule("expired"); m.lasts = -time.Hour; return m }},
	{name: "changed-config", code: "config_changed", message: "configuration",
		spoil: func(_ *testing.T, d *deployment, m module) { d.write(m.name+".json", []byte(`{"mask":false}`)) }},
	{name: "extra-import", code: "import_not_approved", message: "guardlock_log.log",
		module: func() module { return module{wasm: passerThatLogs(), functions: []string{"guardlock_crypto.sha256"}} }},
	{name: "unknown-import", code: "import_unknown", message: "wasi_snapshot_preview1",
		module: func() module { return module{wasm: passer("wasi_snapshot_preview1.sock_send")} }},
	{name: "section-count", code: "hostile_or_malformed", message: "limit",
		module: func() module { return module{wasm: hugeCount()} }},
	{name: "table-grow", code: "hostile_or_malformed", message: "table.grow",
		module: func() module { return module{wasm: tableGrower()} }},
	{name: "nested-blocks", code: "hostile_or_malformed", message: "nest",
		module: func() module { return module{wasm: nested(100_000)} }},
}

// Every refusal has a message of its own in `guardlock check`, and an entry of
// its own in the log of a gateway that serves; its topic takes nothing.
func TestModulesThatMayNotRunAreRefusedAtLoadEachWithItsReason(t *testing.T) {
	p := plan{bindings: map[string]string{"good": "good"}}
	good := judgeModule("good")
	good.name = "good"
	p.modules = []module{good}

	for _, r := range refusals {
		m := judgeModule(r.name)
		if r.module != nil {
			m = r.module()
		}
		m.name, m.topics = r.name, []string{r.name}
		p.modules = append(p.modules, m)
		p.bindings[r.name] = r.name
	}

	d := deploy(t, p)
	for i, r := range refusals {
		if r.spoil != nil {
			r.spoil(t, d, p.modules[i+1])
		}
	}

	checkNamesEach(t, d)
	serveRefusesEach(t, d)
}

func checkNamesEach(t *testing.T, d *deployment) {
	t.Helper()
	if out, exit := guardlock(t, "check", d.config); exit != 0 || strings.Count(out, "warning: module ") != len(refusals) {
		t.Errorf("check ended with %d, want 0 and a warning of each:\n%s", exit, out)
	}

	out, exit := guardlock(t, "check", "--strict", d.config)
	if exit != 3 {
		t.Errorf("check --strict ended with %d, want 3", exit)
	}

	for _, r := range refusals {
		said := problem(out, r.name)
		if !strings.Contains(said, "("+r.code+")") || !strings.Contains(said, r.message) {
			t.Errorf("check says of %s: %q; want code %s and %q", r.name, said, r.code, r.message)
		}
	}

	if problem(out, "good") != "" {
		t.Errorf("check complains about a good module:\n%s", out)
	}
}

// problem is what check says of one module, which may take several lines.
func problem(text, module string) string {
	const head = "module "
	_, after, found := strings.Cut(text, head+module+" is refused")
	if !found {
		return ""
	}
	said, _, _ := strings.Cut(after, "\n  "+head)
	return said
}

func serveRefusesEach(t *testing.T, d *deployment) {
	t.Helper()
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "good", 0, "a")

	for _, r := range refusals {
		if err := send(t, c, r.name, 0, "a")[0]; err == nil || !strings.Contains(err.Error(), "POLICY_VIOLATION") {
			t.Errorf("producing to the topic of %s: %v", r.name, err)
		}
		found := decisions(t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindAdmission}, Modules: []string{r.name}})
		if len(found) == 0 || found[0].Outcome != "denied" || found[0].Reason != r.code {
			t.Errorf("the log says of the admission of %s: %+v", r.name, found)
		}
	}

	gateway.terminate()
}

// Exponential work in a few bytes loads, as any loop does; but every call of it
// is interrupted, and nothing is stored.
func TestExponentialCallsAreInterrupted(t *testing.T) {
	d := deploy(t, plan{modules: []module{{name: "bomb", wasm: exponential(40), topics: []string{"in"}}}, bindings: map[string]string{"in": "bomb", "other": ""}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	createTopic(t, c, "in", 1, nil)

	got := results(dial(t, d.address).request(produceOf(-1, part{"in", 0, batchOf(nobody, "a")})))[0]
	if got.ErrorCode != codeTimedOut {
		t.Errorf("a batch that nobody could judge was answered with code %d", got.ErrorCode)
	}

	mustSend(t, c, "other", 0, "a") // the gateway goes on
	if found := decisions(t, d.audit(), query.Filter{Topics: []string{"in"}, Outcomes: []string{"timeout"}}); len(found) == 0 {
		t.Error("the log does not say that the module timed out")
	}

	gateway.terminate()
}

// A revocation is a line in the trust root; nobody restarts anything.
func TestRevokedModuleStopsOnEveryTopicWithinASecond(t *testing.T) {
	m := judgeModule("a", "b")
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"a": "judge", "b": "judge"}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "a", 0, "1")
	mustSend(t, c, "b", 0, "1")
	digest := sha256.Sum256(m.wasm)
	d.write("trust.json", d.people.root(t, hex.EncodeToString(digest[:])))
	revoked := time.Now()

	for _, topic := range []string{"a", "b"} {
		eventually(t, "the topic stops", func() bool { return send(t, c, topic, 0, "2")[0] != nil })
	}
	if took := time.Since(revoked); took > time.Second {
		t.Errorf("the module ran for %s after its revocation", took)
	}

	eventually(t, "the log has the revocation, and its refusal for each topic", func() bool {
		found := decisions(t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindAdmission}, Reasons: []string{"revoked"}})
		return slices.ContainsFunc(found, func(d query.Decision) bool { return d.Control.Subject == "*" }) && len(found) == 3
	})

	gateway.terminate()
}
