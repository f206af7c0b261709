package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrUnproven means that a file of evidence does not prove what it is for.
var ErrUnproven = errors.New("not proven")

func unproven(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnproven, fmt.Errorf(format, args...))
}

// Finding is one thing that was proven.
type Finding struct {
	Subject string `json:"subject"` // log, decision, offset, admission
	Text    string `json:"text"`
}

// Proof is what a file of evidence proves.
type Proof struct {
	Record     Record
	Checkpoint Checkpoint
	KeyHash    uint32 // of the key that signed the checkpoint
	Vouched
	Index      int64 // of the decision
	Decision   *Decision
	Stored     int64 // index of the placement
	Placement  *Placement
	Place      int     // of the record in its batch
	Ruling     *Ruling // of the record; nil where no module ran
	Admissions []Admitted
	InForce    *InForce            // nil: the file says nothing of it
	Approvals  map[string][][]byte // bundles by their ids; their signatures are not checked here
	Names      map[Name]string     // those that the file tells
}

// Admitted is the entry that let a module run.
type Admitted struct {
	Index  int64
	Module Module
	*Control
}

// InForce is the entry that says what the gateway served under when it decided.
type InForce struct {
	Index int64
	*Control
}

// File is the digest of the file with a role, in hexadecimal; empty where there is none.
func (f *InForce) File(role string) string { return f.ofFile(role, FactFileDigest) }

// Revision is that of the file with a role, in decimal; empty where there is none.
func (f *InForce) Revision(role string) string { return f.ofFile(role, FactFileRevision) }

func (f *InForce) ofFile(role, key string) string {
	here := false
	for _, fact := range f.Facts {
		switch {
		case fact.Key == FactFileRole:
			here = fact.Value == role
		case fact.Key == key && here:
			return fact.Value
		}
	}
	return ""
}

// verification is one file on its way to a proof.
type verification struct {
	file   *File
	proof  *Proof
	admits []Admitted
}

// Verify checks a file of evidence by keys alone, of logs and of witnesses. It needs no
// network, no log and no gateway. Whatever does not hold is ErrUnproven.
func Verify(f *File, t *Trust) (*Proof, error) {
	c, keyHash, vouched, err := t.vouched(f.Checkpoint)
	if err != nil {
		return nil, err
	}

	v := verification{file: f, proof: &Proof{
		Record:     f.Record,
		Checkpoint: c,
		KeyHash:    keyHash,
		Vouched:    vouched,
		Names:      make(map[Name]string),
	}}
	for i := range f.Entries {
		if err := v.entry(&f.Entries[i]); err != nil {
			return nil, err
		}
	}

	for _, check := range []func() error{v.decided, v.stored, v.judged, v.admitted, v.served, v.approved} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return v.proof, nil
}

// entry checks that one entry is in the log, and takes it for what it says it is.
func (v *verification) entry(e *Entry) error {
	c := &v.proof.Checkpoint
	if e.Index < 0 || e.Index >= c.Size {
		return unproven("entry %d is not among the %d of the checkpoint", e.Index, c.Size)
	}
	if err := tlog.CheckRecord(e.Path, c.Size, c.Root, e.Index, HashOf(e.Leaf)); err != nil {
		return unproven("entry %d is not in the log: %w", e.Index, err)
	}

	l, err := Parse(e.Leaf)
	if err != nil {
		return unproven("entry %d: %w", e.Index, err)
	}
	if err := v.names(e, l); err != nil {
		return err
	}

	p := v.proof
	switch {
	case l.Decision != nil && p.Decision == nil:
		p.Index = e.Index
		p.Decision = l.Decision
	case l.Placement != nil && p.Placement == nil:
		p.Stored = e.Index
		p.Placement = l.Placement
	case l.Control != nil && (l.Control.Kind == KindAdmission || l.Control.Kind == KindStanding):
		v.admits = append(v.admits, Admitted{e.Index, l.Control.Module, l.Control})
	case l.Control != nil && l.Control.Kind == KindAuthority && p.InForce == nil:
		p.InForce = &InForce{e.Index, l.Control}
	default:
		return unproven("entry %d has no place in this evidence", e.Index)
	}

	return nil
}

// names takes the names that an entry tells. One that is not in its leaf would be
// somebody's claim.
func (v *verification) names(e *Entry, l *Leaf) error {
	in := make(map[Name]bool)
	for _, n := range l.Names() {
		in[n] = true
	}

	for i := range e.Names {
		n, value, err := e.Names[i].name()
		if err != nil {
			return unproven("entry %d: %w", e.Index, err)
		}
		if !in[n] {
			return unproven("entry %d holds no such name as %q", e.Index, value)
		}
		v.proof.Names[n] = value
	}

	return nil
}

func (v *verification) decided() error {
	switch d := v.proof.Decision; {
	case d == nil:
		return unproven("there is no decision in it")
	case d.Consume:
		return unproven("entry %d is about reading, and not about storing", v.proof.Index)
	}
	return nil
}

