package audit

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/guardlock/guardlock/audit/evidence"
)

// Leaf is the entry as evidence: self-contained, with names instead of what is
// personal. name gives the digest of a value, and is asked for the empty one too.
// docs/evidence.md has the fields.
func (e *Entry) Leaf(name func(string) evidence.Name) evidence.Leaf {
	return e.LeafIn(new(LeafMemory), name)
}

// LeafMemory is what a leaf is made in, again and again.
type LeafMemory struct {
	decision  evidence.Decision
	placement evidence.Placement
}

// LeafIn is Leaf in memory of the caller's, in which it is good until the next.
func (e *Entry) LeafIn(m *LeafMemory, name func(string) evidence.Name) evidence.Leaf {
	switch {
	case e.Batch != nil:
		e.decision(&m.decision, name)
		return evidence.Leaf{Decision: &m.decision}
	case e.Bind != nil:
		m.placement = e.Bind.placement()
		return evidence.Leaf{Placement: &m.placement}
	}
	return evidence.Leaf{Control: e.Control.leaf(e.Seq, name)}
}

func (e *Entry) decision(d *evidence.Decision, name func(string) evidence.Name) {
	b := e.Batch
	modules := d.Modules[:0]
	rulings := d.Rulings[:0]
	runs := d.Runs[:0]
	*d = evidence.Decision{
		Seq:     e.Seq,
		Time:    b.Time.UnixMicro(),
		Consume: b.Direction == Consume,
		Outcome: uint8(b.Outcome),
		Reason:  b.Reason,
		Where:   evidence.Coord{Cluster: b.Cluster, Topic: b.Topic, Partition: uint32(b.Partition)},
		TopicID: b.TopicID,
		Caller: evidence.Caller{
			Connection:  b.ConnID,
			Principal:   b.Redacted.name(PlacePrincipal, b.Principal, name),
			ClientID:    b.Redacted.name(PlaceClientID, b.ClientID, name),
			Source:      b.Redacted.name(PlaceSource, b.Source, name),
			TLSVersion:  b.TLS.Version,
			CipherSuite: b.TLS.Cipher,
			Certificate: b.Caller.certificate(name),
		},
		Authority: evidence.Authority{PolicyRevision: b.PolicyRevision, Grant: b.GrantDigest},
		Producer:  evidence.Producer{ID: b.ProducerID, Epoch: b.ProducerEpoch, Sequence: b.BaseSequence},
		Payload:   e.payload(),
	}

	for _, m := range b.Modules {
		modules = append(modules, evidence.Module{Name: m.Name, Digest: m.Digest})
	}
	for _, r := range b.Rulings {
		rulings = append(rulings, evidence.Ruling{Verdict: uint8(r.Verdict), Module: r.Module, Reason: r.Reason, Route: r.Route})
	}
	for _, r := range b.Runs {
		runs = append(runs, evidence.Run{Ruling: uint32(r.Ruling), Count: r.Count})
	}

	d.Modules = modules
	d.Rulings = rulings
	d.Runs = runs
}

func (c *Caller) certificate(name func(string) evidence.Name) evidence.Name {
	value := ""
	if f := c.TLS.Fingerprint; f != (Fingerprint{}) {
		value = string(f[:])
	}
	return c.Redacted.name(PlaceCertificate, value, name)
}

// The kinds of a MAC in a leaf.
const (
	leafMACNone = iota
	leafMACHeader
	leafMACContent
)

func (e *Entry) payload() evidence.Payload {
	b := e.Batch
	p := evidence.Payload{
		Records:  uint32(b.Records),
		Codec:    b.Codec,
		BytesIn:  uint32(b.BytesIn),
		BytesOut: uint32(b.BytesOut),
	}
	if b.nonce == 0 {
		return p
	}

	p.MACKind = leafMACHeader
	if b.Evidence == EvidenceContent {
		p.MACKind = leafMACContent
	}
	p.MACEpoch = e.Epoch
	p.MACNonce = b.nonce
	p.MAC = b.mac
	return p
}

func (b *Bind) placement() evidence.Placement {
	return evidence.Placement{
		Decision:    b.Seq,
		Where:       evidence.Coord{Cluster: b.Cluster, Topic: b.Topic, Partition: uint32(b.Partition)},
		Route:       b.Route,
		Base:        b.Base,
		Records:     uint32(b.count),
		LeaderEpoch: b.Leader.Number(),
		AppendTime:  b.AppendTime,
		ErrorCode:   b.ErrorCode,
		Recovered:   b.Recovered,
	}
}

