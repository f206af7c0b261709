// Package coverage says what a configuration leaves open on a cluster: topics that
// no binding is about, bindings that nothing can match, and who may write around the
// gateway. Pure: whoever asks the cluster is another.
//
// Trust: names of topics and principals may be anything.
package coverage

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/pattern"
)

// The kinds of findings.
const (
	Unbound  = "unbound"  // no binding is about the topic
	Partly   = "partly"   // each binding about the topic is for some clients only
	NoTopic  = "no_topic" // the binding is about no topic that is there
	Shadowed = "shadowed" // an earlier binding takes whatever this one would
	Writer   = "writer"   // an ACL lets the principal write to the cluster itself
)

// Finding is one thing that is left open.
type Finding struct {
	Kind      string `json:"kind"`
	Topic     string `json:"topic,omitempty"`
	Binding   string `json:"binding,omitempty"`
	By        string `json:"by,omitempty"` // the earlier binding
	Principal string `json:"principal,omitempty"`
	Host      string `json:"host,omitempty"`
	Prefix    bool   `json:"prefix,omitempty"` // Topic is how names begin
}

// ACL is a permission to write to topics.
type ACL struct {
	Principal, Host string
	Topic           string // "*" is every one
	Prefix          bool
}

// Bindings finds what the bindings of a cluster leave open of its topics, first of
// topics, then of bindings, each in order.
func Bindings(cfg *config.Config, cluster string, topics []string) []Finding {
	here := Of(cfg, cluster)
	var found []Finding
	for _, topic := range slices.Sorted(slices.Values(topics)) {
		about := func(b config.Binding) bool { return pattern.Any(b.Topics, topic) }
		switch {
		case !slices.ContainsFunc(here, about):
			found = append(found, Finding{Kind: Unbound, Topic: topic})
		case !slices.ContainsFunc(here, func(b config.Binding) bool { return about(b) && forEverybody(b) }):
			found = append(found, Finding{Kind: Partly, Topic: topic})
		}
	}

	for i, b := range here {
		if at := slices.IndexFunc(here[:i], func(earlier config.Binding) bool { return Takes(earlier, b) }); at >= 0 {
			found = append(found, Finding{Kind: Shadowed, Binding: b.Name, By: here[at].Name})
			continue
		}
		if !slices.ContainsFunc(topics, func(topic string) bool { return pattern.Any(b.Topics, topic) }) {
			found = append(found, Finding{Kind: NoTopic, Binding: b.Name})
		}
	}

	return found
}

// Of are the bindings of a cluster, in the order in which they are looked at.
func Of(cfg *config.Config, cluster string) []config.Binding {
	var here []config.Binding
	for _, b := range cfg.Bindings {
		if b.Cluster == "" || b.Cluster == cluster {
			here = append(here, b)
		}
	}

	return here
}

// Deciders are those of the bindings that would decide about something of what probe
// is about, in their order, up to the first that takes all of it. Where there is none
// that does, something may be left that no binding is about.
func Deciders(bindings []config.Binding, probe config.Binding) (names []string, whole bool) {
	for _, b := range bindings {
		if !meet(b, probe) {
			continue
		}
		names = append(names, b.Name)
		if Takes(b, probe) {
			return names, true
		}
	}

	return names, false
}

// meet reports whether two bindings may both match one client's records of one
// topic. A connection may have what either asks of TLS.
func meet(a, b config.Binding) bool {
	return overlap(a.Topics, b.Topics) && overlap(orEvery(a.Principals), orEvery(b.Principals)) &&
		overlap(orEvery(a.ClientIDs), orEvery(b.ClientIDs)) && sourcesOverlap(a.Sources, b.Sources)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(p string) bool {
		return slices.ContainsFunc(b, func(q string) bool { return pattern.Overlap(p, q) })
	})
}

// sourcesOverlap is overlap for addresses: of two prefixes that share an address,
// one contains the other.
func sourcesOverlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	return slices.ContainsFunc(a, func(s string) bool {
		return slices.ContainsFunc(b, func(t string) bool {
			return sourcesWithin([]string{s}, []string{t}) || sourcesWithin([]string{t}, []string{s})
		})
	})
}

// forEverybody reports whether a binding has no condition on clients.
func forEverybody(b config.Binding) bool {
	return Takes(b, config.Binding{})
}

// Takes reports whether the earlier of two bindings matches whatever the later
// would. Only what one pattern or prefix contains by itself counts, so that nothing
// is called shadowed which is not.
func Takes(earlier, later config.Binding) bool {
	level, errEarlier := gateway.ParseTLSLevel(earlier.TLS)
	wanted, errLater := gateway.ParseTLSLevel(later.TLS)
	if errEarlier != nil || errLater != nil || level > wanted {
		return false
	}

	return patternsWithin(later.Topics, earlier.Topics) && sourcesWithin(later.Sources, earlier.Sources) &&
		patternsWithin(orEvery(later.Principals), orEvery(earlier.Principals)) &&
		patternsWithin(orEvery(later.ClientIDs), orEvery(earlier.ClientIDs))
}

func orEvery(patterns []string) []string {
	if len(patterns) == 0 {
		return []string{"*"}
	}
	return patterns
}

// patternsWithin reports whether outer takes every name that inner does.
func patternsWithin(inner, outer []string) bool {
	return !slices.ContainsFunc(inner, func(p string) bool { return !pattern.Covered(outer, p) })
}

// sourcesWithin is patternsWithin for addresses. No sources are every address.
func sourcesWithin(inner, outer []string) bool {
	if len(outer) == 0 {
		return true
	}

	within := func(s string) bool {
		p, err := gateway.ParseSource(s)
		return err == nil && slices.ContainsFunc(outer, func(o string) bool {
			around, err := gateway.ParseSource(o)
			return err == nil && contains(around, p)
		})
	}
	return len(inner) > 0 && !slices.ContainsFunc(inner, func(s string) bool { return !within(s) })
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// Writers finds who may write around the gateway: everybody but the gateway's own
// principals, unless the permission holds from the gateways' hosts only.
func Writers(acls []ACL, own, hosts []string) []Finding {
	var found []Finding
	for _, a := range acls {
		if slices.Contains(own, a.Principal) || slices.Contains(hosts, a.Host) {
			continue
		}
		found = append(found, Finding{Kind: Writer, Principal: a.Principal, Host: a.Host, Topic: a.Topic, Prefix: a.Prefix})
	}

	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Host, b.Host))
	})
	return slices.Compact(found)
}
