package audit

import (
	"cmp"
	"maps"
	"time"
)

// standing are the entries that decisions may refer to: the last admission of each module
// on each binding of each cluster since the log was opened, and the last authority. A segment
// begins with them, so that what was pruned takes none of a decision's with it.
type standing map[standingKey]*ControlEntry

type standingKey struct{ cluster, binding, module string }

// anyBinding is the subject of an entry that is about all bindings of a module.
const anyBinding = "*"

// note takes a control entry, which has the sequence number seq.
func (s standing) note(c *ControlEntry, seq uint64) {
	switch c.Kind {
	case KindOpen:
		clear(s) // whatever may run is admitted again
	case KindStanding:
		s.put(c, c.Steps)
	case KindAuthority:
		again := *c
		if _, ok := c.Repeats(); !ok {
			again.Steps = repeats(seq)
		}
		s[standingKey{}] = &again
	case KindAdmission:
		if c.Outcome == "allowed" {
			s.put(c, append(repeats(seq), c.Tables()...))
			return
		}
		maps.DeleteFunc(s, func(k standingKey, _ *ControlEntry) bool {
			return k.module == c.Module.Name && (c.Subject == anyBinding || k == keyOf(c))
		})
	}
}

func (s standing) put(c *ControlEntry, steps []Step) {
	again := *c
	again.Kind = KindStanding
	again.Steps = steps
	s[keyOf(c)] = &again
}

// keyOf tells bindings of one name apart by their clusters, where the log knows those.
func keyOf(c *ControlEntry) standingKey {
	k := standingKey{binding: c.Subject, module: c.Module.Name}
	if c.Admission != nil {
		k.cluster = c.Admission.Cluster
	}

	return k
}

// entries are the standing entries as a segment repeats them.
func (s standing) entries(now time.Time) []*ControlEntry {
	return repeated(s, standingKey.compare, now)
}

func (k standingKey) compare(o standingKey) int {
	return cmp.Or(cmp.Compare(k.cluster, o.cluster), cmp.Compare(k.binding, o.binding), cmp.Compare(k.module, o.module))
}

// sizeBound is at least the bytes that the entries take.
func (s standing) sizeBound() int { return sizeOfRepeated(s) }
