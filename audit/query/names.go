package query

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/pattern"
)

// Unseen is a name that a filter asks for, and that nothing in the log has.
type Unseen struct {
	What  string   // cluster, topic, module, reason, principal or client id
	Name  string   // as asked for
	Known []string // names of that sort that the log has, in their order
}

// Unseen returns what a filter asks for that cannot match, whatever else it asks:
// the log has never seen these names. It may read every entry of the last segment.
func (r *Reader) Unseen(ctx context.Context, f Filter) ([]Unseen, error) {
	n := namesAskedBy(f)
	if len(n.asked) == 0 {
		return nil, nil
	}

	err := r.Scan(ctx, audit.Search{To: math.MaxInt64, Segment: n.addSeal}, func(it *audit.Item) (bool, error) {
		n.addItem(it)
		return !n.allSeen(), nil
	})

	var out []Unseen
	for _, a := range n.asked {
		if !a.seen {
			out = append(out, Unseen{What: a.what, Name: a.name, Known: n.known(a.what)})
		}
	}

	return out, err
}

// The sorts of names.
const (
	clusterName = "cluster"
	topicName   = "topic"
	moduleName  = "module"
	reasonName  = "reason"
	principal   = "principal"
	clientID    = "client id"
)

// digest stands beside the sorts of names: a module may be asked for by it.
const digest = "digest"

// asked is a name that a filter asks for.
type asked struct {
	what, name string
	is         func(sort, have string) bool
	seen       bool
}

// names are those that a filter asks for, and those that were found.
type names struct {
	asked []*asked
	found map[string]map[string]bool // by sort
}

func namesAskedBy(f Filter) *names {
	n := &names{found: make(map[string]map[string]bool)}
	if f.Cluster != "" {
		n.ask(clusterName, f.Cluster)
	}

	for _, name := range f.Topics {
		n.asked = append(n.asked, &asked{what: topicName, name: name, is: func(sort, have string) bool {
			return sort == topicName && pattern.Match(name, have)
		}})
	}

	for _, name := range f.Modules {
		d, hex := digestOf(name)
		n.asked = append(n.asked, &asked{what: moduleName, name: name, is: func(sort, have string) bool {
			return sort == moduleName && have == name || hex && sort == digest && have == string(d[:])
		}})
	}

	for _, name := range f.Reasons {
		if name != audit.ReasonOtherRecord { // made when a log is read
			n.ask(reasonName, name)
		}
	}

	for _, name := range f.Client.Principals {
		n.ask(principal, name)
	}
	for _, name := range f.Client.IDs {
		n.ask(clientID, name)
	}

	return n
}

func (n *names) ask(what, name string) {
	n.asked = append(n.asked, &asked{what: what, name: name, is: func(sort, have string) bool { return sort == what && have == name }})
}

func (n *names) add(sort, have string) {
	if have == "" || n.found[sort][have] {
		return
	}
	if n.found[sort] == nil {
		n.found[sort] = make(map[string]bool)
	}

	n.found[sort][have] = true
	for _, a := range n.asked {
		a.seen = a.seen || a.is(sort, have)
	}
}

func (n *names) allSeen() bool {
	return !slices.ContainsFunc(n.asked, func(a *asked) bool { return !a.seen })
}

// addSeal adds the names of a finished segment, and reports whether it may have
// more that its seal has no room for.
func (n *names) addSeal(s *audit.Summary) bool {
	more := false
	for _, sort := range []struct {
		name string
		role audit.Role
	}{
		{clusterName, audit.RoleCluster}, {topicName, audit.RoleTopic}, {topicName, audit.RoleRoute}, {moduleName, audit.RoleModule},
		{digest, audit.RoleDigest}, {reasonName, audit.RoleReason}, {principal, audit.RolePrincipal}, {clientID, audit.RoleClient},
	} {
		more = s.Any(sort.role, func(have string) bool {
			n.add(sort.name, have)
			return false
		}) || more
	}

	return more && !n.allSeen()
}

func (n *names) addItem(it *audit.Item) {
	if c := it.Control; c != nil {
		n.addModule(&c.Module)
		n.add(reasonName, c.Reason)
		n.add(principal, c.Principal)

		if a := c.Admission; a != nil {
			n.add(principal, a.Author.Identity)
			for i := range a.Approvals {
				n.add(principal, a.Approvals[i].Approver)
			}
		}

		return
	}

	e := it.Batch
	n.add(clusterName, e.Cluster)
	n.add(topicName, e.Topic)
	n.add(reasonName, e.Reason)
	n.add(principal, e.Principal)
	n.add(clientID, e.ClientID)

	for i := range e.Modules {
		n.addModule(&e.Modules[i])
	}
	for i := range e.Rulings {
		n.add(reasonName, e.Rulings[i].Reason)
		n.add(topicName, e.Rulings[i].Route)
	}
}

func (n *names) addModule(m *audit.ModuleRef) {
	n.add(moduleName, m.Name)
	n.add(digest, string(m.Digest[:]))
}

func (n *names) known(what string) []string {
	return slices.SortedFunc(maps.Keys(n.found[what]), strings.Compare)
}
