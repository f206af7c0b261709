package admission_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
)

// grown is a gateway of one module that is bound many times, each time to a topic of
// its own, under the built-in policy.
type grown struct {
	admitter *admission.Admitter
	record   *recorder
	people   people
	rules    []admission.Rule
	modules  map[string]admission.Module
}

func grow(t testing.TB, bindings int) *grown {
	t.Helper()
	p := newPeople()
	g := &grown{people: p, modules: map[string]admission.Module{}}
	g.admitter, g.record = admitterOf(t, p.root(1), must(policy.Load(t.Context(), policy.Default())))

	for _, name := range []string{"gdpr", "other"} {
		g.modules[name] = g.approved(t, name, time.Hour)
	}

	for i := range bindings {
		r := rule(fmt.Sprintf("b%d", i), "gdpr")
		if i == 0 {
			r.Modules = []string{"other"}
		}
		r.Topics = []string{fmt.Sprintf("customers.%d", i)}
		g.rules = append(g.rules, r)
	}

	return g
}

func (g *grown) approved(t testing.TB, name string, lasts time.Duration) admission.Module {
	t.Helper()
	wasm, config := gdpr()
	a := grant(wasm, config)
	a.Topics = []string{"customers.*"}
	a.NotAfter = now.Add(lasts)
	pkg := signing.Package{Wasm: wasm, Config: config, Signature: must(signing.SignModule(t.Context(), wasm, g.people.ada))}
	pkg.Approvals = [][]byte{must(signing.Approve(t.Context(), a, g.people.grace))}

	return admission.Module{Name: name, Package: pkg}
}

func (g *grown) build(t testing.TB) *admission.Set {
	t.Helper()
	return must(g.admitter.Build(t.Context(), g.rules, g.modules))
}

// next is the admitter of the next reload: it remembers, and its trust root is
// another one.
func (g *grown) next(trust *signing.TrustRoot) {
	a := *g.admitter
	a.Trust = trust
	g.admitter = &a
}

// A module that is bound many times is started once, and what did not change is not
// asked again when something else did.
func TestAModuleIsStartedOnceHoweverManyBindingsItHas(t *testing.T) {
	g := grow(t, 300)
	first := g.build(t)
	if n := len(g.record.entries); n != 300 {
		t.Errorf("%d admissions are recorded", n)
	}

	chain := first.Bindings[1].Grant.Chain
	for _, b := range first.Bindings[1:] {
		if b.Grant.Chain != chain {
			t.Fatal("two bindings of one module have a pool each")
		}
	}

	g.modules["other"] = g.approved(t, "other", 30*time.Minute)
	g.next(g.people.root(1, fmt.Sprintf("%064x", 7)))
	second := g.build(t)
	defer second.Close(context.WithoutCancel(t.Context()))

	if n := len(g.record.entries); n != 301 {
		t.Errorf("after one file changed %d admissions are recorded", n)
	}
	if second.Bindings[1].Grant.Chain == nil || second.Bindings[1].Grant.Modules[0] != first.Bindings[1].Grant.Modules[0] {
		t.Error("what did not change is not served as before")
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}

	g.next(g.people.root(1, fmt.Sprintf("%x", sha256.Sum256(g.modules["gdpr"].Package.Wasm))))
	third := g.build(t)
	defer third.Close(context.WithoutCancel(t.Context()))

	for _, b := range third.Bindings {
		if b.Grant.Why != "revoked" {
			t.Fatalf("binding %s runs what was revoked", b.Grant.Binding)
		}
	}
}

// BenchmarkTenThousandBindings measures a start, a reload after one file changed and
// one that revokes, and the memory that all of it takes.
func BenchmarkTenThousandBindings(b *testing.B) {
	const bindings = 10_000
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}

	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			g := grow(b, bindings)
			before := heap()
			b.StartTimer()
			set := g.build(b)
			b.StopTimer()
			g.record.entries = nil
			b.ReportMetric(heap()-before, "MiB")
			set.Close(b.Context())
			b.StartTimer()
		}
	})

	b.Run("one file changed", func(b *testing.B) {
		g := grow(b, bindings)
		old := g.build(b)
		lasts := time.Hour
		for b.Loop() {
			b.StopTimer()
			lasts -= time.Second
			g.modules["other"] = g.approved(b, "other", lasts)
			g.next(g.admitter.Trust)
			b.StartTimer()
			set := g.build(b)
			old.Close(b.Context())
			old = set
		}

		old.Close(b.Context())
	})

	b.Run("revoked", func(b *testing.B) {
		g := grow(b, bindings)
		old := g.build(b)
		defer old.Close(context.WithoutCancel(b.Context()))
		wasm := sha256.Sum256(g.modules["gdpr"].Package.Wasm)
		revoked := g.people.root(1, fmt.Sprintf("%x", wasm))
		whole := g.admitter.Trust
		for b.Loop() {
			g.next(revoked)
			set := g.build(b)
			b.StopTimer()

			if set.Bindings[1].Grant.Why != "revoked" {
				b.Fatal("it runs")
			}
			g.next(whole)
			g.build(b).Close(b.Context())
			b.StartTimer()
		}
	})
}

// The built-in policy says that topics are alike to it, and is asked once. Where it
// gives classes to topics, or another policy says nothing of the kind, it is asked
// for each.
func TestPolicyIsAskedOnceWhereTopicsAreAlikeToIt(t *testing.T) {
	classified := "  topics: {\"customers.1\": restricted}\n"
	for name, c := range map[string]struct {
		engine *policy.Engine
		why    string // of binding 1
	}{
		"built in":         {must(policy.Load(t.Context(), policy.Default())), ""},
		"with classes":     {builtInWith(t, "  topics: {}\n", classified), "crypto_approvers_too_few"},
		"one that looks":   {engine(t, strings.Replace(denies, "false", `input.binding.topics != ["customers.1"]`, 1)), "not_today"},
		"outside of grant": {must(policy.Load(t.Context(), policy.Default())), "topic_not_granted"},
	} {
		if c.engine.TopicsAlike() != (name == "built in" || name == "outside of grant") {
			t.Errorf("%s: topics alike: %v", name, c.engine.TopicsAlike())
		}
		g := grow(t, 4)
		g.admitter.Policy = c.engine

		if c.why == "topic_not_granted" {
			g.rules[1].Topics = []string{"payments"}
		}
		set := g.build(t)
		if got := set.Bindings[1].Grant.Why; got != c.why {
			t.Errorf("%s: binding 1 is %q, want %q", name, got, c.why)
		}
		if got := set.Bindings[2].Grant.Why; name != "one that looks" && got != "" {
			t.Errorf("%s: binding 2 is %q", name, got)
		}

		set.Close(t.Context())
	}
}

// builtInWith is the built-in policy with a line of its data replaced.
func builtInWith(t *testing.T, old, with string) *policy.Engine {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range must(fs.Glob(policy.Default(), "*")) {
		raw := must(fs.ReadFile(policy.Default(), name))
		files[name] = &fstest.MapFile{Data: bytes.Replace(raw, []byte(old), []byte(with), 1)}
	}
	return must(policy.Load(t.Context(), files))
}
