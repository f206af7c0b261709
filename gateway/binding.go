package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admin"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/pattern"
)

// Binding maps topics and clients to a grant. A pattern is a literal in which
// each '*' stands for any run of characters. An empty condition holds for every
// client; all that are there must hold.
type Binding struct {
	Topics     []string
	Principals []string
	ClientIDs  []string
	Sources    []netip.Prefix // as ParseSource gives them
	TLS        TLSLevel       // at least
	Grant      *pipeline.Grant
}

// admits reports whether every condition on the client holds.
func (b *Binding) admits(c *Client) bool {
	return c.TLS >= b.TLS &&
		(len(b.Principals) == 0 || pattern.Any(b.Principals, c.Principal)) &&
		(len(b.ClientIDs) == 0 || pattern.Any(b.ClientIDs, c.ID)) &&
		(len(b.Sources) == 0 || slices.ContainsFunc(b.Sources, func(p netip.Prefix) bool { return p.Contains(c.Source) }))
}

// Bindings is one immutable snapshot of all bindings. The first binding, in
// configuration order, whose topics and conditions match decides.
type Bindings struct {
	id       *snapshotID
	all      []Binding
	exact    map[string][]int // literal topic → indices, ascending
	prefixes map[string][]int // "orders." of "orders.*" → indices, ascending
	globs    []int            // every other pattern
	lengths  []int            // prefix lengths in use
	unbound  *pipeline.Grant
	classes  classes
	kinds    sync.Map     // kindKey → kind
	numbered atomic.Int32 // kinds
	cache    sync.Map     // lookupKey → *pipeline.Grant
	drops    sync.Map     // topic → bool
	cached   atomic.Int64 // entries of both caches
	modules  bool         // some binding runs a module
	admin    AdminPolicy  // nil: what the gateway itself allows
}

// Under makes the policy judge what clients ask that destroys or weakens
// evidence. It is called before the snapshot is served.
func (s *Bindings) Under(p AdminPolicy) *Bindings {
	s.admin = p
	return s
}

type lookupKey struct {
	topic string
	kind  kind
}

// maxCached bounds the look-up cache, since topic names come from clients, and
// the kinds.
const maxCached = 1 << 16

// NewBindings compiles a snapshot. unbound is the grant of what no binding
// matches.
func NewBindings(all []Binding, unbound *pipeline.Grant) *Bindings {
	s := &Bindings{
		id:       new(snapshotID),
		all:      all,
		exact:    map[string][]int{},
		prefixes: map[string][]int{},
		unbound:  unbound,
		classes:  newClasses(all),
	}
	for i, b := range all {
		s.modules = s.modules || len(b.Grant.Modules) > 0
		for _, t := range b.Topics {
			s.index(t, i)
		}
	}

	return s
}

// index files a binding under one of its patterns: names, prefixes and all
// others are looked up in different ways.
func (s *Bindings) index(pattern string, i int) {
	star := strings.IndexByte(pattern, '*')
	switch {
	case star < 0:
		s.exact[pattern] = append(s.exact[pattern], i)
	case star == len(pattern)-1:
		p := pattern[:star]
		if len(s.prefixes[p]) == 0 {
			s.addLength(len(p))
		}
		s.prefixes[p] = append(s.prefixes[p], i)
	default:
		s.globs = append(s.globs, i)
	}
}

func (s *Bindings) addLength(n int) {
	for _, l := range s.lengths {
		if l == n {
			return
		}
	}
	s.lengths = append(s.lengths, n)
}

// Lookup returns the grant that decides for a topic and a client that this
// snapshot knows, never nil. It is safe for concurrent use; once a pair has
// been seen its cost does not grow with the number of bindings.
func (s *Bindings) Lookup(topic string, k *Known) *pipeline.Grant {
	key := lookupKey{topic, k.kind}
	if g, ok := s.cache.Load(key); ok {
		return g.(*pipeline.Grant)
	}

	g := s.find(topic, &k.client)
	if s.cached.Load() < maxCached && k.kind != unnumbered {
		key.topic = strings.Clone(topic) // it may be a view of the frame
		if _, loaded := s.cache.LoadOrStore(key, g); !loaded {
			s.cached.Add(1)
		}
	}

	return g
}

// find looks for the first binding, in the order of the configuration, that is
// for the topic and admits the client. It is what Lookup remembers.
func (s *Bindings) find(topic string, c *Client) *pipeline.Grant {
	internal := admin.IsInternal(topic)
	best := s.first(s.exact[topic], c, len(s.all))
	for _, n := range s.lengths {
		if n <= len(topic) && reaches(topic[:n], internal) {
			best = s.first(s.prefixes[topic[:n]], c, best)
		}
	}

	for _, i := range s.globs {
		if i < best && s.all[i].admits(c) && s.all[i].names(topic) {
			best = i
		}
	}

	switch {
	case best < len(s.all):
		return s.all[best].Grant
	case internal:
		return pipeline.Unbound // whatever is configured for topics of clients
	}

	return s.unbound
}

// reaches reports whether a pattern is for Kafka's own topics, if the topic is
// one: nobody who writes * thinks of __consumer_offsets.
func reaches(pattern string, internal bool) bool {
	return !internal || admin.IsInternal(pattern)
}

// names reports whether the binding is for the topic, for some client.
func (b *Binding) names(topic string) bool {
	internal := admin.IsInternal(topic)
	for _, t := range b.Topics {
		if reaches(t, internal) && pattern.Match(t, topic) {
			return true
		}
	}
	return false
}

// binds reports whether some binding is for the topic, for any client, or topics
// without one are let through.
func (s *Bindings) binds(topic string) bool {
	if len(s.exact[topic]) > 0 {
		return true
	}
	internal := admin.IsInternal(topic)
	for _, n := range s.lengths {
		if n <= len(topic) && reaches(topic[:n], internal) && len(s.prefixes[topic[:n]]) > 0 {
			return true
		}
	}

	for _, i := range s.globs {
		if s.all[i].names(topic) {
			return true
		}
	}

	return !internal && s.unbound.Refusal == audit.OutcomePassed
}

// first returns the lowest index of list, below limit, that admits the client.
func (s *Bindings) first(list []int, c *Client, limit int) int {
	for _, i := range list {
		if i >= limit {
			break
		}
		if s.all[i].admits(c) {
			return i
		}
	}
	return limit
}

// mayDrop reports whether placeholders of dropped records may be in a topic:
// some binding, for any client, runs modules on it. An unknown name may.
func (s *Bindings) mayDrop(topic string) bool {
	if topic == "" {
		return true
	}
	if v, ok := s.drops.Load(topic); ok {
		return v.(bool)
	}

	may := false
	for i := range s.all {
		may = may || len(s.all[i].Grant.Modules) > 0 && pattern.Any(s.all[i].Topics, topic)
	}

	if s.cached.Load() < maxCached {
		s.cached.Add(1)
		s.drops.Store(strings.Clone(topic), may)
	}

	return may
}
