package ops

import (
	"maps"
	"slices"
	"testing"
)

func gatewayOf(node, version, trust string) Member {
	s := Status{
		Node:    node,
		Version: version,
		Ready:   true,
		Files:   []File{{Role: "configuration", Digest: "c"}, {Role: "trust_root", Digest: trust}},
		Bindings: []Binding{
			{Cluster: "main", Binding: "a", Modules: []Module{{Name: "m", Digest: "1"}}},
			{Cluster: "main", Binding: "b"},
		},
	}
	return MemberOf("http://"+node, &s)
}

// under is a gateway with a manifest of its logs.
func under(m Member, manifest string) Member {
	m.Facts = maps.Clone(m.Facts)
	m.Facts["manifest"] = manifest
	return m
}

// differences are those of a fleet as "node fact".
func differences(members ...Member) []string {
	var all []string
	for _, d := range Compare(members).Differences {
		all = append(all, d.Node+" "+d.Fact)
	}
	return all
}

func TestFleetShowsWhoDiffersFromMost(t *testing.T) {
	a := gatewayOf("a", "1", "t")
	b := gatewayOf("b", "1", "t")
	old := gatewayOf("old", "0", "s")
	a2 := gatewayOf("a2", "1", "t")
	gone := Member{URL: "http://gone", Problem: "connection refused"}

	for _, c := range []struct {
		what    string
		members []Member
		want    []string
	}{
		{"alike", []Member{a, b}, nil},
		{"nobody", nil, nil},
		{"one that is old", []Member{old, a, b}, []string{"old version", "old trust_root"}},
		{"no most", []Member{a, old}, []string{"old version", "old trust_root"}},
		{"one that cannot be asked", []Member{gone, a, b}, nil},
		{"none that can be asked", []Member{gone, gone}, nil},
		{"one with another manifest", []Member{a, under(b, "old"), a2}, []string{"b manifest"}},
		{"two of one name", []Member{a, a}, []string{"a node"}},
	} {
		if got := differences(c.members...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// Gateways of one configuration may have other files behind its names, or refuse what
// others serve; the order of bindings is no difference.
func TestFleetComparesWhatRuns(t *testing.T) {
	status := func(change func(*Status)) Member {
		s := Status{Bindings: []Binding{
			{Cluster: "main", Binding: "a", Modules: []Module{{Name: "m", Digest: "1", Config: "2"}}},
			{Cluster: "main", Binding: "b"},
		}}
		change(&s)
		return MemberOf("", &s)
	}

	same := status(func(*Status) {}).Facts["modules"]
	if got := status(func(s *Status) { slices.Reverse(s.Bindings) }).Facts["modules"]; got != same {
		t.Error("the order of bindings is a difference")
	}
	for what, change := range map[string]func(*Status){
		"another digest":        func(s *Status) { s.Bindings[0].Modules[0].Digest = "3" },
		"another configuration": func(s *Status) { s.Bindings[0].Modules[0].Config = "3" },
		"a refusal":             func(s *Status) { s.Bindings[0].Refused = "revoked" },
		"a binding less":        func(s *Status) { s.Bindings = s.Bindings[:1] },
		"a name that runs over": func(s *Status) { s.Bindings[0].Binding = `a" ""` },
	} {
		if status(change).Facts["modules"] == same {
			t.Errorf("%s is no difference", what)
		}
	}
}
