package policy

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guardlock/guardlock/internal/problem"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// request is an input that the default policy allows.
func request() Input {
	return Input{
		Module: Module{
			Name: "gdpr", Digest: strings.Repeat("ab", 32), Size: 4096,
			Imports: []string{"guardlock_crypto.sha256", "guardlock_log.log"},
			Author:  "ada@example.com", Approvers: []string{"bob@example.com", "eve@example.com"},
		},
		Grant: Grant{
			Approvals: []Approval{{ID: "a1", Approver: "bob@example.com", NotAfter: noon().AddDate(0, 1, 0)},
				{ID: "a2", Approver: "eve@example.com", Ticket: "SEC-1", NotAfter: noon().AddDate(0, 2, 0)}},
			Topics:        []string{"customers.*"},
			HostFunctions: []string{"guardlock_log.log", "guardlock_crypto.sha256", "guardlock_crypto.hmac_sha256"},
			Routes:        []string{"quarantine"},
			NotAfter:      noon().AddDate(0, 1, 0),
		},
		Binding: Binding{Topics: []string{"customers.eu"}, DataClass: "restricted", Isolation: "shared"},
		Gateway: Gateway{ID: "gw-1", Version: "v0.1.0", Limits: Limits{MemoryBytes: 8 << 20}},
		Now:     noon(),
	}
}

