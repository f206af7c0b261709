package audit

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

// Admission is what a module was admitted, or refused, by: who vouched for it, for
// what, and until when. It holds what was found as far as the chain of steps came.
type Admission struct {
	Cluster   string     `json:"cluster,omitempty"` // of the binding; empty in a log from before it was written
	Author    Signer     `json:"author"`
	Approvals []Approval `json:"approvals,omitempty"` // those that count
	Threshold int        `json:"threshold"`           // how many the trust root asks for
	Config    Digest     `json:"config_digest"`
	TrustRoot Digest     `json:"trust_root_digest"`
	Grant     Grant      `json:"grant"`
	Topics    []string   `json:"topics,omitempty"`  // of the binding
	Imports   []string   `json:"imports,omitempty"` // host functions that it cannot run without
	Until     time.Time  `json:"until,omitzero"`    // when it has to be judged again
}

// Signer is the author of a module, or who signed something else.
type Signer struct {
	Identity string    `json:"identity"`
	KeyID    string    `json:"key_id"`
	KeyUntil time.Time `json:"key_until,omitzero"` // zero: the key has no end
}

// Approval is one person's, with its own end and that of the key that signed it.
type Approval struct {
	Approver string    `json:"approver"`
	Ticket   string    `json:"ticket,omitempty"`
	ID       string    `json:"id"`
	KeyID    string    `json:"key_id"`
	From     time.Time `json:"from,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	KeyUntil time.Time `json:"key_until,omitzero"` // zero: the key has no end
}

// Grant is what the approvals together grant. Functions and limits are what policy
// left of it, where policy was asked.
type Grant struct {
	Digest    Digest    `json:"digest"`
	Topics    []string  `json:"topics,omitempty"`
	Functions []string  `json:"functions,omitempty"`
	Keys      []string  `json:"keys,omitempty"`
	Routes    []string  `json:"routes,omitempty"`
	Audience  []string  `json:"audience,omitempty"`
	Limits    Limits    `json:"limits"`
	From      time.Time `json:"from,omitzero"`
	Until     time.Time `json:"until,omitzero"`
}

// Limits bound a module's instances; 0 leaves it to the gateway.
type Limits struct {
	MemoryBytes int64 `json:"memory_bytes"`
	DeadlineMS  int64 `json:"deadline_ms"`
	OutputBytes int64 `json:"output_bytes"`
	Instances   int64 `json:"instances"`
}

// And is the digest of the grants of a chain of which d is the beginning and next
// the following one. That of a chain of one is its grant's.
func (d Digest) And(next Digest) Digest {
	if d == (Digest{}) {
		return next
	}
	return sha256.Sum256(append(d[:], next[:]...))
}

// Loaded is what a configuration or an authority was put together from, or why a
// configuration was refused.
type Loaded struct {
	Files []File `json:"files,omitempty"`
	Fault string `json:"fault,omitempty"` // the file that cannot be used
}

// File is one source of a configuration.
type File struct {
	Role     string `json:"role"` // configuration, policy, policy_bundle, trust_root, revocations, manifest, manifest_signature or authority
	Name     string `json:"name"` // as the configuration has it
	Digest   Digest `json:"digest"`
	Revision int64  `json:"revision,omitempty"` // of a signed policy bundle
}

// Facts of an adoption, in their order: what is known of the log that was set aside.
const (
	FactFromAside   = "from.aside"   // name of its directory now
	FactFromLog     = "from.log_id"  // in hexadecimal
	FactFromKey     = "from.log_key" // public, of its checkpoints
	FactFromOrigin  = "from.origin"  // of its last checkpoint
	FactFromEntries = "from.entries" // that this speaks for
	FactFromRoot    = "from.root"    // of these, in base64 as a checkpoint has it
)

// facts writes what comes behind the steps, which depends on the kind.
func (e *encoder) facts(c *ControlEntry, base int64) {
	switch {
	case c.Opening != (Opening{}):
		e.out = append(e.out, c.Opening.Epoch[:]...)
		e.out = append(e.out, c.Opening.KeyID[:]...)
	case c.Admission != nil:
		e.admission(c.Admission, base)
	case c.Loaded != nil:
		e.loaded(c.Loaded)
	case c.Era != nil:
		e.era(c.Era, base)
	case len(c.Facts) > 0:
		e.told(c.Facts)
	}
}

func (e *encoder) told(all []Fact) {
	e.uvarint(uint64(len(all)))
	for i := range all {
		e.str(roleText, all[i].Key)
		e.str(roleText, all[i].Value)
	}
}

func (e *encoder) admission(a *Admission, base int64) {
	e.str(RolePrincipal, a.Author.Identity)
	e.str(roleText, a.Author.KeyID)
	e.moment(a.Author.KeyUntil, base)

	e.uvarint(uint64(len(a.Approvals)))
	for i := range a.Approvals {
		p := &a.Approvals[i]
		e.str(RolePrincipal, p.Approver)
		e.str(roleText, p.Ticket)
		e.str(roleText, p.ID)
		e.str(roleText, p.KeyID)
		e.moment(p.From, base)
		e.moment(p.Until, base)
		e.moment(p.KeyUntil, base)
	}

	e.uvarint(uint64(a.Threshold))
	e.fixed(roleText, a.Config[:])
	e.fixed(roleText, a.TrustRoot[:])
	e.grant(&a.Grant, base)
	e.list(a.Topics)
	e.list(a.Imports)
	e.moment(a.Until, base)
	if a.Cluster != "" {
		e.str(RoleCluster, a.Cluster)
	}
}

func (e *encoder) grant(g *Grant, base int64) {
	e.fixed(roleGrant, g.Digest[:])
	for _, names := range [][]string{g.Topics, g.Functions, g.Keys, g.Routes, g.Audience} {
		e.list(names)
	}

	for _, n := range []int64{g.Limits.MemoryBytes, g.Limits.DeadlineMS, g.Limits.OutputBytes, g.Limits.Instances} {
		e.uvarint(uint64(n))
	}

	e.moment(g.From, base)
	e.moment(g.Until, base)
}

func (e *encoder) loaded(l *Loaded) {
	e.str(roleText, l.Fault)
	e.uvarint(uint64(len(l.Files)))
	for i := range l.Files {
		f := &l.Files[i]
		e.str(roleText, f.Role)
		e.str(roleText, f.Name)
		e.fixed(roleText, f.Digest[:])
		e.uvarint(uint64(f.Revision))
	}
}

func (e *encoder) list(names []string) {
	e.uvarint(uint64(len(names)))
	for _, name := range names {
		e.str(roleText, name)
	}
}

// moment writes a time that may be none.
func (e *encoder) moment(t time.Time, base int64) {
	if t.IsZero() {
		e.uvarint(0)
		return
	}
	e.uvarint(zigzag(t.UnixMicro()-base) + 1)
}

// facts reads what is behind the steps: nothing, in a log from before it had a
// place.
func (c *cursor) facts(e *ControlEntry, base int64) {
	if len(c.b) == 0 && e.Kind != KindEra {
		return
	}

	switch e.Kind {
	case KindOpen:
		c.opening(&e.Opening)
	case KindAdmission, KindStanding:
		e.Admission = c.admission(base)
	case KindConfig, KindAuthority:
		e.Loaded = c.loaded()
	case KindEra:
		e.Era = c.era(base)
	case KindAdoption, KindErasure, KindHold, KindReconciliation, KindAcknowledgement, KindClock:
		e.Facts = c.told()
	}
}

func (c *cursor) told() (all []Fact) {
	for n := c.count(); n > 0 && !c.bad; n-- {
		all = append(all, Fact{Key: c.str(roleText), Value: c.str(roleText)})
	}
	return all
}

func (c *cursor) opening(o *Opening) {
	copy(o.Epoch[:], c.bytes(uint64(len(o.Epoch))))
	copy(o.KeyID[:], c.bytes(uint64(len(o.KeyID))))
	c.bad = c.bad || *o == Opening{}
}

func (c *cursor) admission(base int64) *Admission {
	a := &Admission{Author: Signer{c.str(RolePrincipal), c.str(roleText), c.moment(base)}}
	for n := c.count(); n > 0 && !c.bad; n-- {
		a.Approvals = append(a.Approvals, Approval{
			Approver: c.str(RolePrincipal),
			Ticket:   c.str(roleText),
			ID:       c.str(roleText),
			KeyID:    c.str(roleText),
			From:     c.moment(base),
			Until:    c.moment(base),
			KeyUntil: c.moment(base),
		})
	}

	a.Threshold = c.number()
	c.fixed(roleText, a.Config[:])
	c.fixed(roleText, a.TrustRoot[:])
	c.grant(&a.Grant, base)
	a.Topics = c.list()
	a.Imports = c.list()
	a.Until = c.moment(base)
	if len(c.b) > 0 {
		a.Cluster = c.str(RoleCluster)
	}

	return a
}

func (c *cursor) grant(g *Grant, base int64) {
	c.fixed(roleGrant, g.Digest[:])
	for _, names := range []*[]string{&g.Topics, &g.Functions, &g.Keys, &g.Routes, &g.Audience} {
		*names = c.list()
	}

	for _, n := range []*int64{&g.Limits.MemoryBytes, &g.Limits.DeadlineMS, &g.Limits.OutputBytes, &g.Limits.Instances} {
		*n = c.amount()
	}

	g.From = c.moment(base)
	g.Until = c.moment(base)
}

func (c *cursor) loaded() *Loaded {
	l := &Loaded{Fault: c.str(roleText)}
	for n := c.count(); n > 0 && !c.bad; n-- {
		f := File{Role: c.str(roleText), Name: c.str(roleText)}
		c.fixed(roleText, f.Digest[:])
		f.Revision = c.amount()
		l.Files = append(l.Files, f)
	}

	return l
}

func (c *cursor) list() []string {
	var names []string
	for n := c.count(); n > 0 && !c.bad; n-- {
		names = append(names, c.str(roleText))
	}
	return names
}

func (c *cursor) moment(base int64) time.Time {
	u := c.uvarint()
	if u == 0 {
		return time.Time{}
	}
	return TimeOf(base + unzigzag(u-1))
}

// amount reads a number that must fit an int64.
func (c *cursor) amount() int64 {
	u := c.uvarint()
	c.bad = c.bad || u > 1<<63-1
	return int64(u)
}

// validateFacts refuses what another kind of entry has no place for, and numbers
// that could not be read back.
func (c *ControlEntry) validateFacts() error {
	placed := (c.Opening == (Opening{}) || c.Kind == KindOpen) && (c.Admission == nil || c.Kind == KindAdmission || c.Kind == KindStanding) && (c.Loaded == nil || c.Kind == KindConfig || c.Kind == KindAuthority) && (c.Era != nil) == (c.Kind == KindEra)
	placed = placed && (len(c.Facts) == 0 || c.Kind >= KindAdoption)
	if !placed {
		return fmt.Errorf("%w: facts of another kind of entry", ErrInvalidEntry)
	}

	if a := c.Admission; a != nil {
		l := a.Grant.Limits
		if min(l.MemoryBytes, l.DeadlineMS, l.OutputBytes, l.Instances, int64(a.Threshold)) < 0 {
			return fmt.Errorf("%w: number out of its bounds", ErrInvalidEntry)
		}
	}

	if e := c.Era; e != nil && !e.validate() {
		return fmt.Errorf("%w: number out of its bounds", ErrInvalidEntry)
	}
	if l := c.Loaded; l != nil && slices.ContainsFunc(l.Files, func(f File) bool { return f.Revision < 0 }) {
		return fmt.Errorf("%w: number out of its bounds", ErrInvalidEntry)
	}

	return nil
}

// sizeBound is at least the bytes that the facts and their definitions take.
func (a *Admission) sizeBound() int {
	n := 528 + len(a.Cluster) + len(a.Author.Identity) + len(a.Author.KeyID)
	for i := range a.Approvals {
		p := &a.Approvals[i]
		n += 96 + len(p.Approver) + len(p.Ticket) + len(p.ID) + len(p.KeyID)
	}

	for _, names := range [][]string{a.Grant.Topics, a.Grant.Functions, a.Grant.Keys, a.Grant.Routes, a.Grant.Audience, a.Topics, a.Imports} {
		for _, name := range names {
			n += 16 + len(name)
		}
	}

	return n
}

func (l *Loaded) sizeBound() int {
	n := 64 + len(l.Fault)
	for i := range l.Files {
		n += 96 + len(l.Files[i].Role) + len(l.Files[i].Name)
	}
	return n
}
