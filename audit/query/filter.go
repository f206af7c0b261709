package query

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/pattern"
)

// Filter chooses decisions. Its zero value chooses all; each field that is set
// narrows the choice. Of a list one entry is enough.
type Filter struct {
	Cluster   string
	Topics    []string // names, or patterns in which '*' stands for any characters
	Partition *int32
	Offset    *int64 // needs one topic's name and Partition, but no Cluster; finds routed records where they went, too
	From, To  time.Time
	Modules   []string // names, or digests as hex with or without "sha256:"
	Client    Client
	Outcomes  []string // of the record, or of the control entry
	Reasons   []string
	Kinds     []audit.Kind // none: all but KindStanding
	Limit     int          // rows; 0 is no limit
	Reverse   bool         // latest first
	ByBatch   bool         // one row for each batch instead of each record
	Finer
}

// Finer is what few ask for.
type Finer struct {
	DecisionID string
	LastOffset *int64  // makes Offset the first of a range, which is looked for entry by entry
	States     []State // of the batch; control entries have none
	ByRun      bool    // one row for each run of records that fared alike
	Rest       bool    // where a segment is damaged, what is behind it too; the error comes at the end
	After      After
}

// After is a row that was seen: what is asked for comes behind it, in the log's order.
// The zero After is the log's beginning.
type After struct {
	Seq   uint64
	Index int // as in the row: -1 of a whole batch or a control entry
}

// Client is who sent what is asked for. A control entry has no more of it than the
// principal.
type Client struct {
	Principals  []string
	IDs         []string
	Source      netip.Prefix      // zero: from anywhere; IPv4 in IPv4 form
	Fingerprint audit.Fingerprint // of the client's certificate; zero: with any or none
}

// NotStored is the outcome of a record whose batch was to be forwarded and is stored
// nowhere: the broker refused it, or something did after the decision was written.
// What the gateway had decided stands in the verdict and in the batch's outcome.
const NotStored = "not_stored"

// Outcomes are all outcomes that a row can have: those of records, then those of
// control entries.
func Outcomes() []string {
	return slices.Concat(audit.Outcomes(), []string{NotStored}, audit.ControlOutcomes())
}

// matcher is a compiled filter.
type matcher struct {
	f       Filter
	digests []audit.Digest // among f.Modules
	kinds   uint64
	id      audit.DecisionID
	hasID   bool
	first   uint64 // of the log that is read
	next    uint64 // behind its first segment
}

func compile(f Filter) (*matcher, error) {
	m := &matcher{f: f}
	for _, k := range f.Kinds {
		m.kinds |= 1 << k
	}

	if f.Offset != nil && (len(f.Topics) != 1 || strings.Contains(f.Topics[0], "*") || f.Partition == nil) {
		return nil, fmt.Errorf("compiling filter: an offset needs the name of one topic and a partition")
	}
	if f.LastOffset != nil && (f.Offset == nil || *f.LastOffset < *f.Offset) {
		return nil, fmt.Errorf("compiling filter: a range of offsets ends before it begins")
	}

	for _, module := range f.Modules {
		if d, ok := digestOf(module); ok {
			m.digests = append(m.digests, d)
		}
	}

	if f.DecisionID != "" {
		id, err := audit.ParseDecisionID(f.DecisionID)
		if err != nil {
			return nil, err
		}
		m.id = id
		m.hasID = true
	}

	return m, nil
}

// digestOf reads a module that is asked for by its digest.
func digestOf(module string) (d audit.Digest, ok bool) {
	b, err := hex.DecodeString(strings.TrimPrefix(module, "sha256:"))
	if err != nil || len(b) != len(d) {
		return d, false
	}

	d = audit.Digest(b)
	return d, d != audit.Digest{} // zero is that of no module
}

// among reports whether a value is one of those asked for; none are asked for if
// any will do.
func among(asked []string, value string) bool {
	return len(asked) == 0 || slices.Contains(asked, value)
}