func mustLoad(t testing.TB, fsys fs.FS) *Engine {
	t.Helper()
	e, err := Load(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// check is Check in this process.
func check(t *testing.T, fsys fs.FS) problem.List {
	t.Helper()
	found, err := Check(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// policyOf makes a policy whose decision is the given Rego.
func policyOf(decision string) fs.FS {
	return fstest.MapFS{"m.rego": {Data: []byte("package guardlock.module\n\n" + decision + "\n")}}
}

const allowing = `decision := {"allow": true, "reasons": [], "host_functions": ["guardlock_log.log"],
	"limits": {"memory_bytes": 1, "deadline_ms": 2, "output_bytes": 3, "instances": 4}, "valid_until": "2026-03-02T00:00:00Z"}`

func TestDefaultPolicyAllowsAnApprovedModule(t *testing.T) {
	d, err := mustLoad(t, Default()).Decide(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	if !d.Allow || len(d.Reasons) != 0 {
		t.Fatalf("got %+v", d)
	}
	if want := []string{"guardlock_crypto.sha256", "guardlock_log.log"}; !slices.Equal(d.HostFunctions, want) {
		t.Errorf("host functions %v, want %v", d.HostFunctions, want)
	}
	if d.Limits.MemoryBytes != 8<<20 || d.Limits.DeadlineMS != 50 {
		t.Errorf("limits %+v: want the gateway's memory and the class's deadline", d.Limits)
	}
	if !d.ValidUntil.Equal(request().Grant.NotAfter) || len(d.PolicyRevision) != 64 {
		t.Errorf("got %+v", d)
	}
}

func TestARefusalSaysWhatWasFoundAndWhatIsAllowed(t *testing.T) {
	in := request()
	in.Grant.NotAfter = noon().AddDate(0, 0, 500)
	d, err := mustLoad(t, Default()).Decide(t.Context(), in)
	if err != nil || len(d.Why) != 1 {
		t.Fatalf("got %+v, %v", d, err)
	}

	why := d.Why[0]
	if why.String() != "grant_too_long: 500 days, at most 180" || why.Title != "The approval runs too long" || why.Description == "" {
		t.Errorf("got %+v", why)
	}
}

func TestDetailsAreOneShortLine(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 257), `two\nlines`} {
		e := mustLoad(t, policyOf(strings.NewReplacer("true", "false", `"reasons": []`, `"reasons": ["no"], "details": {"no": "`+text+`"}`).Replace(allowing)))
		if _, err := e.Decide(t.Context(), request()); !errors.Is(err, ErrMalformed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDenialGrantsNothing(t *testing.T) {
	in := request()
	in.Module.Approvers = []string{"bob@example.com"}
	d, err := mustLoad(t, Default()).Decide(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if d.Allow || len(d.HostFunctions) != 0 || d.Limits != (Limits{}) {
		t.Errorf("got %+v", d)
	}
	if !slices.Equal(d.Reasons, []string{"crypto_approvers_too_few"}) {
		t.Errorf("reasons %v", d.Reasons)
	}
}

// paths lists every field of a JSON document, as paths.
func paths(doc any, at []string) [][]string {
	var all [][]string
	if m, ok := doc.(map[string]any); ok {
		for k, v := range m {
			p := append(slices.Clone(at), k)
			all = append(append(all, p), paths(v, p)...)
		}
	}

	return all
}

// change returns the document with the value at path replaced, or, when with
// is nil, deleted.
func change(t *testing.T, raw []byte, path []string, with any) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}

	at := doc
	for _, p := range path[:len(path)-1] {
		at = at[p].(map[string]any)
	}

	last := path[len(path)-1]
	if with == nil {
		delete(at, last)
	} else {
		at[last] = with
	}

	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}

	return out
}

func TestMissingOrMistypedFieldsNeverAllow(t *testing.T) {
	e := mustLoad(t, Default())
	raw, err := MarshalInput(request())
	if err != nil {
		t.Fatal(err)
	}

	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if v, err := e.Eval(t.Context(), raw); err != nil || !v.Allowed() {
		t.Fatalf("the whole input must be allowed: %+v %v", v, err)
	}

	all := paths(doc, nil)
	if len(all) < 37 {
		t.Fatalf("only %d fields", len(all))
	}

	for _, path := range all {
		for _, with := range []any{nil, []any{1}, map[string]any{}, true, -1} {
			v, err := e.Eval(t.Context(), change(t, raw, path, with))
			if err != nil {
				t.Fatal(err)
			}

			// Rego alone must deny: the floor below is a second wall.
			var result struct{ Allow bool }
			if v.Result != nil {
				if err := json.Unmarshal(v.Result, &result); err != nil {
					t.Fatal(err)
				}
			}

			if v.Allowed() || result.Allow {
				t.Errorf("allowed with %s = %v", strings.Join(path, "."), with)
			}
		}
	}
}

func TestDecisionMustHaveExactlyItsForm(t *testing.T) {
	for name, decision := range map[string]string{
		"undefined":          `decision := true if input.nothing`,
		"boolean":            `decision := true`,
		"missing field":      `decision := {"allow": true, "reasons": [], "host_functions": [], "valid_until": "2026-03-02T00:00:00Z"}`,
		"extra field":        strings.Replace(allowing, `{"allow": true`, `{"allow": true, "extra": 1`, 1),
		"allow as text":      strings.Replace(allowing, `true`, `"true"`, 1),
		"allow null":         strings.Replace(allowing, `true`, `null`, 1),
		"functions as text":  strings.Replace(allowing, `["guardlock_log.log"]`, `"guardlock_log.log"`, 1),
		"functions null":     strings.Replace(allowing, `["guardlock_log.log"]`, `[null]`, 1),
		"limit missing":      strings.Replace(allowing, `"memory_bytes": 1, `, ``, 1),
		"limit unknown":      strings.Replace(allowing, `"memory_bytes": 1`, `"memory_bytes": 1, "cpu": 2`, 1),
		"limit negative":     strings.Replace(allowing, `"memory_bytes": 1`, `"memory_bytes": -1`, 1),
		"limit fractional":   strings.Replace(allowing, `"memory_bytes": 1`, `"memory_bytes": 1.5`, 1),
		"bad time":           strings.Replace(allowing, `2026-03-02T00:00:00Z`, `tomorrow`, 1),
		"allowed, but":       strings.Replace(allowing, `"reasons": []`, `"reasons": ["why_not"]`, 1),
		"reason not a code":  strings.Replace(strings.Replace(allowing, `true`, `false`, 1), `"reasons": []`, `"reasons": ["Bob said no"]`, 1),
		"conflicting values": "decision := 1\n\ndecision := 2 if input.now",
	} {
		t.Run(name, func(t *testing.T) {
			d, err := mustLoad(t, policyOf(decision)).Decide(t.Context(), request())
			if err == nil || d.Allow {
				t.Errorf("got %+v, %v", d, err)
			}
		})
	}
}

func TestUndefinedAndMalformedDecisionsAreNamed(t *testing.T) {
	for decision, want := range map[string]error{
		`decision := true if input.nothing`: ErrUndefined,
		`decision := {"allow": true}`:       ErrMalformed,
	} {
		if _, err := mustLoad(t, policyOf(decision)).Decide(t.Context(), request()); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", decision, err, want)
		}
	}
}

func TestPolicyCanOnlyNarrow(t *testing.T) {
	for name, c := range map[string]struct {
		decision string
		want     error
	}{
		"as granted":           {allowing, nil},
		"not imported":         {strings.Replace(allowing, "guardlock_log.log", "guardlock_crypto.hmac_sha256", 1), ErrWidened},
		"imported, no grant":   {strings.Replace(allowing, "guardlock_log.log", "guardlock_compress.zstd", 1), ErrWidened},
		"unheard of":           {strings.Replace(allowing, "guardlock_log.log", "guardlock_net.dial", 1), ErrWidened},
		"until a time past":    {strings.Replace(allowing, "2026-03-02", "2026-03-01", 1), ErrWidened},
		"beyond the grant":     {strings.Replace(allowing, "2026-03-02", "2036-03-02", 1), nil},
		"limits above granted": {strings.Replace(allowing, `"memory_bytes": 1,`, `"memory_bytes": 999999999,`, 1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := request()
			in.Module.Imports = append(in.Module.Imports, "guardlock_compress.zstd")
			in.Grant.Limits.MemoryBytes = 1 << 20

			d, err := mustLoad(t, policyOf(c.decision)).Decide(t.Context(), in)
			if !errors.Is(err, c.want) || err != nil && d.Allow {
				t.Fatalf("got %+v, %v", d, err)
			}
			if d.ValidUntil.After(in.Grant.NotAfter) || d.Limits.MemoryBytes > 1<<20 {
				t.Errorf("wider than granted: %+v", d)
			}
		})
	}
}

func TestRemovedBuiltinsAreRefusedAtLoad(t *testing.T) {
	for name, body := range map[string]string{
		"http.send":           `decision := http.send({"method": "get", "url": "http://127.0.0.1/"})`,
		"http.send by with":   `decision := x if x := count([1]) with count as http.send`,
		"net.lookup_ip_addr":  `decision := net.lookup_ip_addr("localhost")`,
		"opa.runtime":         `decision := opa.runtime()`,
		"io.jwt.encode_sign":  `decision := io.jwt.encode_sign({}, {}, {})`,
		"sign_raw":            `decision := io.jwt.encode_sign_raw("", "", "")`,
		"aws":                 `decision := providers.aws.sign_req({}, {}, 1)`,
		"rand.intn":           `decision := rand.intn("x", 9)`,
		"uuid.rfc4122":        `decision := uuid.rfc4122("x")`,
		"trace":               `decision := trace("x")`,
		"rego.parse_module":   `decision := rego.parse_module("x", "package x")`,
		"template_match":      `decision := regex.template_match("{a}", "a", "{", "}")`,
		"json.match_schema":   `decision := json.match_schema({}, {"$ref": "http://127.0.0.1/"})`,
		"json.verify_schema":  `decision := json.verify_schema({"$ref": "http://127.0.0.1/"})`,
		"unused variable":     `decision := 1 if { x := 2 }`,
		"no entry point":      `verdict := 1`,
		"shadowed input":      `decision := 1 if { input := 2; input == 2 }`,
		"remote input schema": "# METADATA\n# schemas:\n#   - input: {\"$ref\": \"http://127.0.0.1/\"}\ndecision := input.x",
	} {
		t.Run(name, func(t *testing.T) {
			var ps problem.List
			if _, err := Load(t.Context(), policyOf(body)); !errors.As(err, &ps) {
				t.Errorf("got %v", err)
			}
			if len(check(t, policyOf(body))) == 0 {
				t.Error("Check finds nothing")
			}
		})
	}
}

func TestBuiltinErrorIsDeny(t *testing.T) {
	// Lenient evaluation would make the bad time undefined, and allow.
	e := mustLoad(t, policyOf(`default expired := false

expired if time.parse_rfc3339_ns(input.binding.data_class) < 0

`+strings.Replace(allowing, "true", "expired == false", 1)))

	d, err := e.Decide(t.Context(), request())
	if err == nil || d.Allow {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestEndlessPolicyIsCancelled(t *testing.T) {
	fsys := policyOf(`decision := count(numbers.range(1, 100000000000))`)
	e, err := LoadWith(t.Context(), fsys, Options{Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	if _, err := e.Decide(t.Context(), request()); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestCancelledContextIsNoDecision(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := mustLoad(t, Default()).Decide(ctx, request()); err == nil || d.Allow {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestCheckReportsAllProblems(t *testing.T) {
	ps := check(t, fstest.MapFS{
		"a.rego": {Data: []byte("package a\n\nx := \n")},
		"b.rego": {Data: []byte("package b\n\ny if {\n")},
	})

	files := map[string]bool{}
	for _, p := range ps {
		files[p.File] = p.Line > 0
	}

	if !files["a.rego"] || !files["b.rego"] {
		t.Errorf("got %v", ps)
	}
	ps = check(t, policyOf("decision := http.send({})\n\nx := rand.intn(\"a\", 1)\n"))
	if len(ps) != 2 {
		t.Errorf("got %v", ps)
	}
}

func TestDefaultPolicyIsCleanAndCovered(t *testing.T) {
	if ps := check(t, Default()); len(ps) != 0 {
		t.Errorf("problems: %v", ps)
	}
	r, err := Test(t.Context(), Default(), Options{})
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range r.Tests {
		if !c.Passed {
			t.Errorf("%s:%d %s failed %s %s", c.File, c.Line, c.Name, c.Error, c.Output)
		}
	}

	if !r.Passed() || r.Coverage < 90 {
		t.Errorf("coverage %.1f %%, gaps %v", r.Coverage, r.Gaps)
	}
}

func TestFailingAndMissingPolicyTestsAreReported(t *testing.T) {
	fsys := policyOf(allowing).(fstest.MapFS)
	if r, err := Test(t.Context(), fsys, Options{}); err != nil || r.Passed() {
		t.Errorf("no tests count as passed: %+v %v", r, err)
	}

	fsys["m_test.rego"] = &fstest.MapFile{Data: []byte("package m_test\n\ntest_it if false\n")}
	if r, err := Test(t.Context(), fsys, Options{}); err != nil || r.Passed() || r.Tests[0].Name != "test_it" {
		t.Errorf("got %+v %v", r, err)
	}
}

func TestRevisionFollowsContents(t *testing.T) {
	one := mustLoad(t, policyOf(allowing)).Revision()
	if again := mustLoad(t, policyOf(allowing)).Revision(); again != one {
		t.Error("the same policy has two revisions")
	}
	if other := mustLoad(t, policyOf(allowing+"\n")).Revision(); other == one {
		t.Error("two policies have one revision")
	}

	e, err := LoadWith(t.Context(), policyOf(allowing), Options{Config: []byte("{}")})
	if err != nil || e.Revision() == one {
		t.Errorf("configuration is not in the revision: %v", err)
	}
}

func TestConfigTakesThePlaceOfDataConfig(t *testing.T) {
	config := []byte("data_classes: {}\ndefault_class: x\ntopics: {}\nmax_module_bytes: 1\n")
	e, err := LoadWith(t.Context(), Default(), Options{Config: config})
	if err != nil {
		t.Fatal(err)
	}

	d, err := e.Decide(t.Context(), request())
	if err != nil || d.Allow || !slices.Contains(d.Reasons, "data_class_unknown") || !slices.Contains(d.Reasons, "module_too_large") {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestReloadUnderLoadNeverMixesRevisions(t *testing.T) {
	text := map[string]int64{}
	var engines []*Engine
	for i, memory := range []string{"101", "102", "103"} {
		e := mustLoad(t, policyOf(strings.Replace(allowing, `"memory_bytes": 1`, `"memory_bytes": `+memory, 1)))
		text[e.Revision()] = int64(101 + i)
		engines = append(engines, e)
	}

	var current atomic.Pointer[Engine]
	current.Store(engines[0])
	var deciders sync.WaitGroup
	for range 4 {
		deciders.Go(func() {
			for range 50 {
				d, err := current.Load().Decide(t.Context(), request())
				if err != nil || d.Limits.MemoryBytes != text[d.PolicyRevision] {
					t.Errorf("got %+v, %v", d, err)
				}
			}
		})
	}

	for i := range 200 {
		current.Store(engines[i%len(engines)])
	}
	deciders.Wait()
}

func TestEvalExplainsWhichRulesFired(t *testing.T) {
	in := request()
	in.Module.Approvers = in.Module.Approvers[:1]
	raw, err := MarshalInput(in)
	if err != nil {
		t.Fatal(err)
	}

	v, err := mustLoad(t, Default()).Eval(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if v.Allowed() || !slices.ContainsFunc(v.Fired, func(r Rule) bool { return r.ID == "GL009" && r.Line > 0 }) {
		t.Errorf("got %+v", v)
	}

	text := v.Text()
	for _, want := range []string{"DENIED: crypto_approvers_too_few", "GL009", "Too few people approved a module that uses keys"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}

	if strings.Contains(text, "GL005") {
		t.Errorf("names a rule that did not fire:\n%s", text)
	}
}

func TestEvalShowsWhatTheGatewayWouldDo(t *testing.T) {
	raw, err := MarshalInput(request())
	if err != nil {
		t.Fatal(err)
	}

	for decision, want := range map[string]string{
		allowing: "ALLOWED until 2026-03-02 00:00:00Z\nhost functions: guardlock_log.log\n",
		strings.Replace(allowing, "guardlock_log.log", "guardlock_net.dial", 1): "DENIED: " + ErrWidened.Error(),
		`decision := 1 if input.nothing`:                                        "DENIED: " + ErrUndefined.Error(),
		`decision := 1 / 0`:                                                     "DENIED: evaluating: ",
	} {
		v, err := mustLoad(t, policyOf(decision)).Eval(t.Context(), raw)
		if err != nil || !strings.HasPrefix(v.Text(), want) {
			t.Errorf("got %q, %v; want %q", v.Text(), err, want)
		}
	}

	if _, err := mustLoad(t, Default()).Eval(t.Context(), []byte("{")); err == nil {
		t.Error("input that is not JSON is evaluated")
	}
}

func TestDecisionNeedsTheTime(t *testing.T) {
	in := request()
	in.Now = time.Time{}
	if d, err := mustLoad(t, policyOf(allowing)).Decide(t.Context(), in); err == nil || d.Allow {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestDefaultPolicyIsFormatted(t *testing.T) {
	names, err := fs.Glob(Default(), "*.rego")
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}

	for _, name := range names {
		text, err := fs.ReadFile(Default(), name)
		if err != nil {
			t.Fatal(err)
		}

		formatted, err := format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil || string(formatted) != string(text) {
			t.Errorf("%s is not as `opa fmt` writes it (%v):\n%s", name, err, formatted)
		}
	}
}

func TestOversizedPolicyIsRefused(t *testing.T) {
	fsys := policyOf(allowing).(fstest.MapFS)
	fsys["data.json"] = &fstest.MapFile{Data: make([]byte, maxFileBytes+1)}
	if _, err := Load(t.Context(), fsys); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
	if _, err := LoadBundle(t.Context(), make([]byte, maxPolicyBytes+1), Options{}); err == nil {
		t.Error("a bundle of any size is read")
	}
}

func TestCapabilitiesFileAllowsNoHost(t *testing.T) {
	raw, err := CapabilitiesJSON()
	if err != nil {
		t.Fatal(err)
	}

	var doc struct {
		AllowNet []string `json:"allow_net"`
		Builtins []struct{ Name string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.AllowNet == nil || len(doc.AllowNet) != 0 || len(doc.Builtins) < 100 {
		t.Errorf("allow_net %v, %d built-ins", doc.AllowNet, len(doc.Builtins))
	}

	for _, b := range doc.Builtins {
		if slices.Contains(removed(), b.Name) {
			t.Errorf("%s is still there", b.Name)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	e := mustLoad(b, Default())
	in := request()
	b.ReportAllocs()

	for b.Loop() {
		if d, err := e.Decide(b.Context(), in); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustLoad(b, Default())
	}
}
