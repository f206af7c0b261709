package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/ops"
)

// base is a configuration with two bindings, of which the first runs a module.
const base = `
broker: {embedded: {}}
trust: {root: trust.json}
modules: [{name: gdpr, wasm: m.wasm, signature: s.json, approvals: [a.json]}]
bindings:
  - {name: eu, topics: ["customers.*"], modules: [gdpr], data_class: restricted}
  - {name: rest, topics: ["*"]}
`

var end = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// side is a gateway of a configuration in which every module is admitted.
func side(t *testing.T, yaml string) Side {
	t.Helper()
	cfg, err := config.Parse([]byte(yaml), "guardlock.yaml")
	if err != nil {
		t.Fatal(err)
	}

	s := &ops.Status{Insecure: cfg.Insecure(), Files: []ops.File{{Role: "configuration", Digest: yaml}, {Role: "policy", Name: "built in", Digest: "p"}}}
	for _, b := range cfg.Bindings {
		told := ops.Binding{Cluster: config.MainCluster, Binding: b.Name, Topics: b.Topics, Until: end}
		for _, m := range b.Modules {
			told.Modules = append(told.Modules, ops.Module{
				Name: m, Digest: "d", Config: "c", Author: "ada", Functions: []string{"f"}, Keys: []string{"k"}, Routes: []string{"r"},
				Approvals: []ops.Approval{{Approver: "grace", Until: end}},
			})
		}
		s.Bindings = append(s.Bindings, told)
	}
	return Side{Config: cfg, Status: s}
}

// told are the changes of a binding, each with its effect.
func told(p *Plan, name string) []string {
	var all []string
	for _, b := range p.Bindings {
		if b.Binding != name {
			continue
		}
		for _, c := range b.Changes {
			all = append(all, fmt.Sprintf("%s %s", c.Effect, c.Text))
		}
	}
	return all
}

func TestNothingThatIsTheSameIsTold(t *testing.T) {
	p := Compare(side(t, base), side(t, base))
	for _, b := range p.Bindings {
		if b.State != Unchanged || len(b.Changes) != 0 {
			t.Errorf("%+v", b)
		}
	}
	if len(p.Bindings) != 2 || len(p.Gateway)+len(p.NeedStart) != 0 || p.Loses() {
		t.Errorf("%+v", p)
	}
}

// Each change of the text of a configuration is told, to the binding that it
// concerns, as what it is.
func TestEachChangeOfAConfigurationIsToldToWhomItConcerns(t *testing.T) {
	for name, c := range map[string]struct{ from, to, binding, want string }{
		"ModuleLost":      {"modules: [gdpr], ", "", "eu", "lost module gdpr"},
		"ModuleGained":    {`{name: rest, topics: ["*"]}`, `{name: rest, topics: ["*"], modules: [gdpr]}`, "rest", "gained module gdpr"},
		"BindingGone":     {`  - {name: rest, topics: ["*"]}`, "", "rest", "lost topics *: decided by eu; the rest by no binding: they are refused"},
		"TopicsNarrower":  {"customers.*", "customers.eu", "eu", "lost topics customers.*, what the binding is no longer about: decided by rest"},
		"TopicsTaken":     {"customers.*", "*", "rest", "lost topics *: decided by eu"},
		"TopicsGained":    {"customers.*", "customers*", "eu", "gained topics customers*: decided by eu, rest before"},
		"EarlierBinding":  {"bindings:\n", "bindings:\n  - {name: new, topics: [customers.de]}\n", "eu", "lost topics customers.*: new comes first, and takes some or all of it"},
		"NewBinding":      {"bindings:\n", "bindings:\n  - {name: new, topics: [customers.de]}\n", "new", "gained topics customers.de: decided by eu before"},
		"FewerPrincipals": {"data_class:", `principals: ["User:a"], data_class:`, "eu", "lost principals: User:a, before any"},
		"ClientsGoOn":     {"data_class:", `principals: ["User:a"], data_class:`, "eu", "lost topics customers.*, what the binding is no longer about: decided by rest"},
		"Sources":         {"data_class:", `sources: [10.0.0.0/8], data_class:`, "eu", "lost sources: 10.0.0.0/8, before any"},
		"DataClass":       {"restricted", "internal", "eu", "changed data_class is internal, was restricted"},
		"OnDrop":          {"data_class:", "on_drop: reject, data_class:", "eu", "changed on_drop is reject, was placeholder"},
		"Isolation":       {"data_class:", "isolation: topic, data_class:", "eu", "gained isolation is topic, was shared"},
		"Evidence":        {"data_class:", "evidence: content, data_class:", "eu", "gained evidence is content, was header"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(base, c.from) {
				t.Fatalf("there is no %q", c.from)
			}
			after := strings.Replace(base, c.from, c.to, 1)
			p := Compare(side(t, base), side(t, after))
			if got := told(p, c.binding); !slices.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if want := strings.HasPrefix(c.want, "lost"); want && !p.Loses() {
				t.Error("nothing counts as lost")
			}

			back := Compare(side(t, after), side(t, base))
			if len(told(back, c.binding)) == 0 {
				t.Error("the way back is told as nothing")
			}
		})
	}
}

