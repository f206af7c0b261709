package query

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
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
	Source      netip.Prefix      // zero: from anywhere; IPv4 in IPv4 form
	Fingerprint audit.Fingerprint // of the client's certificate; zero: with any or none
	Outcome     string            // of the record, or of the control entry
	Reason      string
	DecisionID  string
	Kinds       []audit.Kind
	Limit       int  // rows; 0 is no limit
	Reverse     bool // latest first
	ByBatch     bool // one row for each batch instead of each record
}

// matcher is a compiled filter.
type matcher struct {
	f      Filter
	digest audit.Digest
	kinds  uint64
	id     audit.DecisionID
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
		m.digest = audit.Digest(b)
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

// from reports whether a host, as entries hold it, is of the source asked for.
func (m *matcher) from(host string) bool {
	if !m.f.Source.IsValid() {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && m.f.Source.Contains(a.Unmap().WithZone(""))
}

func (m *matcher) kind(k audit.Kind) bool { return m.kinds == 0 || m.kinds>>k&1 == 1 }

// segment reports whether a finished segment may hold a match.
func (m *matcher) segment(s *audit.Summary) bool {
	f := &m.f
	switch {
	case m.kinds != 0 && m.kinds&s.Kinds == 0,
		!f.From.IsZero() && s.MaxTime < f.From.UnixMicro(),
		!f.To.IsZero() && s.MinTime >= f.To.UnixMicro(),
		f.Cluster != "" && !s.Has(audit.RoleCluster, f.Cluster),
		f.Topic != "" && !s.Has(audit.RoleTopic, f.Topic),
		f.Principal != "" && !s.Has(audit.RolePrincipal, f.Principal),
		f.ClientID != "" && !s.Has(audit.RoleClient, f.ClientID),
		f.Source.IsValid() && !s.Any(audit.RoleSource, m.from),
		f.Fingerprint != audit.Fingerprint{} && !s.Has(audit.RoleFingerprint, string(f.Fingerprint[:])),
		f.Reason != "" && f.Reason != audit.ReasonOtherRecord && !s.Has(audit.RoleReason, f.Reason),
		f.Module != "" && !m.segmentModule(s),
		f.Outcome != "" && !m.segmentOutcome(s):
		return false
	}

	return true
}

func (m *matcher) segmentModule(s *audit.Summary) bool {
	return s.Has(audit.RoleModule, m.f.Module) || m.digest != audit.Digest{} && s.Has(audit.RoleDigest, string(m.digest[:]))
}

func (m *matcher) segmentOutcome(s *audit.Summary) bool {
	i := slices.Index(audit.OutcomeNames[:], m.f.Outcome)
	return i >= 0 && s.Outcomes>>i&1 == 1 || s.Has(audit.RoleOutcome, m.f.Outcome)
}

func (m *matcher) time(t time.Time) bool {
	return (m.f.From.IsZero() || !t.Before(m.f.From)) && (m.f.To.IsZero() || t.Before(m.f.To))
}

func (m *matcher) module(ref *audit.ModuleRef) bool {
	return m.f.Module == "" || ref.Name == m.f.Module || m.digest != audit.Digest{} && ref.Digest == m.digest
}

// batch matches what the records of a batch share.
func (m *matcher) batch(e *audit.BatchEntry) bool {
	f := &m.f
	return m.kind(audit.KindBatch) && m.time(e.Time) &&
		(f.Cluster == "" || f.Cluster == e.Cluster) &&
		(f.Topic == "" || f.Topic == e.Topic || f.Offset != nil) &&
		(f.Partition == nil || *f.Partition == e.Partition || f.Offset != nil) &&
		m.caller(&e.Caller) &&
		(f.Module == "" || slices.ContainsFunc(e.Modules, func(r audit.ModuleRef) bool { return m.module(&r) }))
}

func (m *matcher) caller(c *audit.Caller) bool {
	f := &m.f
	return (f.Principal == "" || f.Principal == c.Principal) && (f.ClientID == "" || f.ClientID == c.ClientID) &&
		m.from(c.Source) && (f.Fingerprint == audit.Fingerprint{} || f.Fingerprint == c.TLS.Fingerprint)
}

// control matches a control entry: it has no place and no connection, so asking
// for one leaves it out.
func (m *matcher) control(c *audit.ControlEntry) bool {
	f := &m.f
	return m.kind(c.Kind) && m.time(c.Time) && f.Cluster == "" && f.Topic == "" && f.Partition == nil && f.Offset == nil &&
		f.ClientID == "" && !f.Source.IsValid() && f.Fingerprint == audit.Fingerprint{} &&
		(f.Principal == "" || f.Principal == c.Principal) &&
		(f.Outcome == "" || f.Outcome == c.Outcome) &&
		(f.Reason == "" || f.Reason == c.Reason) && m.module(&c.Module)
}

// ruled matches what became of a record.
func (m *matcher) ruled(t *audit.RuledOutcome) bool {
	f := &m.f
	return (f.Outcome == "" || f.Outcome == t.Outcome) && (f.Reason == "" || f.Reason == t.Reason) &&
		(f.Module == "" || t.Module == nil || m.module(t.Module))
}
