package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/signing"
)

// variant is a package with at most one fault, and the code for which it is refused
// whatever a policy says.
type variant struct {
	name  string
	code  string // "" is left to the policy
	topic string // that it is bound to; "" is its name
	made  func() module
	spoil func(t *testing.T, d *deployment, m module)

	// An approver who approves it makes a new approval, of what lies there now. Where
	// that heals the fault, the preview is what policy says; where another person than
	// the approver had approved, that person approves again.
	heals bool
	by    func(people) *signing.PrivateKey
}

func variants() []variant {
	imports := func(m module, functions ...string) func() module {
		return func() module { m.functions = functions; return m }
	}

	return []variant{
		{name: "good"},
		{name: "unsigned", code: "unsigned", spoil: func(_ *testing.T, d *deployment, m module) { d.write(m.name+".sigstore.json", nil) }},
		{name: "signed-by-a-stranger", code: "untrusted_key", spoil: func(t *testing.T, d *deployment, m module) {
			d.write(m.name+".sigstore.json", must(signing.SignModule(t.Context(), m.wasm, d.people.stranger))(t))
		}},
		{name: "approved-by-a-stranger", code: "untrusted_key", by: func(p people) *signing.PrivateKey { return p.stranger },
			spoil: func(t *testing.T, d *deployment, m module) {
				p := d.people
				p.approver = p.stranger
				d.write(m.name+".approval.json", p.approval(t, m))
			}},
		{name: "changed-byte", code: "digest_mismatch", spoil: func(_ *testing.T, d *deployment, m module) {
			changed := slices.Clone(m.wasm)
			changed[bytes.Index(changed, []byte("judge.no"))] ^= 1
			d.write(m.name+".wasm", changed)
		}},
		{name: "changed-config", code: "config_changed", heals: true, spoil: func(_ *testing.T, d *deployment, m module) {
			d.write(m.name+".json", []byte(`{"mask":false}`))
		}},
		{name: "unknown-import", code: "import_unknown", made: imports(module{wasm: passer("wasi_snapshot_preview1.sock_send")})},
		{name: "extra-import", code: "import_not_approved", made: imports(module{wasm: passerThatLogs()}, "guardlock_crypto.sha256")},
		{name: "other-topic", code: "topic_not_granted", topic: "payments", heals: true},
		{name: "no-module", code: "hostile_or_malformed", made: func() module { return module{wasm: hugeCount()} }},
	}
}

func (v variant) module() module {
	m := judgeModule(v.name)
	if v.made != nil {
		m = v.made()
	}

	m.name = v.name
	m.topics = []string{v.name}

	return m
}

func (v variant) boundTo() string {
	if v.topic != "" {
		return v.topic
	}
	return v.name
}

// A policy of one rule, in which input is what a gateway gives.
const oneRule = `package guardlock.module
limits := {"memory_bytes": 0, "deadline_ms": 0, "output_bytes": 0, "instances": 0}
default reasons := []
reasons := %REASONS%
decision := {"allow": count(reasons) == 0, "reasons": reasons, "host_functions": input.module.imports, "limits": limits, "valid_until": input.grant.not_after}
`

// policies have the code with which they refuse what has no fault, and the one with
// which they still do once enough people approved, which is what approve shows.
var policies = []struct{ name, reasons, code, enough string }{
	{"built in", "", "", ""},
	{"allows everything", `[] if false`, "", ""},
	{"denies everything", `["not_today"]`, "not_today", "not_today"},
	{"counts approvals", `["approval_ids_missing"] if count(input.module.approvals) < 2`, "approval_ids_missing", ""},
}

// There is one chain of trust. Every way into it comes to the same verdict with the
// same code: what `module verify` says of a package, what `module approve` shows
// before a yes, what `check` says of a configuration, and what a gateway that serves
// writes down.
func TestEveryWayInComesToTheSameVerdict(t *testing.T) {
	for _, p := range policies {
		t.Run(p.name, func(t *testing.T) {
			d := deployVariants(t, p.reasons)
			wants := map[string]string{}
			for _, v := range variants() {
				wants[v.name] = v.code
				if v.code == "" {
					wants[v.name] = p.code
				}
			}

			checked := d.checked()
			served := d.served()
			for _, v := range variants() {
				want := wants[v.name]
				preview := v.code
				if v.heals || preview == "" {
					preview = p.enough
				}

				for way, got := range map[string]string{
					"check":  checked[v.name],
					"serve":  served[v.name],
					"verify": d.verified(v),
				} {
					if got != want {
						t.Errorf("%s says %q of %s, want %q", way, got, v.name, want)
					}
				}

				if got := d.previewed(v); got != preview {
					t.Errorf("the preview of approve says %q of %s, want %q", got, v.name, preview)
				}
			}
		})
	}
}