// from reports whether a host, as entries hold it, is of the source asked for.
func (m *matcher) from(host string) bool {
	if !m.f.Client.Source.IsValid() {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && m.f.Client.Source.Contains(a.Unmap().WithZone(""))
}

// kind reports whether entries of a kind are asked for. Those of the kind that only
// repeats another are given to who asks for them.
func (m *matcher) kind(k audit.Kind) bool {
	if m.kinds == 0 {
		return k != audit.KindStanding || m.hasID
	}
	return m.kinds>>k&1 == 1
}

func (m *matcher) topic(name string) bool {
	return len(m.f.Topics) == 0 || pattern.Any(m.f.Topics, name)
}

// segment reports whether a finished segment may hold a match.
func (m *matcher) segment(s *audit.Summary) bool {
	f := &m.f
	switch {
	case m.kinds != 0 && m.kinds&s.Kinds == 0,
		!f.From.IsZero() && s.MaxTime < f.From.UnixMicro(),
		!f.To.IsZero() && s.MinTime >= f.To.UnixMicro(),
		f.Cluster != "" && !s.Has(audit.RoleCluster, f.Cluster),
		len(f.Topics) > 0 && f.Offset == nil && !s.Any(audit.RoleTopic, m.topic),
		m.seen(s),
		len(f.Modules) > 0 && !m.segmentModule(s),
		len(f.Outcomes) > 0 && !slices.ContainsFunc(f.Outcomes, func(o string) bool { return segmentOutcome(s, o) }),
		len(f.Reasons) > 0 && !slices.ContainsFunc(f.Reasons, func(r string) bool { return r == audit.ReasonOtherRecord || s.Has(audit.RoleReason, r) }):
		return false
	}

	return m.segmentClient(s)
}

// seen reports whether all entries of a segment come before what is asked for.
func (m *matcher) seen(s *audit.Summary) bool {
	_, next := s.Entries()
	return next <= m.f.After.Seq
}

func (m *matcher) segmentClient(s *audit.Summary) bool {
	c := &m.f.Client
	switch {
	case len(c.Principals) > 0 && !s.Any(audit.RolePrincipal, func(have string) bool { return among(c.Principals, have) }),
		len(c.IDs) > 0 && !s.Any(audit.RoleClient, func(have string) bool { return among(c.IDs, have) }),
		c.Source.IsValid() && !s.Any(audit.RoleSource, m.from),
		c.Fingerprint != audit.Fingerprint{} && !s.Has(audit.RoleFingerprint, string(c.Fingerprint[:])):
		return false
	}

	return true
}

func (m *matcher) segmentModule(s *audit.Summary) bool {
	return s.Any(audit.RoleModule, func(have string) bool { return among(m.f.Modules, have) }) ||
		slices.ContainsFunc(m.digests, func(d audit.Digest) bool { return s.Has(audit.RoleDigest, string(d[:])) })
}

// segmentOutcome reports whether a segment may hold an outcome. What is not
// stored was to be forwarded; the error may be in a later segment.
func segmentOutcome(s *audit.Summary, outcome string) bool {
	for i, name := range audit.OutcomeNames {
		asked := name == outcome || outcome == NotStored && audit.Outcome(i).Forwards()
		if asked && s.Outcomes>>i&1 == 1 {
			return true
		}
	}
	return s.Has(audit.RoleOutcome, outcome)
}

func (m *matcher) time(t time.Time) bool {
	return (m.f.From.IsZero() || !t.Before(m.f.From)) && (m.f.To.IsZero() || t.Before(m.f.To))
}

func (m *matcher) module(ref *audit.ModuleRef) bool {
	return among(m.f.Modules, ref.Name) || slices.Contains(m.digests, ref.Digest)
}

// batch matches what the records of a batch share.
func (m *matcher) batch(e *audit.BatchEntry) bool {
	f := &m.f
	return m.kind(audit.KindBatch) && m.time(e.Time) &&
		(f.Cluster == "" || f.Cluster == e.Cluster) &&
		(f.Offset != nil || m.topic(e.Topic)) &&
		(f.Partition == nil || *f.Partition == e.Partition || f.Offset != nil) &&
		m.caller(&e.Caller) &&
		(len(f.Modules) == 0 || slices.ContainsFunc(e.Modules, func(r audit.ModuleRef) bool { return m.module(&r) }))
}

func (m *matcher) caller(c *audit.Caller) bool {
	f := &m.f.Client
	return m.left(c) && among(f.Principals, c.Principal) && among(f.IDs, c.ClientID) &&
		m.from(c.Source) && (f.Fingerprint == audit.Fingerprint{} || f.Fingerprint == c.TLS.Fingerprint)
}

// left reports whether what is asked for of a client was not taken out: what was matches
// nothing.
func (m *matcher) left(c *audit.Caller) bool {
	f := &m.f.Client
	return (len(f.Principals) == 0 || c.Redacted.Of(audit.PlacePrincipal) == nil) && (len(f.IDs) == 0 || c.Redacted.Of(audit.PlaceClientID) == nil)
}

// control matches a control entry: it has no place, but for an era, and no connection, so
// asking for one leaves it out.
func (m *matcher) control(seq uint64, c *audit.ControlEntry) bool {
	return m.kind(c.Kind) && m.other(c) && (m.hasID || !m.told(seq, c))
}

// told reports whether an era or an authority is told by another entry: by the one that it
// repeats or, where that was pruned, by the first that repeats it.
func (m *matcher) told(seq uint64, c *audit.ControlEntry) bool {
	first, again := c.Repeats()
	return again && c.Kind != audit.KindStanding && (first >= m.first || seq >= m.next)
}

// counted matches a control entry that is counted and not shown: what a seal counts
// holds those that repeat another.
func (m *matcher) counted(c *audit.ControlEntry) bool {
	return (m.kinds == 0 || m.kind(c.Kind)) && m.other(c)
}

// other matches a control entry but for its kind.
func (m *matcher) other(c *audit.ControlEntry) bool {
	f := &m.f
	placed := (f.Cluster != "" || len(f.Topics) > 0 || f.Partition != nil || f.Offset != nil) && !m.era(c.Era)
	connected := len(f.Client.IDs) > 0 || f.Client.Source.IsValid() || f.Client.Fingerprint != audit.Fingerprint{}
	return m.time(c.Time) && !placed && !connected && len(m.f.States) == 0 &&
		(m.by(c) || m.vouched(c.Admission)) &&
		among(f.Outcomes, c.Outcome) &&
		among(f.Reasons, c.Reason) && m.module(&c.Module)
}

// by reports whether who is asked for asked for a control entry.
func (m *matcher) by(c *audit.ControlEntry) bool {
	asked := m.f.Client.Principals
	return among(asked, c.Principal) && (len(asked) == 0 || c.Redacted.Of(audit.PlacePrincipal) == nil)
}

// era reports whether an era is of the place that is asked for. Who asks for a place and
// for no kind means its records.
func (m *matcher) era(e *audit.Era) bool {
	f := &m.f
	return e != nil && m.kinds != 0 && f.Offset == nil && m.topic(e.Topic) &&
		(f.Cluster == "" || f.Cluster == e.Cluster) && (f.Partition == nil || *f.Partition == e.Partition)
}

// vouched reports whether somebody who is asked for signed or approved a module.
func (m *matcher) vouched(a *audit.Admission) bool {
	return a != nil && (slices.Contains(m.f.Client.Principals, a.Author.Identity) ||
		slices.ContainsFunc(a.Approvals, func(p audit.Approval) bool { return slices.Contains(m.f.Client.Principals, p.Approver) }))
}

// state matches how far a batch came.
func (m *matcher) state(it *audit.Item) bool {
	if len(m.f.States) == 0 {
		return true
	}

	e := it.Batch
	return slices.Contains(m.f.States, infoOf(it, e).State) ||
		slices.Contains(m.f.States, StateUnbound) && e.Outcome.Forwards() && len(e.Modules) == 0
}

// fits reports whether a row comes behind what was seen, and has an offset of the range.
func (m *matcher) fits(d *Decision) bool {
	after := m.f.After
	if d.ID.Seq < after.Seq || d.ID.Seq == after.Seq && d.Index <= after.Index {
		return false
	}
	if m.f.LastOffset == nil {
		return true
	}
	return m.inRange(d.Coordinate, d.Count) || d.Routed != nil && m.inRange(*d.Routed, d.Count)
}

// inRange reports whether any of n records from a place on has an offset of the range.
func (m *matcher) inRange(at Coordinate, n int) bool {
	return at.Offset >= 0 && at.Topic == m.f.Topics[0] && at.Partition == *m.f.Partition &&
		at.Offset <= *m.f.LastOffset && at.Offset+int64(max(n, 1)) > *m.f.Offset
}

// ruled matches what became of a record.
func (m *matcher) ruled(t *audit.RuledOutcome) bool {
	return among(m.f.Outcomes, t.Outcome) && among(m.f.Reasons, t.Reason) && (t.Module == nil || m.module(t.Module))
}
