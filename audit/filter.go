package audit

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Filter chooses decisions. Its zero value chooses all; each field that is set
// narrows the choice.
type Filter struct {
	Cluster     string
	Topic       string
	Partition   *int32
	Offset      *int64 // needs Topic and Partition, but no Cluster; finds routed records where they went, too
	From, To    time.Time
	Module      string // name, or digest as hex with or without "sha256:"
	Principal   string
	ClientID    string
	Source      netip.Prefix // zero: from anywhere; IPv4 in IPv4 form
	Fingerprint Fingerprint  // of the client's certificate; zero: with any or none
	Outcome     string       // of the record, or of the control entry
	Reason      string
	DecisionID  string
	Kinds       []Kind
	Limit       int  // rows; 0 is no limit
	Reverse     bool // latest first
	ByBatch     bool // one row for each batch instead of each record
}

// matcher is a compiled filter.
type matcher struct {
	f      Filter
	digest Digest
	kinds  uint64
	id     DecisionID
	hasID  bool
}

func compile(f Filter) (*matcher, error) {
	m := &matcher{f: f}
	for _, k := range f.Kinds {
		m.kinds |= 1 << k
	}

	if f.Offset != nil && (f.Topic == "" || f.Partition == nil) {
		return nil, fmt.Errorf("compiling filter: an offset needs a topic and a partition")
	}
	if b, err := hex.DecodeString(strings.TrimPrefix(f.Module, "sha256:")); err == nil && len(b) == len(m.digest) {
		m.digest = Digest(b)
	}

	if f.DecisionID != "" {
		id, err := ParseDecisionID(f.DecisionID)
		if err != nil {
			return nil, err
		}
		m.id = id
		m.hasID = true
	}

	return m, nil
}

// from reports whether a host, as entries hold it, is of the source asked for.
func (m *matcher) from(host string) bool {
	if !m.f.Source.IsValid() {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && m.f.Source.Contains(a.Unmap().WithZone(""))
}

func (m *matcher) kind(k Kind) bool { return m.kinds == 0 || m.kinds>>k&1 == 1 }

// segment reports whether a finished segment may hold a match.
func (m *matcher) segment(s *summary) bool {
	f := &m.f
	switch {
	case m.kinds != 0 && m.kinds&s.kinds == 0,
		!f.From.IsZero() && s.maxTime < f.From.UnixMicro(),
		!f.To.IsZero() && s.minTime >= f.To.UnixMicro(),
		f.Cluster != "" && !s.has(roleCluster, f.Cluster),
		f.Topic != "" && !s.has(roleTopic, f.Topic),
		f.Principal != "" && !s.has(rolePrincipal, f.Principal),
		f.ClientID != "" && !s.has(roleClient, f.ClientID),
		f.Source.IsValid() && !s.any(roleSource, m.from),
		f.Fingerprint != Fingerprint{} && !s.has(roleFingerprint, string(f.Fingerprint[:])),
		f.Reason != "" && f.Reason != ReasonOtherRecord && !s.has(roleReason, f.Reason),
		f.Module != "" && !m.segmentModule(s),
		f.Outcome != "" && !m.segmentOutcome(s):
		return false
	}

	return true
}

func (m *matcher) segmentModule(s *summary) bool {
	return s.has(roleModule, m.f.Module) || m.digest != Digest{} && s.has(roleDigest, string(m.digest[:]))
}

func (m *matcher) segmentOutcome(s *summary) bool {
	i := slices.Index(outcomeNames[:], m.f.Outcome)
	return i >= 0 && s.outcomes>>i&1 == 1 || s.has(roleOutcome, m.f.Outcome)
}

func (m *matcher) time(t time.Time) bool {
	return (m.f.From.IsZero() || !t.Before(m.f.From)) && (m.f.To.IsZero() || t.Before(m.f.To))
}

func (m *matcher) module(ref *ModuleRef) bool {
	return m.f.Module == "" || ref.Name == m.f.Module || m.digest != Digest{} && ref.Digest == m.digest
}

// batch matches what the records of a batch share.
func (m *matcher) batch(e *BatchEntry) bool {
	f := &m.f
	return m.kind(KindBatch) && m.time(e.Time) &&
		(f.Cluster == "" || f.Cluster == e.Cluster) &&
		(f.Topic == "" || f.Topic == e.Topic || f.Offset != nil) &&
		(f.Partition == nil || *f.Partition == e.Partition || f.Offset != nil) &&
		m.caller(&e.Caller) &&
		(f.Module == "" || slices.ContainsFunc(e.Modules, func(r ModuleRef) bool { return m.module(&r) }))
}

func (m *matcher) caller(c *Caller) bool {
	f := &m.f
	return (f.Principal == "" || f.Principal == c.Principal) && (f.ClientID == "" || f.ClientID == c.ClientID) &&
		m.from(c.Source) && (f.Fingerprint == Fingerprint{} || f.Fingerprint == c.TLS.Fingerprint)
}

// control matches a control entry: it has no place and no connection, so asking
// for one leaves it out.
func (m *matcher) control(c *ControlEntry) bool {
	f := &m.f
	return m.kind(c.Kind) && m.time(c.Time) && f.Cluster == "" && f.Topic == "" && f.Partition == nil && f.Offset == nil &&
		f.ClientID == "" && !f.Source.IsValid() && f.Fingerprint == Fingerprint{} &&
		(f.Principal == "" || f.Principal == c.Principal) &&
		(f.Outcome == "" || f.Outcome == c.Outcome) &&
		(f.Reason == "" || f.Reason == c.Reason) && m.module(&c.Module)
}

// fate matches what became of a record.
func (m *matcher) fate(t *fate) bool {
	f := &m.f
	return (f.Outcome == "" || f.Outcome == t.outcome) && (f.Reason == "" || f.Reason == t.reason) &&
		(f.Module == "" || t.module == nil || m.module(t.module))
}