func deployVariants(t *testing.T, reasons string) *deployment {
	t.Helper()
	p := plan{bindings: map[string]string{}}
	if reasons != "" {
		p.more = "policy: {path: policy}\n"
	}

	for _, v := range variants() {
		p.modules = append(p.modules, v.module())
		p.bindings[v.boundTo()] = v.name
	}

	d := deploy(t, p)
	if reasons != "" {
		if err := os.Mkdir(filepath.Join(d.dir, "policy"), 0o700); err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(oneRule, "%REASONS%", reasons, 1)
		d.write("policy/module.rego", []byte(strings.Replace(text, "default reasons := []\nreasons := [\"not_today\"]", "reasons := [\"not_today\"]", 1)))
	}

	for i, v := range variants() {
		if v.spoil != nil {
			v.spoil(t, d, p.modules[i])
		}
	}

	return d
}

// checked are the codes that check gives, by module; "" is none.
func (d *deployment) checked() map[string]string {
	d.t.Helper()
	out, err := command(d.t, "check", d.config, "--json").Output()
	var said struct{ Problems, Refused []string }
	if err != nil || json.Unmarshal(out, &said) != nil || len(said.Problems) != 0 {
		d.t.Fatalf("check: %v\n%s", err, out)
	}

	codes := map[string]string{}
	for _, line := range said.Refused {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "module "), " is refused (")
		codes[name], _, _ = strings.Cut(rest, ")")
	}

	return codes
}

// served are the codes that a gateway writes down, by module.
func (d *deployment) served() map[string]string {
	d.t.Helper()
	serve(d.t, d).terminate()
	codes := map[string]string{}
	for _, v := range variants() {
		found := decisions(d.t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindAdmission}, Modules: []string{v.name}})
		if len(found) != 1 || (found[0].Outcome == "allowed") != (found[0].Reason == "") {
			d.t.Fatalf("the log says of the admission of %s: %+v", v.name, found)
		}
		codes[v.name] = found[0].Reason
	}

	return codes
}

func (d *deployment) file(name string) string { return filepath.Join(d.dir, name) }

// policyFlag names the deployment's policy, if it has one.
func (d *deployment) policyFlag() []string {
	if _, err := os.Stat(d.file("policy")); err != nil {
		return nil
	}
	return []string{"--policy", d.file("policy")}
}

// verified is the code of `module verify`.
func (d *deployment) verified(v variant) string {
	d.t.Helper()
	args := append([]string{"module", "verify", d.file(v.name + ".wasm"), "--trust-root", d.file("trust.json"), "--node", "e2e",
		"--approval", d.file(v.name + ".approval.json"), "--topic", v.boundTo(), "--data-class", "internal", "--json"}, d.policyFlag()...)
	out, err := command(d.t, args...).Output()
	var said struct{ Verdict, Code string }
	if json.Unmarshal(out, &said) != nil || (said.Verdict == "passed") != (err == nil) || (said.Code == "") != (err == nil) {
		d.t.Fatalf("verify: %v\n%s", err, out)
	}

	return said.Code
}

// previewed is the code that approve shows for a new approval, or refuses to make one
// with.
func (d *deployment) previewed(v variant) string {
	d.t.Helper()
	key := d.people.approver
	if v.by != nil {
		key = v.by(d.people)
	}

	d.write(v.name+".key", must(key.MarshalPEM(nil))(d.t))

	args := append([]string{"module", "approve", d.file(v.name + ".wasm"), "--trust-root", d.file("trust.json"), "--key", d.file(v.name + ".key"),
		"--topic", v.name, "--data-class", "internal", "--yes", "--json", "--out", d.file(v.name + ".new.json")}, d.policyFlag()...)
	if m := v.module(); m.functions != nil {
		args = append(args, "--host-function", strings.Join(m.functions, ","))
	}

	cmd := command(d.t, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var said struct {
		Gateway struct{ Verdict, Code string }
	}
	if err == nil && json.Unmarshal(out, &said) == nil {
		return said.Gateway.Code
	}

	// It refuses to sign at all what no gateway would look at, and what no other approval
	// would cure.
	for _, code := range []string{"unsigned", "untrusted_key", "digest_mismatch", "hostile_or_malformed", "import_unknown", "import_not_approved"} {
		if strings.Contains(errs.String(), ": "+code+": ") {
			return code
		}
	}

	d.t.Fatalf("approve: %v\n%s\n%s", err, out, &errs)
	return ""
}