// Each change of what a gateway found out about a module is told, in both directions.
func TestEachChangeOfAnAdmissionIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*ops.Binding)
		want, back string
	}{
		"Refused": {func(b *ops.Binding) { b.Refused = "revoked"; b.Problem = "by the trust root" },
			"lost takes nothing any more: revoked: by the trust root", "gained takes records again; it was refused: revoked"},
		"Sooner": {func(b *ops.Binding) { b.Until = end.AddDate(0, -1, 0) },
			"lost ends 2029-12-01 00:00 UTC, before 2030-01-01 00:00 UTC", "gained ends 2030-01-01 00:00 UTC, before 2029-12-01 00:00 UTC"},
		"NoEnd":    {func(b *ops.Binding) { b.Until = time.Time{} }, "gained ends never, before 2030-01-01 00:00 UTC", "lost ends 2030-01-01 00:00 UTC, before never"},
		"Digest":   {func(b *ops.Binding) { b.Modules[0].Digest = "e" }, "changed module gdpr is e, was d", "changed module gdpr is d, was e"},
		"Config":   {func(b *ops.Binding) { b.Modules[0].Config = "x" }, "changed module gdpr has another configuration: x, was c", "changed module gdpr has another configuration: c, was x"},
		"Author":   {func(b *ops.Binding) { b.Modules[0].Author = "eve" }, "changed module gdpr is signed by eve, was by ada", "changed module gdpr is signed by ada, was by eve"},
		"Function": {func(b *ops.Binding) { b.Modules[0].Functions = nil }, "lost host function f of module gdpr", "gained host function f of module gdpr"},
		"Key":      {func(b *ops.Binding) { b.Modules[0].Keys = nil }, "lost key k of module gdpr", "gained key k of module gdpr"},
		"Route":    {func(b *ops.Binding) { b.Modules[0].Routes = nil }, "lost route to r of module gdpr", "gained route to r of module gdpr"},
		"Approver": {func(b *ops.Binding) { b.Modules[0].Approvals = nil }, "lost approval by grace of module gdpr", "gained approval by grace of module gdpr"},
		"ApprovalEnd": {func(b *ops.Binding) {
			b.Modules[0].Approvals = []ops.Approval{{Approver: "grace", Until: end.AddDate(0, 1, 0)}}
		},
			"gained approval by grace of module gdpr ends 2030-02-01 00:00 UTC, before 2030-01-01 00:00 UTC",
			"lost approval by grace of module gdpr ends 2030-01-01 00:00 UTC, before 2030-02-01 00:00 UTC"},
	} {
		before := side(t, base)
		after := side(t, base)
		c.change(&after.Status.Bindings[0])
		for want, p := range map[string]*Plan{c.want: Compare(before, after), c.back: Compare(after, before)} {
			if got := told(p, "eu"); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
			if p.Loses() != strings.HasPrefix(want, "lost") {
				t.Errorf("%s: %q counts as lost: %v", name, want, p.Loses())
			}
		}
	}
}

func TestWhatIsAboutNoBindingIsToldOfTheGateway(t *testing.T) {
	before := side(t, base)
	after := side(t, base+"unbound_topics: insecure_pass\nlimits: {memory: 1000000000}\nenvironment: production\n")
	after.Status.Files[1].Digest = "q"

	p := Compare(before, after)
	var got []string
	for _, c := range p.Gateway {
		got = append(got, string(c.Effect)+" "+c.Text)
	}
	want := []string{
		"lost INSECURE: unbound_topics: insecure_pass",
		"changed policy: built in",
		"lost unbound_topics is insecure_pass, was refuse: topics without a binding pass, through no module and with no decision recorded",
		"changed environment is production, was none",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !slices.Equal(p.NeedStart, []string{"limits"}) {
		t.Errorf("at the next start: %q", p.NeedStart)
	}

	back := Compare(after, before)
	if !slices.Contains(back.Gateway, Change{Gained, ofInsecure, "no longer insecure: unbound_topics: insecure_pass"}) {
		t.Errorf("the way back: %+v", back.Gateway)
	}
}

// Of a gateway that was asked, conditions on clients are not known: neither side is
// judged by them, and the plan says so.
func TestOfAGatewayThatWasAskedOnlyWhatItTellsIsCompared(t *testing.T) {
	running := Side{Status: side(t, base).Status}
	after := side(t, strings.Replace(base, "data_class:", `principals: ["User:a"], data_class:`, 1))
	p := Compare(running, after)
	if got := told(p, "eu"); len(got) != 0 || !p.Partial {
		t.Errorf("%q", got)
	}

	after = side(t, strings.Replace(base, "customers.*", "customers.eu", 1))
	if got := told(Compare(running, after), "eu"); len(got) != 2 {
		t.Errorf("topics are told as %q", got)
	}
}

// Swapped bindings are about the same topics, and not the same records.
func TestAnotherOrderIsAChange(t *testing.T) {
	lines := strings.SplitAfter(base, "\n")
	lines[5], lines[6] = lines[6], lines[5]
	p := Compare(side(t, base), side(t, strings.Join(lines, "")))
	if got := told(p, "eu"); !slices.Equal(got, []string{"lost topics customers.*: decided by rest"}) {
		t.Errorf("%q", got)
	}
	if got := told(p, "rest"); !slices.Equal(got, []string{"gained topics *: eu no longer comes first"}) {
		t.Errorf("%q", got)
	}
}
