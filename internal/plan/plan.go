// Package plan says what another configuration, trust root or policy would change:
// for each binding what is lost, gained or different, by what a gateway tells of
// itself. Both sides come from the code that checks and serves. Pure.
//
// Trust: names in a plan come from files that somebody proposes; they are escaped
// where they are printed.
package plan

import (
	"cmp"
	"slices"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/coverage"
	"github.com/guardlock/guardlock/internal/ops"
)

// Side is a gateway before or after. Of one that runs elsewhere the configuration is
// not known: what its status does not tell is not compared.
type Side struct {
	Config *config.Config // nil: not known
	Status *ops.Status
}

// Effect is what a change is to those whom it concerns.
type Effect string

// The effects. What protects records less, or lets fewer of them through, is lost.
const (
	Lost    Effect = "lost"
	Gained  Effect = "gained"
	Changed Effect = "changed"
)

// Change is one thing that differs.
type Change struct {
	Effect Effect `json:"effect"`
	Of     string `json:"of"` // what it is about, of a closed catalogue
	Text   string `json:"text"`
}

// What changes are about.
const (
	ofApproval   = "approval"
	ofBehaviour  = "behaviour"
	ofClients    = "clients"
	ofEnd        = "end"
	ofFile       = "file"
	ofFunction   = "function"
	ofInsecure   = "insecure"
	ofKey        = "key"
	ofModule     = "module"
	ofProtection = "protection"
	ofRefusal    = "refusal"
	ofRoute      = "route"
	ofSetting    = "setting"
	ofTopics     = "topics"
)

// State is what becomes of a binding.
type State string

// The states.
const (
	Added     State = "added"
	Removed   State = "removed"
	Differs   State = "changed"
	Unchanged State = "unchanged"
)

// Binding is one binding, before and after.
type Binding struct {
	Cluster string   `json:"cluster"`
	Binding string   `json:"binding"`
	State   State    `json:"state"`
	Changes []Change `json:"changes"`
}

// Loses reports whether something is lost.
func (b *Binding) Loses() bool { return loses(b.Changes) }

// Gains reports whether something is gained and nothing lost.
func (b *Binding) Gains() bool {
	return !b.Loses() && slices.ContainsFunc(b.Changes, func(c Change) bool { return c.Effect == Gained })
}

func loses(all []Change) bool {
	return slices.ContainsFunc(all, func(c Change) bool { return c.Effect == Lost })
}

// Plan is everything that differs. Bindings are in the order of the new side, with
// those that are gone behind them.
type Plan struct {
	Bindings  []Binding `json:"bindings"`
	Gateway   []Change  `json:"gateway"`    // what is about no binding
	NeedStart []string  `json:"need_start"` // settings that a reload leaves as they are
	Partial   bool      `json:"partial"`    // conditions on clients and settings could not be compared
}

// Loses reports whether anything is lost.
func (p *Plan) Loses() bool {
	return loses(p.Gateway) || slices.ContainsFunc(p.Bindings, func(b Binding) bool { return b.Loses() })
}

type key struct{ cluster, binding string }

// comparing is one comparison under way.
type comparing struct {
	before, after Side
	wasIn, isIn   map[string][]config.Binding // by cluster
	sameOrder     map[string]bool             // by cluster: every binding is about what it was about
	known         map[key]*ops.Binding        // before; what was compared is taken out
	plan          Plan
}

// Compare finds what differs between two sides.
func Compare(before, after Side) *Plan {
	c := &comparing{before: before, after: after, known: map[key]*ops.Binding{}, sameOrder: map[string]bool{}}
	c.plan = Plan{Bindings: []Binding{}, Gateway: []Change{}, NeedStart: []string{}, Partial: before.Config == nil || after.Config == nil}
	c.wasIn = c.bindingsOf(before)
	c.isIn = c.bindingsOf(after)
	for cluster := range c.isIn {
		c.sameOrder[cluster] = slices.EqualFunc(c.wasIn[cluster], c.isIn[cluster], sameTopicsAndClients)
	}

	c.compareGateway()
	c.compareBindings()
	return &c.plan
}

// bindingsOf are the bindings of a side by cluster, with what decides which of them
// is about a record: of a plan that is partial the topics alone.
func (c *comparing) bindingsOf(s Side) map[string][]config.Binding {
	all := map[string][]config.Binding{}
	if c.plan.Partial {
		for _, b := range s.Status.Bindings {
			all[b.Cluster] = append(all[b.Cluster], config.Binding{Name: b.Binding, Topics: b.Topics})
		}
		return all
	}

	for _, cl := range s.Config.Clusters {
		all[cl.Name] = coverage.Of(s.Config, cl.Name)
	}
	return all
}

func sameTopicsAndClients(a, b config.Binding) bool {
	return a.Name == b.Name && slices.Equal(a.Topics, b.Topics) && coverage.Takes(a, b) && coverage.Takes(b, a)
}

func (c *comparing) compareBindings() {
	for i := range c.before.Status.Bindings {
		b := &c.before.Status.Bindings[i]
		c.known[key{b.Cluster, b.Binding}] = b
	}

	for i := range c.after.Status.Bindings {
		b := &c.after.Status.Bindings[i]
		at := key{b.Cluster, b.Binding}
		c.add(at, c.known[at], b)
		delete(c.known, at)
	}

	for i := range c.before.Status.Bindings {
		b := &c.before.Status.Bindings[i]
		at := key{b.Cluster, b.Binding}
		if c.known[at] != nil {
			c.add(at, b, nil)
		}
	}
}

// add compares one binding with what it was. Before or after is nil where it is not
// there.
func (c *comparing) add(at key, before, after *ops.Binding) {
	out := Binding{Cluster: at.cluster, Binding: at.binding}
	changes := &changes{all: []Change{}}

	switch {
	case before == nil:
		out.State = Added
		changes.newBinding(after)
	case after == nil:
		out.State = Removed
		changes.goneBinding(before)
	default:
		changes.binding(before, after)
		c.compareConfigured(at, changes)
	}
	c.compareTopics(at, changes)

	if out.State == "" {
		out.State = Unchanged
		if len(changes.all) > 0 {
			out.State = Differs
		}
	}
	slices.SortStableFunc(changes.all, func(a, b Change) int { return cmp.Compare(rank(a.Effect), rank(b.Effect)) })
	out.Changes = changes.all
	c.plan.Bindings = append(c.plan.Bindings, out)
}

// rank puts what is lost first.
func rank(e Effect) int { return slices.Index([]Effect{Lost, Changed, Gained}, e) }