func (c *ControlEntry) leaf(seq uint64, name func(string) evidence.Name) *evidence.Control {
	l := &evidence.Control{
		Kind:     evidence.Kind(c.Kind),
		Seq:      seq,
		Time:     c.Time.UnixMicro(),
		Subject:  c.Subject,
		Module:   evidence.Module{Name: c.Module.Name, Digest: c.Module.Digest},
		Who:      c.Redacted.name(PlacePrincipal, c.Principal, name),
		Outcome:  c.Outcome,
		Reason:   c.Reason,
		Revision: c.Revision,
	}

	var f facts
	for i, s := range c.Steps {
		f.text("step", s.Name)
		f.text("step.verdict", s.Verdict)
		f.name("step.detail", c.Redacted.name(PlaceDetail+Place(i), s.Detail, name)) // it may tell of a client
	}

	if o, ok := c.opening(); ok {
		f.text("epoch", hex.EncodeToString(o.Epoch[:]))
		f.text("key_id", hex.EncodeToString(o.KeyID[:]))
	}
	if c.Admission != nil {
		f.admission(c.Admission)
	}
	if c.Loaded != nil {
		f.loaded(c.Loaded)
	}
	if c.Era != nil {
		f.era(c.Era)
	}
	for i := range c.Facts {
		f.text(c.Facts[i].Key, c.Facts[i].Value)
	}

	l.Facts = f
	return l
}

// facts are those of one leaf. What is empty is left out.
type facts []evidence.Fact

func (f *facts) text(key, value string) {
	if value != "" {
		*f = append(*f, evidence.Fact{Key: key, Value: value})
	}
}

func (f *facts) name(key string, n evidence.Name) {
	if n != (evidence.Name{}) {
		*f = append(*f, evidence.Fact{Key: key, Name: n})
	}
}

func (f *facts) number(key string, n int64) { f.text(key, strconv.FormatInt(n, 10)) }

func (f *facts) digest(key string, d Digest) {
	if d != (Digest{}) {
		f.text(key, hex.EncodeToString(d[:]))
	}
}

// moment is in microseconds since 1970.
func (f *facts) moment(key string, t time.Time) {
	if !t.IsZero() {
		f.number(key, t.UnixMicro())
	}
}

func (f *facts) list(key string, values []string) {
	for _, v := range values {
		f.text(key, v)
	}
}

// admission has the approvers in clear: they answer for the module, and whoever
// holds the evidence must be able to read who they were.
func (f *facts) admission(a *Admission) {
	f.text("author", a.Author.Identity)
	f.text("author.key", a.Author.KeyID)
	f.moment("author.key_until", a.Author.KeyUntil)

	f.number(evidence.FactThreshold, int64(a.Threshold))
	for i := range a.Approvals {
		p := &a.Approvals[i]
		f.text(evidence.FactApproval, p.Approver)
		f.text("approval.ticket", p.Ticket)
		f.text(evidence.FactApprovalID, p.ID)
		f.text(evidence.FactApprovalKey, p.KeyID)
		f.moment("approval.from", p.From)
		f.moment("approval.until", p.Until)
		f.moment("approval.key_until", p.KeyUntil)
	}

	f.digest("config_digest", a.Config)
	f.digest("trust_root_digest", a.TrustRoot)
	f.text(evidence.FactCluster, a.Cluster)
	f.list(evidence.FactTopic, a.Topics)
	f.list("import", a.Imports)
	f.grant(&a.Grant)
	f.moment(evidence.FactUntil, a.Until)
}

func (f *facts) era(e *Era) {
	f.text(evidence.FactCluster, e.Cluster)
	f.text(evidence.FactTopic, e.Topic)
	if e.TopicID != ([16]byte{}) {
		f.text(evidence.FactTopicID, hex.EncodeToString(e.TopicID[:]))
	}

	f.number(evidence.FactPartition, int64(e.Partition))
	f.number(evidence.FactOffset, e.Offset)
	if e.LeaderEpoch >= 0 {
		f.number("leader_epoch", int64(e.LeaderEpoch))
	}
	f.moment("began", e.Began)
}

func (f *facts) grant(g *Grant) {
	f.digest(evidence.FactGrant, g.Digest)
	f.list("grant.topic", g.Topics)
	f.list("grant.function", g.Functions)
	f.list("grant.key", g.Keys)
	f.list("grant.route", g.Routes)
	f.list(evidence.FactAudience, g.Audience)
	f.number("grant.memory_bytes", g.Limits.MemoryBytes)
	f.number("grant.deadline_ms", g.Limits.DeadlineMS)
	f.number("grant.output_bytes", g.Limits.OutputBytes)
	f.number("grant.instances", g.Limits.Instances)
	f.moment("grant.from", g.From)
	f.moment("grant.until", g.Until)
}

func (f *facts) loaded(l *Loaded) {
	f.text("fault", l.Fault)
	for i := range l.Files {
		file := &l.Files[i]
		f.text("file.role", file.Role)
		f.text("file.name", file.Name)
		f.digest("file.digest", file.Digest)
		f.number(evidence.FactFileRevision, file.Revision)
	}
}