// stored checks that the broker's answer is to the decision, and is of the record.
func (v *verification) stored() error {
	p := v.proof
	b := p.Placement
	r := v.file.Record
	switch {
	case b == nil:
		return unproven("there is no answer of the broker in it")
	case b.Decision != p.Decision.Seq || p.Stored <= p.Index:
		return unproven("entry %d is not the answer to the decision of entry %d", p.Stored, p.Index)
	case b.Where != (Coord{r.Cluster, r.Topic, r.Partition}):
		return unproven("entry %d is about another partition", p.Stored)
	case b.Base < 0 || r.Offset < b.Base || r.Offset-b.Base >= int64(b.Records):
		return unproven("entry %d does not reach offset %d", p.Stored, r.Offset)
	case b.Where.Cluster != p.Decision.Where.Cluster:
		return unproven("entry %d is about another cluster than the decision", p.Stored)
	case b.Route == "" && b.Where != p.Decision.Where:
		return unproven("entry %d is about another partition than the decision", p.Stored)
	case b.Route != "" && b.Route != b.Where.Topic:
		return unproven("entry %d names two topics", p.Stored)
	}
	return nil
}

// judged finds the record's ruling: the runs of a decision cover its batch in order.
func (v *verification) judged() error {
	p := v.proof
	d := p.Decision
	nth := p.Record.Offset - p.Placement.Base
	at := int64(0)
	for _, run := range d.Runs {
		r := &d.Rulings[run.Ruling]
		n := int64(run.Count)
		if p.Placement.Route != "" && (r.Verdict != VerdictRouted || r.Route != p.Placement.Route) {
			at += n
			continue
		}

		if nth < n {
			p.Place = int(at + nth)
			p.Ruling = r
			return nil
		}
		nth -= n
		at += n
	}

	if len(d.Runs) > 0 || p.Placement.Route != "" || nth >= int64(d.Records) {
		return unproven("the decision is about %d records, and the record would be another", d.Records)
	}
	p.Place = int(nth) // no module ran: the outcome is that of all records
	return nil
}

// admitted finds, for each module of the chain, the entry that let it run, and that
// the grant which the decision names is made of theirs.
func (v *verification) admitted() error {
	p := v.proof
	var grant [32]byte
	for i, m := range p.Decision.Modules {
		a, err := v.admissionOf(&m)
		if err != nil {
			return err
		}
		p.Admissions = append(p.Admissions, *a)

		own, err := hex.DecodeString(a.Fact(FactGrant))
		if err != nil || len(own) != len(grant) {
			return unproven("entry %d does not say what it grants", a.Index)
		}
		if i == 0 {
			copy(grant[:], own)
		} else {
			grant = sha256.Sum256(append(grant[:], own...))
		}
	}

	if len(p.Decision.Modules) != len(v.admits) {
		return unproven("it has admissions of modules that did not run")
	}
	if len(p.Decision.Modules) > 0 && grant != p.Decision.Grant {
		return unproven("the modules ran under another grant than these admissions give")
	}
	return nil
}

func (v *verification) admissionOf(m *Module) (*Admitted, error) {
	p := v.proof
	for i := range v.admits {
		a := &v.admits[i]
		if a.Module != *m {
			continue
		}
		if a.Outcome != "allowed" || a.Index >= p.Index {
			return nil, unproven("entry %d did not let %s run before the decision", a.Index, m.Name)
		}

		if until := a.Fact(FactUntil); until != "" {
			end, err := strconv.ParseInt(until, 10, 64)
			if err != nil || end <= p.Decision.Time {
				return nil, unproven("what entry %d allowed had ended at %s", a.Index, time.UnixMicro(p.Decision.Time).UTC().Format(time.RFC3339))
			}
		}
		return a, nil
	}

	return nil, unproven("there is no admission of %s in it", m.Name)
}

// served checks that the authority, if there is one, was in force before the decision.
func (v *verification) served() error {
	p := v.proof
	switch f := p.InForce; {
	case f == nil: // a file from before authorities were enclosed
		return nil
	case f.Outcome != OutcomeInForce || f.Index >= p.Index:
		return unproven("entry %d is no authority that was in force before the decision", f.Index)
	case f.File(RoleConfiguration) == "":
		return unproven("entry %d does not say under which configuration the gateway served", f.Index)
	}
	return nil
}

// approved takes the enclosed approvals.
func (v *verification) approved() (err error) {
	v.proof.Approvals, err = approvalsOf(v.proof.Admissions, v.file.Approvals)
	return err
}

// approvalsOf are enclosed approvals by their ids. An id is the digest of the signed
// statement, so that each belongs to what an admission names; one that nobody names has
// no place.
func approvalsOf(admissions []Admitted, enclosed [][]byte) (map[string][][]byte, error) {
	named := make(map[string]bool)
	for i := range admissions {
		for _, id := range admissions[i].Values(FactApprovalID) {
			named[id] = true
		}
	}

	all := make(map[string][][]byte)
	for i, raw := range enclosed {
		var b struct {
			Envelope struct {
				Payload []byte `json:"payload"`
			} `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal(raw, &b); err != nil {
			return nil, unproven("approval %d: %w", i+1, err)
		}
		sum := sha256.Sum256(b.Envelope.Payload)
		id := hex.EncodeToString(sum[:])
		if !named[id] {
			return nil, unproven("approval %s is none of those that the admissions name", id)
		}
		all[id] = append(all[id], raw)
	}
	return all, nil
}
