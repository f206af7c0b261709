package admission

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
)

// entry is the log's record of an admission: who let the module run there, and on
// what. A decision about a batch is joined to it by binding, module, grant digest and
// policy revision, which both hold.
func (a *Admitter) entry(t trial) audit.ControlEntry {
	c := audit.ControlEntry{
		Kind:     audit.KindAdmission,
		Subject:  t.binding,
		Outcome:  "allowed",
		Revision: a.Policy.Revision(),
		Module:   audit.ModuleRef{Name: t.exam.module.Name, Digest: t.exam.digest},
	}

	if t.refused != nil {
		c.Outcome = "denied"
		c.Reason = t.refused.Code
		if t.refused.Undecided() {
			c.Outcome = "undecided"
		}
	}

	for _, s := range taken(t.exam, t.asking, t.refused) {
		switch s.Verdict {
		case Failed:
			c.Steps = append(c.Steps, audit.Step{Name: s.Name, Verdict: s.Verdict, Detail: s.Code})
		case Passed:
			c.Steps = append(c.Steps, audit.Step{Name: s.Name, Verdict: s.Verdict, Detail: a.proof(s.Name, t)})
		}
	}

	return c
}

// proof is what a step found, as name=value pairs. All of it comes from the trust
// root, from approvals that were verified, from the configuration and from policy.
func (a *Admitter) proof(step string, t trial) string {
	v := t.exam.verified
	g := v.Grant
	d := t.asking.decision

	switch step {
	case StepDigest:
		return pairs("module", "sha256:"+hex.EncodeToString(v.Digest[:]), "config", "sha256:"+hex.EncodeToString(v.ConfigDigest[:]))
	case StepAuthor:
		return pairs("author", string(v.Author), "key", v.AuthorKeyID)
	case StepApprovals:
		trust := a.Trust.Digest()
		return pairs("grant", "sha256:"+hex.EncodeToString(v.GrantDigest[:]), "trust_root", "sha256:"+hex.EncodeToString(trust[:]),
			"threshold", fmt.Sprint(a.Trust.Threshold())) + t.exam.approvals()
	case StepImports:
		return pairs("imports", strings.Join(HostFunctions(t.exam.info), ","))
	case StepTopics:
		return pairs("topics", strings.Join(t.topics, ","), "approved", strings.Join(g.Topics, ","))
	case StepPolicy:
		return pairs("policy", d.PolicyRevision, "until", d.ValidUntil.UTC().Format(time.RFC3339), "functions", strings.Join(d.HostFunctions, ","),
			"keys", strings.Join(g.Keys, ","), "routes", strings.Join(g.Routes, ","))
	default:
		return ""
	}
}

// approvals are those that count, each with its person, end, ticket and id.
func (e *examination) approvals() string {
	var b strings.Builder
	for _, c := range e.verified.Counted {
		b.WriteString("; " + pairs("approver", string(c.Approver), "until", c.Until.UTC().Format(time.RFC3339), "ticket", c.Ticket, "id", c.ID, "key", c.KeyID))
	}
	return b.String()
}

// pairs writes names and values; a value that is not a word is quoted.
func pairs(all ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(all); i += 2 {
		if i > 0 {
			b.WriteByte(' ')
		}
		value := all[i+1]
		if strings.ContainsAny(value, " ;=\"") {
			value = fmt.Sprintf("%q", value)
		}

		b.WriteString(all[i] + "=" + value)
	}

	return b.String()
}
