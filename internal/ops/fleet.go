package ops

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Fleet is what several gateways of one configuration tell, side by side.
type Fleet struct {
	Gateways    []Member     `json:"gateways"`
	Differences []Difference `json:"differences"`
}

// Member is one gateway of a fleet.
type Member struct {
	URL     string            `json:"url"`
	Problem string            `json:"problem,omitempty"` // why it could not be asked
	Node    string            `json:"node,omitempty"`
	Ready   bool              `json:"ready"`
	Missing []string          `json:"missing,omitempty"`
	Facts   map[string]string `json:"facts,omitempty"` // by the names of Facts
}

// Facts are what must be the same at all gateways of a fleet: names of digests, but
// for the version.
var Facts = []string{"version", "configuration", "trust_root", "revocations", "policy", "modules", "manifest"}

// Difference is a fact in which a gateway is not as most are.
type Difference struct {
	URL  string `json:"url"`
	Node string `json:"node"`
	Fact string `json:"fact"`
	Has  string `json:"has"`
	Most string `json:"most"` // what most gateways have
}

// MemberOf is what a fleet wants to know of a gateway's status.
func MemberOf(url string, s *Status) Member {
	m := Member{URL: url, Node: s.Node, Ready: s.Ready, Missing: s.Missing, Facts: map[string]string{"version": s.Version}}
	for _, f := range s.Files {
		m.Facts[f.Role] = f.Digest
	}
	m.Facts["modules"] = modulesOf(s.Bindings)
	return m
}

// modulesOf is a digest of what runs where, and of what is refused: gateways of one
// configuration may have other files behind its names.
func modulesOf(bindings []Binding) string {
	var lines []string
	for _, b := range bindings {
		line := fmt.Sprintf("%q %q %q", b.Cluster, b.Binding, b.Refused)
		for _, m := range b.Modules {
			line += fmt.Sprintf(" %q %s %s", m.Name, m.Digest, m.Config)
		}
		lines = append(lines, line)
	}

	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// Compare puts gateways side by side. What most of those have that could be asked is
// the measure; where there is no most, what the first of them has.
func Compare(members []Member) Fleet {
	f := Fleet{Gateways: members, Differences: []Difference{}}
	for _, fact := range Facts {
		most := mostHave(members, fact)
		for _, m := range members {
			if has := m.Facts[fact]; m.Problem == "" && has != most {
				f.Differences = append(f.Differences, Difference{m.URL, m.Node, fact, has, most})
			}
		}
	}

	named := map[string]string{}
	for _, m := range members {
		if other, taken := named[m.Node]; taken && m.Problem == "" {
			f.Differences = append(f.Differences, Difference{m.URL, m.Node, "node", m.Node, "a name of its own, not that of " + other})
		}
		if m.Problem == "" {
			named[m.Node] = m.URL
		}
	}
	return f
}

func mostHave(members []Member, fact string) string {
	count := map[string]int{}
	var most string
	for _, m := range members {
		if m.Problem == "" {
			count[m.Facts[fact]]++
		}
	}
	for _, m := range members { // in their order, so that a tie has one end
		if has := m.Facts[fact]; m.Problem == "" && cmp.Compare(count[has], count[most]) > 0 {
			most = has
		}
	}
	return most
}
