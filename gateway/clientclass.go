package gateway

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/guardlock/guardlock/internal/pattern"
)

// class sums up all that a snapshot's conditions can tell of a client, beside
// its principal: clients of one class meet the same bindings. It is made of the
// numbers of the snapshot's own patterns, never of what the client sends, so
// that a client cannot fill the look-up cache by calling itself many names.
type class struct {
	source int32 // longest prefix that holds the address: it says which others do
	exact  int32 // client id without '*'
	prefix int32 // longest "app-" of "app-*" that the client id begins with: it says which others do
	globs  string
	tls    TLSLevel
}

// classes numbers the patterns of a snapshot's conditions, from 1 in each map.
// What no binding asks for is the same for all clients. It is immutable once
// the snapshot is made.
type classes struct {
	sources  map[netip.Prefix]int32
	bits     []int // lengths of sources, longest first
	exact    map[string]int32
	prefixes map[string]int32
	lengths  []int    // lengths of prefixes, longest first
	globs    []string // every other pattern
	tls      bool
}

// newClasses collects all that the bindings of a snapshot ask of clients, so
// that clients who differ in nothing of it are one kind.
func newClasses(all []Binding) classes {
	k := classes{sources: map[netip.Prefix]int32{}, exact: map[string]int32{}, prefixes: map[string]int32{}}
	seen := map[string]bool{}
	for i := range all {
		k.tls = k.tls || all[i].TLS != NoTLS
		for _, p := range all[i].Sources {
			number(k.sources, p)
			k.bits = append(k.bits, p.Bits())
		}

		for _, p := range all[i].ClientIDs {
			k.addID(p, seen)
		}
	}

	k.bits, k.lengths = longestFirst(k.bits), longestFirst(k.lengths)
	return k
}

func (k *classes) addID(pattern string, seen map[string]bool) {
	switch star := strings.IndexByte(pattern, '*'); {
	case star < 0:
		number(k.exact, pattern)
	case star == len(pattern)-1:
		number(k.prefixes, pattern[:star])
		k.lengths = append(k.lengths, star)
	case !seen[pattern]:
		seen[pattern] = true
		k.globs = append(k.globs, pattern)
	}
}

func number[K comparable](m map[K]int32, key K) {
	if _, ok := m[key]; !ok {
		m[key] = int32(len(m) + 1)
	}
}

func longestFirst(lengths []int) []int {
	slices.Sort(lengths)
	lengths = slices.Compact(lengths)
	slices.Reverse(lengths)
	return lengths
}

// of classifies a client, whose source has neither zone nor IPv6 form of IPv4.
// The cost grows with the lengths of prefixes in use and with the patterns that
// hold a '*' before their end, not with the number of bindings.
func (k *classes) of(c *Client) class {
	out := class{source: k.source(c.Source), exact: k.exact[c.ID]}
	for _, n := range k.lengths {
		if n <= len(c.ID) && k.prefixes[c.ID[:n]] != 0 {
			out.prefix = k.prefixes[c.ID[:n]]
			break
		}
	}

	var globs []byte
	for i, p := range k.globs {
		if pattern.Match(p, c.ID) {
			globs = binary.AppendUvarint(globs, uint64(i))
		}
	}

	out.globs = string(globs)
	if k.tls {
		out.tls = c.TLS
	}

	return out
}

func (k *classes) source(a netip.Addr) int32 {
	for _, n := range k.bits {
		if p, err := a.Prefix(n); err == nil && k.sources[p] != 0 {
			return k.sources[p]
		}
	}
	return 0
}

// snapshotID tells a snapshot from every other, also from one that is gone:
// who holds the id alone does not hold the snapshot in memory.
type snapshotID struct{ _ byte }

// Known is a client as one snapshot sees it, good for look-ups in that snapshot.
type Known struct {
	by     *snapshotID
	client Client
	kind   kind
}

// kind numbers the pairs of principal and class that a snapshot has met: a key
// of one name and one number is quick to hash.
type kind int32

// unnumbered is the kind of whoever comes when the numbers are used up: such
// look-ups are not cached.
const unnumbered kind = 0

type kindKey struct {
	principal string
	class     class
}

// Know prepares look-ups for a client, whose strings are kept. It is safe for
// concurrent use.
func (s *Bindings) Know(c Client) Known {
	c.Source = c.Source.Unmap().WithZone("")
	return Known{by: s.id, client: c, kind: s.kind(&c)}
}

func (s *Bindings) kind(c *Client) kind {
	key := kindKey{c.Principal, s.classes.of(c)}
	if k, ok := s.kinds.Load(key); ok {
		return k.(kind)
	}
	if s.numbered.Load() >= maxCached {
		return unnumbered
	}

	// Of two that number the same pair at once one is kept; a number is lost.
	k, _ := s.kinds.LoadOrStore(key, kind(s.numbered.Add(1)))
	return k.(kind)
}
