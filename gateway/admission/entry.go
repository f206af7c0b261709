package admission

import (
	"github.com/guardlock/guardlock/audit"
)

// entry is the log's record of an admission: who let the module run there, on what,
// and until when. A decision about a batch is joined to it by module, grant digest
// and policy revision, which both hold. All of it comes from the trust root, from
// approvals that were verified, from the configuration and from policy.
func (a *Admitter) entry(t trial) audit.ControlEntry {
	c := audit.ControlEntry{
		Kind:      audit.KindAdmission,
		Subject:   t.binding,
		Outcome:   "allowed",
		Revision:  a.Policy.Revision(),
		Module:    audit.ModuleRef{Name: t.exam.module.Name, Digest: t.exam.digest},
		Admission: a.judgedBy(t),
	}

	if t.refused != nil {
		c.Outcome = "denied"
		c.Reason = t.refused.Code
		if t.refused.Undecided() {
			c.Outcome = "undecided"
		}
	}

	for _, s := range taken(t.exam, t.asking, t.refused) {
		if s.Verdict != NotReached {
			c.Steps = append(c.Steps, audit.Step{Name: s.Name, Verdict: s.Verdict, Detail: s.Code})
		}
	}

	if t.running != nil {
		for _, table := range t.running.tables {
			c.Steps = append(c.Steps, audit.Step{Name: audit.StepTable, Verdict: "loaded", Detail: table})
		}
	}

	return c
}

// judgedBy is all that a trial was judged by. What the approvals grant, policy can narrow.
func (a *Admitter) judgedBy(t trial) *audit.Admission {
	v := &t.exam.verified
	g := &v.Grant
	f := &audit.Admission{
		Cluster:   t.cluster,
		Author:    audit.Signer{Identity: string(v.Author), KeyID: v.AuthorKeyID, KeyUntil: v.AuthorUntil},
		Approvals: t.exam.approvals(),
		Threshold: a.Trust.Threshold(),
		Config:    t.exam.config,
		TrustRoot: a.Trust.Digest(),
		Grant: audit.Grant{
			Digest:    v.GrantDigest,
			Topics:    g.Topics,
			Functions: g.HostFunctions,
			Keys:      g.Keys,
			Routes:    g.Routes,
			Audience:  g.Audience,
			Limits:    audit.Limits(g.Limits),
			From:      g.NotBefore,
			Until:     g.NotAfter,
		},
		Topics:  t.topics,
		Imports: HostFunctions(t.exam.info),
		Until:   t.asking.until,
	}

	if d := &t.asking.decision; d.Allow {
		f.Grant.Functions = d.HostFunctions
		f.Grant.Limits = audit.Limits(d.Limits)
		f.Grant.Until = d.ValidUntil
	}

	return f
}

// approvals are those that count, each with its own end and that of its key.
func (e *examination) approvals() []audit.Approval {
	var all []audit.Approval
	for i := range e.verified.Counted {
		c := &e.verified.Counted[i]
		all = append(all, audit.Approval{
			Approver: string(c.Approver),
			Ticket:   c.Ticket,
			ID:       c.ID,
			KeyID:    c.KeyID,
			From:     c.NotBefore,
			Until:    c.NotAfter,
			KeyUntil: c.KeyUntil,
		})
	}

	return all
}
