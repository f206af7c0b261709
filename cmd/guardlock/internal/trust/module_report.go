package trust

import (
	"encoding/hex"
	"time"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
)

// report is what `module verify --json` prints: facts as fields, so that nobody has
// to read them out of sentences.
type report struct {
	verdictReport
	packageReport
	scanReport
	Policy *policyReport `json:"policy,omitempty"`
}

// verdictReport is what became of the module, at which step, and until when
// that holds.
type verdictReport struct {
	Module  string       `json:"module"`
	Verdict string       `json:"verdict"`         // passed or refused
	Code    string       `json:"code,omitempty"`  // of the refusal
	Until   *time.Time   `json:"until,omitempty"` // when it must be asked again
	Steps   []stepReport `json:"steps"`
}

// packageReport is what is signed and approved, by whom, and which approvals do
// not count.
type packageReport struct {
	Digest       string           `json:"digest"`
	ConfigDigest string           `json:"config_digest"`
	GrantDigest  string           `json:"grant_digest,omitempty"`
	Size         int              `json:"size"`
	Author       string           `json:"author,omitempty"`
	AuthorKeyID  string           `json:"author_key_id,omitempty"`
	Threshold    int              `json:"threshold"`
	Approvals    []approvalReport `json:"approvals"`
	NotCounted   []string         `json:"approvals_not_counted"`
	Grant        *grantReport     `json:"grant,omitempty"`
}

// scanReport is what the module's own bytes say, which nobody vouched for.
type scanReport struct {
	ABI       string   `json:"abi,omitempty"`
	Functions int      `json:"functions,omitempty"`
	Reasons   []string `json:"reasons"`
	Imports   []string `json:"imports"`
}

type stepReport struct {
	Step    string `json:"step"`
	Verdict string `json:"verdict"`
	Code    string `json:"code,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

type approvalReport struct {
	Approver string    `json:"approver"`
	ID       string    `json:"id"`
	KeyID    string    `json:"key_id"`
	Ticket   string    `json:"ticket,omitempty"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
}

type grantReport struct {
	Topics        []string       `json:"topics"`
	HostFunctions []string       `json:"host_functions"`
	Keys          []string       `json:"keys"`
	Routes        []string       `json:"routes"`
	Audience      []string       `json:"audience"`
	Limits        signing.Limits `json:"limits"`
	NotBefore     time.Time      `json:"not_before"`
	NotAfter      time.Time      `json:"not_after"`
}

type policyReport struct {
	Revision      string         `json:"revision"`
	Allowed       bool           `json:"allowed"`
	ValidUntil    *time.Time     `json:"valid_until,omitempty"`
	HostFunctions []string       `json:"host_functions"`
	Limits        policy.Limits  `json:"limits"`
	Reasons       []reasonReport `json:"reasons"`
}

type reasonReport struct {
	Code        string `json:"code"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Detail      string `json:"detail,omitempty"`
}

func newReport(t trying, v admission.Verdict) report {
	r := report{
		verdictReport: verdictReport{
			Module:  t.name,
			Verdict: admission.Passed,
			Until:   moment(v.Until),
		},
		packageReport: packageReport{
			Digest:     hex.EncodeToString(v.Digest[:]),
			Size:       len(t.pkg.Wasm),
			Threshold:  t.root.Threshold(),
			Approvals:  []approvalReport{},
			NotCounted: []string{},
		},
		scanReport: scanReport{
			Reasons:   append([]string{}, v.Info.Reasons...),
			Imports:   append([]string{}, admission.HostFunctions(v.Info)...),
			ABI:       v.Info.ABI,
			Functions: v.Info.Functions,
		},
	}

	if v.Refused != nil {
		r.Verdict = admission.Failed
		r.Code = v.Refused.Code
	}

	for _, s := range v.Steps {
		r.Steps = append(r.Steps, stepReport{s.Name, s.Verdict, s.Code, s.Detail})
	}

	r.addApprovals(v.Verified)
	if v.Decision.PolicyRevision != "" {
		r.Policy = newPolicyReport(v)
	}

	return r
}

func (r *report) addApprovals(v signing.Verified) {
	for _, ignored := range v.Ignored {
		r.NotCounted = append(r.NotCounted, ignored.Error())
	}
	if v.Author == "" {
		return
	}

	g := v.Grant
	r.ConfigDigest = hex.EncodeToString(v.ConfigDigest[:])
	r.GrantDigest = hex.EncodeToString(v.GrantDigest[:])
	r.Author = string(v.Author)
	r.AuthorKeyID = v.AuthorKeyID

	for _, c := range v.Counted {
		r.Approvals = append(r.Approvals, approvalReport{string(c.Approver), c.ID, c.KeyID, c.Ticket, c.From.UTC(), c.Until.UTC()})
	}
	r.Grant = &grantReport{
		Topics:        append([]string{}, g.Topics...),
		HostFunctions: append([]string{}, g.HostFunctions...),
		Keys:          append([]string{}, g.Keys...),
		Routes:        append([]string{}, g.Routes...),
		Audience:      append([]string{}, g.Audience...),
		Limits:        g.Limits,
		NotBefore:     g.NotBefore.UTC(),
		NotAfter:      g.NotAfter.UTC(),
	}
}

func newPolicyReport(v admission.Verdict) *policyReport {
	p := &policyReport{
		Revision:      v.Decision.PolicyRevision,
		Allowed:       v.Decision.Allow,
		HostFunctions: append([]string{}, v.Decision.HostFunctions...),
		Limits:        v.Decision.Limits,
		Reasons:       []reasonReport{},
	}
	for _, r := range v.Decision.Why {
		p.Reasons = append(p.Reasons, reasonReport(r))
	}

	if p.Allowed {
		p.ValidUntil = moment(v.Decision.ValidUntil)
	}

	return p
}

// moment is a time in UTC that JSON leaves out where there is none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
